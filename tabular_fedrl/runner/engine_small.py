"""FedNPG and its relatives on small dense problems, compiled: :mod:`tabular_fedrl.loops.single`,
:mod:`~tabular_fedrl.loops.central`, :mod:`~tabular_fedrl.loops.graph`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.averaging import own_kernels
from tabular_fedrl.algorithms.crpo import rectified_limits, rectified_scales
from tabular_fedrl.algorithms.decentralised import mixing_matrix
from tabular_fedrl.algorithms.pmd_pd import proximal_weight
from tabular_fedrl.algorithms.sampled import simulator, starts
from tabular_fedrl.algorithms.unconstrained import mirror_growth
from tabular_fedrl.errors import StepsTooLarge
from tabular_fedrl.federation import State
from tabular_fedrl.kernels.divergence import Target
from tabular_fedrl.kernels.streams import wind, words
from tabular_fedrl.loops.central import advance_alone
from tabular_fedrl.loops.graph import advance_on_graph
from tabular_fedrl.loops.single import advance
from tabular_fedrl.loops.single_tables import Clipping, Kept, Problem, Rows, Simulator, Steps, slack
from tabular_fedrl.loops.variants import (
    CENTRAL,
    CLIPPED,
    DUAL,
    GRAPH,
    OPTIMISTIC,
    PROXIMAL,
    RECTIFIED,
    SAMPLED,
    SINGLE,
    Variant,
    bare,
    variant,
)
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.runner.engine import Asked, Engine, Stretch, Task, not_finite, pairs
from tabular_fedrl.runner.measure import Comparator

MOST_STATES = 256
"""Above, elimination without blocks falls behind."""
WORK, ENTRIES = 200_000_000, 2_000_000
"""A stretch: at most so many multiplications, and so many numbers in an array."""


def refuses(asked: Asked) -> str | None:
    """Which problems the loops are for."""
    if asked.problem.cmdp.is_exact:
        return "its numbers are floats, not balls"
    if asked.problem.cmdp.S > MOST_STATES:
        return f"S = {asked.problem.cmdp.S} states, and its loops are for at most {MOST_STATES}"
    return None


def stretches(task: Task, state: State) -> Iterator[Stretch]:
    """All rounds, with the radii of :mod:`tabular_fedrl.loops.single_tables`."""
    cmdp, N, E = task.problem.cmdp, task.problem.N, task.local_steps
    S, A, m = cmdp.S, cmdp.A, cmdp.m
    geometric = task.given.get("aggregation") == "geometric"
    form = variant(task.algorithm.name, N, geometric, task.given.get("tau", 0.0))
    problem, steps, growth = problem_of(task), _steps(task, form), _growth(task)
    comparator = task.observer.comparator
    target = target_of(comparator, S, A)
    natural = comparator is not None and task.algorithm.natural
    log_pibar = _transposed(state.log_policy.reshape(-1, 1, S, A))
    multipliers = np.where(problem.mask, state.multipliers, 0.0)
    graph = form.sharing == GRAPH
    memory = _memory(form, N, A, S, m) if state.values is None else _copy(state.values)
    generators = _generators(task, state) if form.step == SAMPLED else []
    streams = words(generators) if generators else np.zeros((N, 4), dtype=np.uint64)
    mixing = _copy(mixing_matrix(task.given["graph"], N, task.given["graph_seed"])) if graph else None
    size, k, transitions = _size(task), state.round, np.array(state.transitions)
    while k < task.rounds:
        n = min(size, task.rounds - k)
        steps = steps._replace(first=k, exponents=_exponents(task, growth, k, n))
        recorded = task.recorded(k, k + n) - k
        keep = np.zeros(n, dtype=bool)
        keep[recorded] = True
        r, compared, drawn = (recorded.size * flag for flag in (1, comparator is not None, task.iterates))
        G = len(log_pibar)
        rows = Rows(
            local=np.empty((n, N, E, 1 + m, 2)),
            drift=np.empty(n),
            step=np.empty((n, N)),
            transitions=np.zeros((n, N), dtype=np.int64),
        )
        kept = Kept(
            multipliers=np.empty((r, N, E, m)),
            kl=np.empty((compared, G, 2)),
            kl_end=np.empty((compared, N, 2)),
            log_z=np.empty((r * natural, N, E, 2)),
            start=np.empty((drawn, G, A, S)),
            local=np.empty((drawn, N, E + 1, A, S)),
        )
        fixed, moving, measured = (problem, steps, form, target), (log_pibar, multipliers), (keep, rows, kept)
        if graph:
            done = advance_on_graph(*fixed, mixing, *moving, memory, *measured)
        elif form.step in CENTRAL:
            done = advance_alone(*fixed, *moving, memory, *measured)
        else:
            done = advance(*fixed, *moving, streams, *measured)
        if done < n:
            raise StepsTooLarge(not_finite(task, k + done))
        k += n
        transitions += rows.transitions.sum(axis=0)
        for generator, stream in zip(generators, streams):
            wind(generator, stream)
        table = _transposed(log_pibar)[:, 0]
        after = State(
            round=k,
            log_policy=table[0] if task.algorithm.share else table,
            multipliers=np.where(problem.mask, multipliers, np.nan),
            random=json.dumps([x.bit_generator.state for x in generators]) if generators else "",
            transitions=tuple(transitions.tolist()),
            values=memory.copy() if memory.size else None,
        )
        yield Stretch(after, _every_round(task, rows), _recorded(task, kept))


def problem_of(task: Task) -> Problem:
    """The problem as the loops hold it."""
    cmdp = task.problem.cmdp
    P = cmdp.P.toarray() if cmdp.is_sparse else cmdp.P
    return Problem(
        P=_copy(P.reshape(cmdp.S, cmdp.A, cmdp.S)),
        f=_transposed(cmdp.signals),
        f_size=np.abs(cmdp.signals).max(axis=(1, 2)),
        d=_copy(cmdp.d),
        rho=_copy(cmdp.rho),
        gamma=float(cmdp.gamma),
        mask=task.problem.mask,
        slack=slack(cmdp.S, cmdp.A, cmdp.row_error),
        row_error=float(cmdp.row_error),
    )


def _steps(task: Task, form: Variant) -> Steps:
    """All but what is a stretch's own."""
    steps, given, cmdp, N = task.steps, task.given, task.problem.cmdp, task.problem.N
    scales: list[float] = []
    limits: list[float] = []
    nearness, clipping = 0.0, Clipping(0.0, 0, 0.0)
    kernels = np.zeros((0, cmdp.S, cmdp.A, cmdp.S))
    if form.step == RECTIFIED:
        scales, limits = rectified_scales(cmdp), rectified_limits(cmdp, steps.eta, given["tolerance"])
    elif form.step == PROXIMAL:
        nearness = float(proximal_weight(cmdp, steps.eta_dual))
    elif form.step == DUAL:
        nearness = float(given["tau"])
    elif form.step == CLIPPED:
        clipping = Clipping(float(given["clip"]), given["epochs"], float(given["target"]))
    if "spread" in given:
        views = own_kernels(cmdp, N, given["spread"], given["kernel_seed"])
        kernels = np.stack([view.P for view in views])
    return Steps(
        exponents=np.zeros(0),
        eta_dual=_copy(steps.eta_dual),
        dual_cap=_copy(steps.dual_cap),
        weights=_copy(task.weights),
        scales=np.array(scales, dtype=np.float64),
        limits=np.array(limits, dtype=np.float64),
        first=0,
        nearness=nearness,
        clipping=clipping,
        kernels=kernels,
        simulator=_simulator(task, form),
    )


