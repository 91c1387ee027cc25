"""One algorithm on many small problems at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.averaging import kernels_alone
from tabular_fedrl.algorithms.crpo import rectified_limits, rectified_scales
from tabular_fedrl.algorithms.decentralised import mixing_matrix
from tabular_fedrl.algorithms.unconstrained import mirror_growth
from tabular_fedrl.cmdp import CMDP, FederatedCMDP, federated
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.loops import Batch, Iterated, fednpg, on_graph, optimistic
from tabular_fedrl.loops.variants import GRAPH, LANES, OPTIMISTIC, RECTIFIED, SINGLE
from tabular_fedrl.measured import Array
from tabular_fedrl.runner.settings import initial_multipliers, look_up, one_of, resolve, whole
from tabular_fedrl.runner.side_by_side import side_by_side

COMMON = ("local_steps", "aggregation", "weights")
"""Parameters that a batch has in common."""
ON_DEVICE = ("fednpg", "npg-pd", "omniscient")
"""Algorithms of batches on a CUDA device."""


def run_batch(
    algorithm: str,
    problems: Sequence[CMDP | FederatedCMDP],
    rounds: int,
    parameters: Mapping[str, Any] | Sequence[Mapping[str, Any]] = {},
    *,
    backend: str = "numba",
    seeds: int | Sequence[int] = 0,
) -> Iterated:
    """``rounds`` rounds of an algorithm on problems of one shape, side by side, each with its own parameters.

    Plain floats without bounds on their errors, averages and last iterates only; for enclosures, or metrics
    by round, :func:`~tabular_fedrl.runner.run` each. FedNPG, its variants and some relatives
    (:data:`tabular_fedrl.loops.variants.LANES`) run in lockstep, many problems in one loop; the others each
    in a loop of its own (:mod:`tabular_fedrl.runner.side_by_side`).

    Parameters
    ----------
    algorithm: a name of :data:`tabular_fedrl.loops.variants.SINGLE`.
    problems: B of them, with the same S, A, m and the same sets of visible constraints; stored dense.
    parameters: the algorithm's own, as :func:`~tabular_fedrl.runner.run` takes them: the same for all
        problems, or B of them, which agree in ``local_steps``, ``aggregation`` and ``weights``. Those left
        out take the theory's values for each problem (which solves it).
    backend: ``"numba"``, over its number of threads, or ``"cuda"``: FedNPG, NPG-PD and the omniscient agent,
        from multipliers 0 and with equal weights.
    seeds: of random draws (sampled evaluation only): the same for all problems, or B of them.

    Raises
    ------
    InvalidProblem: what :func:`~tabular_fedrl.runner.run` refuses; another algorithm; problems or parameters
        that do not go together.
    """
    chosen = look_up(algorithm)
    if algorithm not in SINGLE:
        raise InvalidProblem(
            f"run_batch does not take {algorithm}, but {', '.join(SINGLE)}; improve_batch takes offline ones"
        )
    one_of("backend", backend, ("numba", "cuda"))
    K = whole("rounds", rounds, 1)
    each = [parameters] * len(problems) if isinstance(parameters, Mapping) else list(parameters)
    drawn = [seeds] * len(problems) if isinstance(seeds, int) else list(seeds)
    for what, several in (("sets of parameters", each), ("seeds", drawn)):
        if len(several) != len(problems):
            raise InvalidProblem(f"{len(several)} {what} for {len(problems)} problems")
    drawn = [whole("seed", seed, 0) for seed in drawn]
    given = [resolve(chosen, x) for x in each]
    for i, other in enumerate(given):
        for name in COMMON:
            if name in other and not np.array_equal(other[name], given[0][name]):
                raise InvalidProblem(f"problem {i} has {name} = {other[name]}, problem 0 {given[0][name]}")
    acting = [chosen.acts_on(federated(problem), x) for problem, x in zip(problems, given)]
    if backend == "numba" and algorithm not in LANES:
        return side_by_side(chosen, acting, given, K, drawn)
    batch = Batch.of(acting)
    steps = [chosen.steps(problem, K, x) for problem, x in zip(acting, given)]
    starts = [
        initial_multipliers(problem, x["initial_multipliers"], step.dual_cap)
        for problem, x, step in zip(acting, given, steps)
    ]
    constants = (
        np.array([step.eta for step in steps]),
        np.stack([step.eta_dual for step in steps]),
        np.stack([step.dual_cap for step in steps]),
    )
    E, weights = given[0].get("local_steps", 1), given[0].get("weights")
    geometric = given[0].get("aggregation") == "geometric"
    if backend == "cuda":
        if algorithm not in ON_DEVICE or weights is not None or np.any(starts):
            raise InvalidProblem(
                f"backend 'cuda' runs batches of {', '.join(ON_DEVICE)}, from multipliers 0 and with equal "
                "weights"
            )
        # CUDA is imported only where it is asked for.
        from tabular_fedrl.loops import cuda

        return cuda.fednpg(batch, K, E, *constants, geometric=geometric)
    tau, multipliers = np.array([x.get("tau", 0.0) for x in given]), np.stack(starts)
    if LANES[algorithm].get("step") == OPTIMISTIC:
        return optimistic(batch, K, *constants, initial_multipliers=multipliers[:, 0])
    if LANES[algorithm].get("sharing") == GRAPH:
        mixing = np.stack([mixing_matrix(x["graph"], batch.N, x["graph_seed"]) for x in given])
        return on_graph(batch, K, constants[0], mixing, tau=tau, initial_multipliers=multipliers)
    return fednpg(
        batch,
        K,
        E,
        *constants,
        algorithm=algorithm,
        geometric=geometric,
        weights=weights,
        initial_multipliers=multipliers,
        tau=tau,
        **_own(algorithm, acting, given, constants[0]),
    )


def _own(
    algorithm: str, problems: Sequence[FederatedCMDP], given: Sequence[Mapping[str, Any]], eta: Array
) -> dict[str, Any]:
    """What only CRPO, mirror descent or policy averaging takes."""
    cmdps = [problem.cmdp for problem in problems]
    if LANES[algorithm].get("step") == RECTIFIED:
        limits = [rectified_limits(x, step, y["tolerance"]) for x, step, y in zip(cmdps, eta.tolist(), given)]
        return {"scales": np.array([rectified_scales(x) for x in cmdps]), "limits": np.array(limits)}
    if "theta" in given[0]:
        return {"growth": np.array([float(mirror_growth(x, y["theta"])) for x, y in zip(cmdps, given)])}
    if "spread" in given[0]:
        N = problems[0].N
        own = [(x, N, y["spread"], y["kernel_seed"]) for x, y in zip(cmdps, given)]
        return {"kernels": lambda i: np.stack(kernels_alone(*own[i]))}
    return {}
