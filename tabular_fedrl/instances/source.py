"""The SOURCE syntax: one string that names a problem, wherever one is accepted.

``path`` (``.npz`` or ``.drn``), ``gym:NAME``, ``textbook:NAME`` or ``family:key=value,key=value``; then
overrides after a comma for what the source lacks or a user wants changed (of a finite-horizon problem ``rho``
only)::

    gamma=0.95         discount (a family's or environment's thresholds are computed anew)
    d=0.2+1/3          thresholds, one per constraint
    agents=3           N agents; agent i sees the constraints j with j mod N = i (i mod m when N > m)
    visible=0/1/0+1    the constraints each agent sees, agents separated by /
    rho=4              start in this state; rho=uniform
    reward=R,costs=A+B reward models of a DRN file

``episodic:SOURCE,H=5`` is the finite-horizon problem of 5 steps with the kernel, the reward and the initial
law of another source. A path may hold commas, equals signs and colons if that file exists.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.draft import Draft, point_mass
from tabular_fedrl.instances.drn import read_drn
from tabular_fedrl.instances.episodic_draft import EpisodicDraft, split_steps, with_steps
from tabular_fedrl.instances.episodic_families import episodic_families
from tabular_fedrl.instances.episodic_suites import SUITES
from tabular_fedrl.instances.families import families as discounted_families
from tabular_fedrl.instances.files import is_npz, read_npz
from tabular_fedrl.instances.gym import DEFAULT_GAMMA, read_gym
from tabular_fedrl.instances.text import (
    literal,
    parse_boolean,
    parse_integer,
    parse_number,
    parse_rational,
    shorten,
    suggestion,
)
from tabular_fedrl.instances.textbook import TEXTBOOK
from tabular_fedrl.instances.thresholds import halfway_thresholds
from tabular_fedrl.measured import Array

OVERRIDES = ("gamma", "d", "agents", "visible", "rho", "reward", "costs")
FORMS = "a path, gym:NAME, textbook:NAME or family:key=value,..."
EPISODIC = "episodic:"
families = discounted_families | episodic_families | SUITES
KINDS = ("gym", "textbook", "episodic", *families)
MAX_AGENTS = 100_000

_PLUS = re.compile(r"(?<![eE])\+")  # the plus of 1e+3 joins nothing
_BOUNDARY = re.compile(r",(?=[^,=]*=)")  # a comma that begins key=


def read_source(
    source: str | os.PathLike[str], exact: bool = False
) -> tuple[FederatedCMDP | FederatedEpisodicMDP, list[str]]:
    """The problem that ``source`` names, and notes on the choices made for it.

    ``exact``: in exact rationals.

    Raises
    ------
    InvalidProblem: one line that names the place.
    """
    draft = read_draft(source, exact)
    return draft.problem(exact), list(draft.notes)


def read_draft(source: str | os.PathLike[str], exact: bool = False) -> Draft | EpisodicDraft:
    """The parts of the problem that ``source`` names, overrides applied, with nothing missing.

    ``exact``: numbers written as text, in an ``.npz`` file or in an override, are the rationals they say;
    everything else is floats, as its source computes them.

    Raises
    ------
    InvalidProblem: one line that names the place.
    """
    text = os.fspath(source)
    if not isinstance(text, str) or not text.strip() or "\0" in text:
        raise InvalidProblem(f"an empty or unreadable SOURCE; it is {FORMS}")
    if text.startswith(EPISODIC):
        return _episodic(text.removeprefix(EPISODIC), exact)
    draft, options = _draft(text, exact)
    if isinstance(draft, EpisodicDraft):
        return _started(draft, options)
    return _finish(draft, options, parse_rational if exact else parse_number)


def _draft(text: str, exact: bool) -> tuple[Draft | EpisodicDraft, dict[str, str]]:
    """What a source gives, and the overrides that are left to be applied."""
    head, options = _split(text)
    gamma = options.get("gamma")
    kind, colon, name = head.partition(":")
    draft: Draft | EpisodicDraft
    if os.path.isfile(head) or (not colon and head not in families):
        draft = _file(head, options, exact)
    elif kind == "gym":
        draft = _gym(name, options)
    elif kind == "textbook":
        draft = _textbook(name)
    elif kind in families:
        if name:
            raise InvalidProblem(f"{kind}: {shorten(name)!r} is not key=value")
        draft = _family(kind, options)
    else:
        raise InvalidProblem(f"unknown family {kind!r}{suggestion(kind, KINDS)}")
    allowed = ("rho",) if isinstance(draft, EpisodicDraft) else OVERRIDES
    unknown = sorted(set(options) - set(allowed))
    if unknown:
        known = dict.fromkeys([*(families[kind].parameters if kind in families else ()), *allowed])
        raise InvalidProblem(f"{head.rstrip(':')}: unknown key {unknown[0]!r}{suggestion(unknown[0], known)}")
    for key in ("reward", "costs"):
        if key in options:
            raise InvalidProblem(f"{head.rstrip(':')}: {key}= chooses reward models of a DRN file")
    if gamma is not None:
        options["gamma"] = gamma  # a family has built with the float
    return draft, options


def _episodic(text: str, exact: bool) -> EpisodicDraft:
    inner, H = split_steps(text)
    draft, options = _draft(inner, exact)
    if isinstance(draft, EpisodicDraft):
        raise InvalidProblem(f"{shorten(inner)} is a finite-horizon problem already")
    unused = sorted(set(options) - {"rho"})
    if unused:
        raise InvalidProblem(f"episodic:{shorten(inner)}: a finite-horizon problem has no {unused[0]}")
    if "rho" in options:
        draft = replace(draft, rho=_rho(options["rho"], len(draft.r)))
    return with_steps(draft, H)


def _started(draft: EpisodicDraft, options: Mapping[str, str]) -> EpisodicDraft:
    """With the initial law of an override."""
    if "rho" not in options:
        return draft
    parts = tuple((P, r, _rho(options["rho"], np.shape(r)[-2])) for P, r, _ in draft.parts)
    return replace(draft, parts=parts)


def names_file(source: str) -> bool:
    """Whether a source begins with the path of a file, so that it means something on this machine only."""
    return os.path.isfile(_split(source)[0])


def _split(text: str) -> tuple[str, dict[str, str]]:
    """Head of a source and its ``key=value`` pairs. The longest head that is a file wins."""
    places = [len(text), *(match.start() for match in reversed(list(_BOUNDARY.finditer(text))))]
    head = next((text[:p] for p in places if os.path.isfile(text[:p])), None)
    if head is None:
        match = re.match(r"([^:,=]+):(?=[^,=]*=)", text)
        # family:key=value has no name after its colon; everything else ends where the first pair begins.
        head = match.group(1) + ":" if match else text[: places[-1]]
    rest = text[len(head) :].removeprefix(",")
    options: dict[str, str] = {}
    for pair in _BOUNDARY.split(rest) if rest else []:
        key, equals, value = pair.partition("=")
        if not equals or not key.strip():
            raise InvalidProblem(f"{shorten(text)}: {shorten(pair)!r} is not key=value")
        if key.strip() in options:
            raise InvalidProblem(f"{shorten(text)}: {key.strip()} is given twice")
        options[key.strip()] = value.strip()
    return head, options


# ---- kinds of sources: each takes the options it understands
# ------------------------------------------------
def _file(head: str, options: dict[str, str], exact: bool) -> Draft | EpisodicDraft:
    path = Path(head)
    if not os.path.exists(head):
        hint = suggestion(head, KINDS) if re.fullmatch(r"[\w-]+", head) else ""
        raise InvalidProblem(f"no file {head!r}{hint or f'; a SOURCE is {FORMS}'}")
    if not path.is_file():
        raise InvalidProblem(f"{head} is not a regular file; a SOURCE is {FORMS}")
    if path.suffix.lower() == ".drn":
        costs = options.pop("costs", None)
        names = None if costs is None else [name for name in costs.split("+") if name]
        return read_drn(path, options.pop("reward", None), names)
    if is_npz(path):
        return read_npz(path, exact)
    raise InvalidProblem(f"{head}: neither .npz nor .drn")


def _gym(name: str, options: dict[str, str]) -> Draft:
    passed = {key: literal(options.pop(key)) for key in list(options) if key not in OVERRIDES}
    draft = read_gym(name, passed)
    gamma = DEFAULT_GAMMA
    if "gamma" in options:
        gamma = parse_number(options.pop("gamma"), "gamma")
    else:
        draft = replace(draft, notes=(*draft.notes, f"gamma = {DEFAULT_GAMMA} by default"))
    draft = replace(draft, gamma=gamma)
    if "rho" in options:
        draft = replace(draft, rho=_rho(options.pop("rho"), len(draft.r)))
    m = len(draft.c)
    if "d" in options or m == 0:
        return draft
    plain = replace(draft, d=np.zeros(m)).problem().cmdp
    d, least, greedy = halfway_thresholds(plain)
    notes = [
        f"d[{j}] = {d[j]:.6g}: halfway between the least possible cost {least[j]:.6g} and the cost "
        f"{greedy[j]:.6g} of the unconstrained optimum"
        + ("" if d[j] > least[j] else " (they agree: no slack, so not Slater; choose another with d=...)")
        for j in range(m)
    ]
    return replace(draft, d=d, notes=(*draft.notes, *notes))


def _textbook(name: str) -> Draft:
    if name not in TEXTBOOK:
        raise InvalidProblem(f"no textbook example {name!r}{suggestion(name, TEXTBOOK)}")
    example = TEXTBOOK[name]
    value = "infeasible" if example.answer.value is None else f"V* = {example.answer.value:.12g}"
    return Draft.of(f"textbook:{name}", example.build(), (example.summary, f"by hand: {value}"))


def _family(kind: str, options: dict[str, str]) -> Draft | EpisodicDraft:
    family = families[kind]
    values: dict[str, Any] = {}
    for key, default in family.parameters.items():
        if key in options:
            values[key] = _parser(default)(options.pop(key), f"{kind}: {key}")
    try:
        problem = family.build(**values)
        of = EpisodicDraft.of if isinstance(problem, EpisodicMDP | FederatedEpisodicMDP) else Draft.of
        return of(kind, problem, family.notes)
    except InvalidProblem as error:
        message = str(error)
        raise InvalidProblem(message if message.startswith(kind) else f"{kind}: {message}") from None


def _parser(default: Any) -> Callable[[str, str], Any]:
    if isinstance(default, bool):
        return parse_boolean
    return parse_integer if isinstance(default, int) else parse_number


# ---- overrides
# ----------------------------------------------------------------------------------------------
def _finish(draft: Draft, options: Mapping[str, str], number: Callable[[str, str], Any]) -> Draft:
    """Overrides fill or change the draft; what is still missing is an error."""
    m = len(draft.c)
    if "gamma" in options:
        draft = replace(draft, gamma=number(options["gamma"], "gamma"))
    if "rho" in options:
        draft = replace(draft, rho=_rho(options["rho"], len(draft.r)))
    if "d" in options:
        draft = replace(draft, d=_thresholds(options["d"], m, number))
    if "agents" in options and "visible" in options:
        raise InvalidProblem("give agents= or visible=, not both")
    if "agents" in options:
        draft = replace(draft, visible=_round_robin(parse_integer(options["agents"], "agents", 1), m))
    if "visible" in options:
        draft = replace(draft, visible=_visible(options["visible"]))
    if draft.gamma is None:
        raise InvalidProblem(f"{draft.origin} holds no gamma: add ,gamma=0.99 or another discount")
    if draft.rho is None:
        raise InvalidProblem(f"{draft.origin} holds no rho: add ,rho=0 (a state) or ,rho=uniform")
    if draft.d is None:
        raise InvalidProblem(f"{draft.origin} holds no d: add ,d=... with {m} thresholds joined by +")
    return draft


def _thresholds(text: str, m: int, number: Callable[[str, str], Any]) -> Array:
    if m == 0:
        raise InvalidProblem("d: the problem has no constraints")
    words = _PLUS.split(text)
    if len(words) != m:
        raise InvalidProblem(f"d: {len(words)} thresholds for {m} constraints (join them with +)")
    return np.array([number(word, "d") for word in words])


def _rho(text: str, S: int) -> Array:
    if text == "uniform":
        return np.full(S, 1.0 / S)
    state = parse_integer(text, "rho", 0)
    if state not in range(S):
        raise InvalidProblem(f"rho: state {state}, but there are {S} (0..{S - 1})")
    return point_mass(S, state)


def _round_robin(N: int, m: int) -> list[list[int]]:
    if N > MAX_AGENTS:
        raise InvalidProblem(f"agents: {N} is over the limit of {MAX_AGENTS}")
    if m < N:
        return [[i % m] if m else [] for i in range(N)]
    return [list(range(i, m, N)) for i in range(N)]


def _visible(text: str) -> list[list[int]]:
    return [
        [parse_integer(j, "visible", 0) for j in agent.split("+")] if agent.strip() else []
        for agent in text.split("/")
    ]