def _simulator(task: Task, form: Variant) -> Simulator:
    """What the rollouts draw from, if there are any."""
    if form.step != SAMPLED:
        whole, table = np.zeros(0, dtype=np.int64), np.zeros((0, 0))
        return Simulator(whole, whole, np.zeros(0), table, whole, whole, 0)
    cmdp = task.problem.cmdp
    indptr, successors, cumulative, signals = simulator(cmdp)
    first = starts(cmdp.S, cmdp.A)
    return Simulator(indptr, successors, cumulative, _copy(signals), *first, task.given["samples"])


def _generators(task: Task, state: State) -> list[np.random.Generator]:
    """The agents' random streams."""
    federation = task.federation()
    if state.round:
        federation.restore(state)
    return [agent.rng for agent in federation.agents]


def _memory(form: Variant, N: int, A: int, S: int, m: int) -> Array:
    """Room for what the steps remember."""
    if form.sharing == GRAPH:
        return np.zeros((2, N, A, S))
    return np.zeros({DUAL: m, OPTIMISTIC: A * S + m}.get(form.step, 0))


def _growth(task: Task) -> float:
    """What a step is longer by than the one before."""
    if "theta" not in task.given:
        return 1.0
    return float(mirror_growth(task.problem.cmdp, task.given["theta"]))


