"""Storm's explicit DRN format, taken apart line by line (grammar: :mod:`tabular_fedrl.instances.drn`)."""

from __future__ import annotations

import os
import re
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.text import parse_integer, parse_number, shorten

MAX_BYTES = 2**30
"""Largest file that is read."""

MAX_LINE = 1_000_000
"""Longest line that is read."""

UNNAMED = "__NOLABEL__"

_LABEL = re.compile(r'"([^"]+)"|([^\s"]+)')


@dataclass
class Choices:
    """What the model section holds, one entry per choice, state or transition, as flat arrays."""

    pairs: array[int] = field(default_factory=lambda: array("q"))
    successors: array[int] = field(default_factory=lambda: array("q"))
    weights: array[float] = field(default_factory=lambda: array("d"))
    first: array[int] = field(default_factory=lambda: array("q"))
    state_lines: array[int] = field(default_factory=lambda: array("q"))
    choice_lines: array[int] = field(default_factory=lambda: array("q"))
    names: list[str] = field(default_factory=list)
    labels: list[tuple[str, ...]] = field(default_factory=list)
    state_rewards: list[tuple[float, ...]] = field(default_factory=list)
    action_rewards: list[tuple[float, ...]] = field(default_factory=list)


@dataclass
class Header:
    """What stands before ``@model``; -1 for a number that is not declared."""

    kind: str = ""
    rewards: tuple[str, ...] = ()
    states: int = -1
    choices: int = -1
    placeholders: dict[str, float] = field(default_factory=dict)


class Lines:
    """Numbered lines of the file, with bounds on their length, and errors that name the place."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.number = 0

    def read(self) -> Iterator[str]:
        try:
            with open(self.origin, encoding="utf-8") as stream:
                if os.fstat(stream.fileno()).st_size > MAX_BYTES:
                    raise InvalidProblem(f"{self.origin}: larger than the limit of {MAX_BYTES} bytes")
                while line := stream.readline(MAX_LINE):
                    self.number += 1
                    if len(line) == MAX_LINE:
                        raise self.error(f"the line is longer than {MAX_LINE} characters")
                    line = line.strip()
                    if not line.startswith("//"):
                        yield line
        except UnicodeDecodeError:
            raise self.error("not a text file") from None
        except OSError as error:
            raise InvalidProblem(f"{self.origin}: cannot be read ({error.strerror or error})") from None

    @property
    def place(self) -> str:
        return f"{self.origin}:{self.number}"

    def error(self, message: str) -> InvalidProblem:
        return InvalidProblem(f"{self.place}: {message}")


def parse_drn(origin: str) -> tuple[Header, Choices]:
    """Header and model section of a file.

    Raises
    ------
    InvalidProblem: naming the file and the line.
    """
    lines = Lines(origin)
    stream = lines.read()
    header = _read_header(lines, stream)
    return header, _read_model(lines, stream, header)


def _read_header(lines: Lines, stream: Iterator[str]) -> Header:
    header = Header()
    for line in stream:
        if line.startswith("@type:"):
            header.kind = line[6:].strip()
            if header.kind.lower() not in ("mdp", "dtmc"):
                raise lines.error(f"the model is a {header.kind or 'nothing'}; only MDPs and DTMCs load")
        elif line.startswith("@value_type:"):
            if line[12:].strip() not in ("double", "rational"):
                raise lines.error(f"values are {line[12:].strip()}; only double and rational load")
        elif line == "@parameters":
            if parameters := next(stream, "").split():
                raise lines.error(
                    f"the model is parametric ({shorten(', '.join(parameters))}); instantiate it first"
                )
        elif line.startswith("$"):
            name, _, value = line.partition(":")
            header.placeholders[name.strip()] = _value(lines, value, header)
        elif line == "@reward_models":
            header.rewards = tuple(next(stream, "").split())
        elif line in ("@nr_states", "@nr_choices"):
            number = parse_integer(next(stream, ""), f"{lines.place}: {line}", 0)
            if line == "@nr_states":
                header.states = number
            else:
                header.choices = number
        elif line == "@model":
            if not header.kind or header.states < 0:
                raise lines.error(f"{'@nr_states' if header.kind else '@type'} must come before @model")
            return header
        elif line and line != "@placeholders":
            raise lines.error(f"{shorten(line)!r} is not part of a DRN header")
    raise InvalidProblem(f"{lines.origin}: no @model section: truncated, or not a DRN file")


def _read_model(lines: Lines, stream: Iterator[str], header: Header) -> Choices:
    model = Choices()
    for line in stream:
        if line.startswith("state"):
            word, rewards, rest = _parts(lines, line, "state", header)
            state = parse_integer(word, f"{lines.place}: state", 0)
            if state != len(model.first):
                raise lines.error(
                    f"state {state} follows {len(model.first)} states: ids run from 0 without gaps"
                )
            if state >= header.states:
                raise lines.error(f"state {state}, but @nr_states is {header.states}")
            model.first.append(len(model.names))
            model.state_lines.append(lines.number)
            model.state_rewards.append(rewards)
            model.labels.append(tuple(a or b for a, b in _LABEL.findall(rest)))
        elif line.startswith("action"):
            word, rewards, _ = _parts(lines, line, "action", header)
            _choice(lines, model, word, rewards)
        elif line:
            target, colon, value = line.partition(":")
            if not colon:
                raise lines.error(
                    f"{shorten(line)!r} is neither a state, an action nor 'successor : probability'"
                )
            if not model.first or model.first[-1] == len(model.names):
                _choice(lines, model, "0", ())  # a DTMC need not name its only action
            successor = parse_integer(target, f"{lines.place}: successor", 0)
            if successor >= header.states:
                raise lines.error(f"successor {successor}, but @nr_states is {header.states}")
            weight = _value(lines, value, header)
            if weight < 0:
                raise lines.error(f"the probability {weight:g} is negative")
            model.pairs.append(len(model.names) - 1)
            model.successors.append(successor)
            model.weights.append(weight)
    return model


def _choice(lines: Lines, model: Choices, name: str, rewards: tuple[float, ...]) -> None:
    if not model.first:
        raise lines.error("an action before the first state")
    model.names.append(name)
    model.choice_lines.append(lines.number)
    model.action_rewards.append(rewards)


def _parts(lines: Lines, line: str, kind: str, header: Header) -> tuple[str, tuple[float, ...], str]:
    """``kind word [rewards] rest`` taken apart."""
    words = line[len(kind) :].strip().split(None, 1)
    if not words or not line[len(kind)].isspace():
        raise lines.error(f"{shorten(line)!r}: {kind} needs a name")
    rest = words[1] if len(words) > 1 else ""
    if not rest.startswith("["):
        return words[0], (), rest
    inside, bracket, rest = rest[1:].partition("]")
    if not bracket:
        raise lines.error("']' is missing after the rewards")
    rewards = tuple(_value(lines, word, header) for word in inside.split(",")) if inside.strip() else ()
    return words[0], rewards, rest.strip()


def _value(lines: Lines, text: str, header: Header) -> float:
    word = text.strip()
    if word.startswith("$"):
        if word not in header.placeholders:
            raise lines.error(f"the placeholder {shorten(word)} is not defined")
        return header.placeholders[word]
    return parse_number(word, lines.place)
