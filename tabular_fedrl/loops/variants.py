"""What tells FedNPG's relatives apart in a compiled loop."""

from __future__ import annotations

from typing import Any, NamedTuple

from tabular_fedrl.errors import InvalidProblem

MEAN, GEOMETRIC, TABLE, ALONE, GRAPH = range(5)
"""What becomes of the local policies: the server's arithmetic or geometric mean, one table that the agents
update in turn, nothing, or means of neighbours'."""


LAGRANGIAN, SAMPLED, RECTIFIED, PROXIMAL, DUAL, OPTIMISTIC, CLIPPED = range(7)
"""A local step goes along the Lagrangian's gradient; along an estimate of it from rollouts; up the reward or
down a cost that is exceeded (CRPO); to the optimum near the policy at hand (PMD-PD); to that with entropy
(the dual method); twice along the gradient, projected (OPG-PD); several times up a clipped surrogate
(FedPPO)."""

CENTRAL = (RECTIFIED, PROXIMAL, DUAL, OPTIMISTIC)
"""Steps of one agent that sees everything, one a round (:mod:`tabular_fedrl.loops.central`)."""


class Variant(NamedTuple):
    r"""One algorithm of the family.

    sharing: one of the words above. vanilla: steps along the vanilla gradient, else the natural one.
    dual_once: the multipliers move once a round, at the broadcast policy, by E steps.
    tau: weight of entropy and of the quadratic dual term; 0 for none. reward_factor: the reward's weight in
    an agent's Lagrangian. step: one of the words above.
    """

    sharing: int
    vanilla: bool
    dual_once: bool
    tau: float
    reward_factor: float
    step: int


NAMES: dict[str, dict[str, Any]] = {
    "fednpg": {},
    "npg-pd": {},
    "omniscient": {},
    "isolated": {"sharing": ALONE},
    "sequential-shared": {"sharing": TABLE},
    "round-dual": {"dual_once": True},
    "fedpg": {"vanilla": True},
    "regularised-fednpg": {"regularised": True, "bare": True},
    "npg": {},
    "entropy-npg": {"regularised": True},
    "rpg-pd": {"regularised": True, "bare": True},
}
r"""The algorithms that all loops of this family know, by what tells them apart: fields of :class:`Variant`;
``regularised``: with entropy; ``bare``: its step is :math:`\eta`, not :math:`\eta/(1-\gamma)`."""

FAMILY: dict[str, dict[str, Any]] = {
    **NAMES,
    "crpo": {"step": RECTIFIED},
    "mirror-descent": {"bare": True},
    "policy-averaging": {},
}
"""Those of the loop over many small problems in lockstep (:mod:`tabular_fedrl.loops.fednpg`)."""

LANES: dict[str, dict[str, Any]] = {
    **FAMILY,
    "opg-pd": {"step": OPTIMISTIC, "bare": True},
    "decentralised-fednpg": {"sharing": GRAPH},
}
"""Those, and those with a loop in lockstep of their own (:mod:`tabular_fedrl.loops.optimistic`,
:mod:`~tabular_fedrl.loops.graph_lanes`)."""

SINGLE: dict[str, dict[str, Any]] = {
    **LANES,
    "sampled-fednpg": {"step": SAMPLED},
    "fedppo": {"step": CLIPPED, "bare": True},
    "pmd-pd": {"step": PROXIMAL},
    "entropy-dual": {"step": DUAL},
}
"""Those of the loops over one small problem (:mod:`tabular_fedrl.loops.single`,
:mod:`~tabular_fedrl.loops.central`, :mod:`~tabular_fedrl.loops.graph`)."""


def bare(algorithm: str) -> bool:
    r"""Whether its step is :math:`\eta`, not :math:`\eta/(1-\gamma)`."""
    return bool(SINGLE[algorithm].get("bare", False))


def variant(algorithm: str, N: int, geometric: bool = False, tau: float = 0.0) -> Variant:
    """``algorithm`` with N agents; a centralised one has N = 1.

    Raises
    ------
    InvalidProblem: the algorithm is none of :data:`SINGLE`; ``tau`` is not positive where it is needed.
    """
    if algorithm not in SINGLE:
        raise InvalidProblem(f"no compiled loop for {algorithm!r}; there are {', '.join(SINGLE)}")
    own = SINGLE[algorithm]
    regularised, sharing = own.get("regularised", False), own.get("sharing")
    if regularised and not tau > 0:
        raise InvalidProblem(f"tau = {tau:g}: expected a positive number")
    return Variant(
        sharing=(GEOMETRIC if geometric else MEAN) if sharing is None else sharing,
        vanilla=own.get("vanilla", False),
        dual_once=own.get("dual_once", False),
        tau=float(tau) if regularised or sharing == GRAPH else 0.0,
        reward_factor=1.0 if sharing == ALONE else 1.0 / N,
        step=own.get("step", LAGRANGIAN),
    )