def _exponents(task: Task, growth: float, first: int, n: int) -> Array:
    """Of n rounds: what the signals' Q functions are multiplied by."""
    eta = float(task.steps.eta)
    if not bare(task.algorithm.name):
        eta /= 1 - task.problem.cmdp.gamma
    # An absurd step overflows here; the round it spoils is named when it comes.
    with np.errstate(over="ignore"):
        return np.array(eta * growth ** np.arange(first, first + n))


def target_of(comparator: Comparator | None, S: int, A: int) -> Target:
    """The comparator as the loops hold it; zeros for none."""
    if comparator is None:
        none = np.zeros((A, S))
        return Target(np.zeros(S), 0.0, none, none, none, none, np.zeros(S))
    return Target(
        d=_copy(comparator.d.value),
        d_error=float(comparator.d.error.max()),
        pi=_transposed(comparator.pi.value),
        pi_error=_transposed(comparator.pi.error),
        log_pi=_transposed(comparator.log_pi.value),
        log_pi_error=_transposed(comparator.log_pi.error),
        weight=comparator.weights.upper.sum(axis=1),
    )


def _every_round(task: Task, rows: Rows) -> dict[str, Any]:
    values = pairs(rows.local)
    start = values[:, 0, 0] if task.algorithm.share else values[:, :, 0].mean(axis=1)
    return {
        "value": start[:, 0],
        "costs": start[:, 1:],
        "local_value": values[..., 0],
        "local_costs": values[..., 1:],
        "drift": rows.drift,
        "step": rows.step,
        "transitions": rows.transitions,
    }


def _recorded(task: Task, kept: Kept) -> dict[str, Measured | Array]:
    out: dict[str, Measured | Array] = {"multipliers": kept.multipliers}
    if task.observer.comparator is not None:
        kl = pairs(kept.kl)
        out["kl"] = kl[:, 0] if task.algorithm.share else kl.mean(axis=1)
        out["kl_local_end"] = pairs(kept.kl_end)
        if task.algorithm.natural:
            out["log_normaliser"] = pairs(kept.log_z)
    if task.iterates:
        start = _transposed(kept.start)
        out["log_policies"] = start[:, 0] if task.algorithm.share else start
        out["local"] = _transposed(kept.local)
    return out


def _transposed(x: Array) -> Array:
    """Tables ``(..., S, A)`` as ``(..., A, S)`` and back, copied."""
    return _copy(np.swapaxes(x, -1, -2))


def _copy(x: Array) -> Array:
    """Own, writable and contiguous: the compiler would take a frozen array for another type."""
    return np.array(x, dtype=np.float64, order="C")


def _size(task: Task) -> int:
    """Rounds in a stretch."""
    N, E, cmdp = task.problem.N, task.local_steps, task.problem.cmdp
    S, A, m = cmdp.S, cmdp.A, cmdp.m
    numbers = N * E * 2 * (1 + m) + task.iterates * N * (E + 1) * S * A // task.every
    # A transition of a rollout takes as long as some twenty multiplications, an exponential as ten.
    drawn = 20 * task.given.get("samples", 0) * S * (A + 1) * float(cmdp.horizon)
    work = N * E * (S * S * (S + 2 * A + m) + drawn + 10 * task.given.get("epochs", 0) * S * A)
    return int(max(1, min(4096, WORK // work, ENTRIES // numbers)))


ENGINE = Engine("loops for small problems", SINGLE, refuses, stretches)
