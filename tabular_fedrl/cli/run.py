"""``tabular-fedrl run``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import RenderableType
from rich.table import Table

from tabular_fedrl.algorithms.preference_registry import PREFERENCE_ALGORITHMS
from tabular_fedrl.cli.output import Answer, Output
from tabular_fedrl.cli.settings import parse_settings
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load, load_episodic
from tabular_fedrl.instances.text import suggestion
from tabular_fedrl.runner import Run
from tabular_fedrl.runner import run as run_rounds
from tabular_fedrl.runner.evolution import FED_SE, run_evolution
from tabular_fedrl.runner.preferences import run_preferences
from tabular_fedrl.runner.settings import look_up


def run_algorithm(
    output: Output,
    algorithm: str,
    source: str,
    rounds: int,
    given: Mapping[str, Any],
    settings: Sequence[str],
    seed: int,
    backend: str,
    every: int,
    out: str | None,
    resume: bool,
) -> Answer:
    """Run ``algorithm`` on the problem that ``source`` names; ``given``: None for the theory's value."""
    if resume and out is None:
        raise InvalidProblem("--resume continues the run in a file: name it with --out FILE")
    if algorithm in PREFERENCE_ALGORITHMS or algorithm == FED_SE:
        refused = [name for name, value in given.items() if value is not None]
        if refused or out is not None or every != 1 or backend != "numpy":
            raise InvalidProblem(
                f"{algorithm} takes its parameters by --set KEY=VALUE, and of the options --rounds and --seed"
            )
        method = _by_successes if algorithm == FED_SE else _by_preferences
        return method(output, algorithm, source, rounds, settings, seed)
    parameters = {
        **{name: value for name, value in given.items() if value is not None},
        **_further(algorithm, given, settings),
    }
    with output.waiting(f"reading {source}"):
        problem = load(source)
    try:
        with output.progress(algorithm, "rounds") as tick:
            result = run_rounds(
                algorithm,
                problem,
                rounds,
                seed=seed,
                backend=backend,
                every=every,
                out=out,
                resume=resume,
                progress=tick,
                **parameters,
            )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"continue with --out {out} --resume" if out else "") from None
    data = {"status": "ok", "source": source, **result.to_dict()}
    return Answer(data, _view(data, result), brief=[f"{data['average_value']:.12g}"])


def _by_preferences(
    output: Output, algorithm: str, source: str, rounds: int, settings: Sequence[str], seed: int
) -> Answer:
    """A method that learns from preferences, on a finite-horizon problem."""
    with output.waiting(f"reading {source}"):
        problem = load_episodic(source)
    with output.progress(algorithm, "rounds") as tick:
        result = run_preferences(
            algorithm, problem, rounds, seed=seed, progress=tick, **parse_settings(settings)
        )
    data = {"status": "ok", "source": source, **result.to_dict()}
    given = ", ".join(f"{k} = {_short(v)}" for k, v in data["parameters"].items() if v is not None)
    view: list[RenderableType] = [
        f"{algorithm}: rounds = {rounds}, {given}",
        *(
            f"{words} {data[key][0]:.9g} at the start, {data[key][1]:.9g} at the end"
            for words, key in (
                ("value", "value"),
                ("norm of the gradient", "gradient_norm"),
                ("its norm summed over blocks", "block_norm"),
            )
        ),
        f"sent {data['bits']} bits; {data['episodes']} episodes; {data['memory']} numbers kept by each agent",
    ]
    return Answer(data, view, brief=[f"{data['value'][1]:.12g}"])


def _by_successes(
    output: Output, algorithm: str, source: str, rounds: int, settings: Sequence[str], seed: int
) -> Answer:
    """Fed-SE, on environments whose episodes succeed or fail."""
    with output.waiting(f"reading {source}"):
        problem = load_episodic(source)
    with output.progress(algorithm, "rounds") as tick:
        result = run_evolution(problem, rounds, seed=seed, progress=tick, **parse_settings(settings))
    data = {"status": "ok", "source": source, **result.to_dict()}
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for head in ("client", "success at the start", "at the end"):
        table.add_column(head, justify="left" if head == "client" else "right")
    for k, pair in enumerate(zip(data["success"]["first"], data["success"]["last"])):
        table.add_row(str(k), *(f"{x:.9g}" for x in pair))
    view: list[RenderableType] = [
        f"{algorithm}: rounds = {rounds}, " + ", ".join(f"{k} = {v}" for k, v in data["parameters"].items()),
        table,
        f"sent up {data['bits_up']} bits, down {data['bits_down']} bits",
    ]
    return Answer(data, view, brief=[f"{x:.12g}" for x in data["success"]["last"]])


def _further(algorithm: str, given: Mapping[str, Any], settings: Sequence[str]) -> dict[str, Any]:
    """The parameters of ``--set``: those of the algorithm that have no option of their own."""
    known = look_up(algorithm).parameters
    values = parse_settings(settings)
    for name, value in values.items():
        if name in given or name in ("rounds", "seed", "backend", "every", "out", "resume"):
            raise InvalidProblem(f"--set {name}: it has an option, --{name.replace('_', '-')}")
        if name not in known:
            raise InvalidProblem(f"{algorithm} has no parameter {name!r}{suggestion(name, known)}")
        if isinstance(value, str) and not isinstance(known.get(name), str):
            raise InvalidProblem(f"--set {name}={value}: expected a number, or numbers joined by +")
    return values


def _view(data: Mapping[str, Any], result: Run) -> list[RenderableType]:
    steps = ", ".join(
        f"{key} = {_short(value)}" for key, value in data["parameters"].items() if value is not None
    )
    lines = [
        f"{data['algorithm']}: rounds = {data['rounds']}, agents = {data['agents']}, {steps}",
        f"average value {data['average_value']:.9g}"
        + (f"   gap {data['gap']:.6g}" if data["gap"] is not None else "")
        + f"   local average value {data['local_average_value']:.9g}",
        f"sent up {data['bytes_up']} bytes, down {data['bytes_down']} bytes",
    ]
    return [*lines[:2], *_constraints(data, result), lines[2]]


def _constraints(data: Mapping[str, Any], result: Run) -> list[RenderableType]:
    if not result.problem.cmdp.m:
        return []
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for head in ("constraint", "average cost", "threshold", "violation"):
        table.add_column(head, justify="left" if head == "constraint" else "right")
    table.add_column("final multipliers (agent: value)")
    for j in range(result.problem.cmdp.m):
        seen = [(i, row[j]) for i, row in enumerate(data["final_multipliers"]) if row[j] is not None]
        shown = ", ".join(f"{i}: {value:.5g}" for i, value in seen[:4]) + (", …" if len(seen) > 4 else "")
        numbers = (data["average_costs"][j], data["thresholds"][j], data["violations"][j])
        table.add_row(str(j), *(f"{x:.6g}" for x in numbers), shown)
    return [table]


def _short(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return "[" + ", ".join(_short(x) for x in value) + "]" if isinstance(value, list) else str(value)
