r"""Textbook examples: small problems whose answers are derived by hand, in the docstring of each.

All are exact in float64 data or nearly so, and each names its answer: the optimal value :math:`V_r^*`, the
multipliers where unique, the Slater slack :math:`\xi`, and the optimal policy where unique. Bandits have one
state and :math:`\gamma = 0`, so a policy is a probability vector p and :math:`V_f = \langle p, f\rangle`. The
dual function is :math:`g(\lambda) = \max_\pi V_{r-\lambda\cdot c} + \lambda\cdot d \ge V_r^*`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.instances.draft import point_mass


@dataclass(frozen=True)
class Answer:
    r"""What hand calculation gives.

    ``value``: :math:`V_r^*`, None if infeasible; ``multipliers``: :math:`\lambda^*` where unique; ``slack``:
    the Slater slack; ``policy``: rows of optimal probabilities, None for a state where they are not unique or
    not said; ``farkas``: for an infeasible problem, weights mu summing to 1 with ``min over policies of
    V_{mu.c} - mu.d`` equal to ``margin`` > 0.
    """

    value: float | None
    multipliers: tuple[float, ...] | None = None
    slack: float | None = None
    policy: tuple[tuple[float, ...] | None, ...] | None = None
    farkas: tuple[float, ...] | None = None
    margin: float | None = None


@dataclass(frozen=True)
class Textbook:
    """A named example: ``build()`` gives the problem, ``answer`` its solution."""

    name: str
    build: Callable[[], FederatedCMDP]
    answer: Answer

    @property
    def summary(self) -> str:
        """The first line of the builder's docstring."""
        return (self.build.__doc__ or "").strip().splitlines()[0]


TEXTBOOK: dict[str, Textbook] = {}
"""The examples by name."""


def _example(
    name: str, answer: Answer
) -> Callable[[Callable[[], FederatedCMDP]], Callable[[], FederatedCMDP]]:
    def register(build: Callable[[], FederatedCMDP]) -> Callable[[], FederatedCMDP]:
        TEXTBOOK[name] = Textbook(name, build, answer)
        return build

    return register


def bandit(r: Sequence[float], c: Sequence[Sequence[float]], d: Sequence[float]) -> FederatedCMDP:
    """One state, gamma = 0: rewards ``r (A,)``, costs ``c (m, A)``, thresholds ``d (m,)``; agent i sees
    constraint i."""
    A = len(r)
    costs = np.asarray(c, dtype=np.float64).reshape(len(d), 1, A)
    return FederatedCMDP(CMDP(np.ones((1, A, 1)), [r], costs, d, [1.0], 0.0))


def deterministic(
    successors: Sequence[Sequence[int]],
    r: Sequence[Sequence[float]],
    c: Sequence[Sequence[Sequence[float]]],
    d: Sequence[float],
    gamma: float,
    state_names: Sequence[str],
    action_names: Sequence[str],
) -> FederatedCMDP:
    """A problem with certain successors ``successors[s][a]``, started in state 0."""
    P = np.eye(len(successors))[np.asarray(successors)]
    start = point_mass(len(successors), 0)
    return FederatedCMDP(
        CMDP(P, r, c, d, start, gamma, state_names=state_names, action_names=action_names)
    )  # fmt: skip


@_example("two-arm", Answer(0.5, (1.0,), 0.5, ((0.5, 0.5),)))
def two_arm() -> FederatedCMDP:
    r"""Two arms, the paying one capped at probability 1/2.

    r = (1, 0), c = (1, 0), d = 1/2. :math:`V_r = V_c = p_1 \le 1/2`, so :math:`V^* = 1/2` at p = (1/2, 1/2).
    :math:`g(\lambda) = \max(1-\lambda, 0) + \lambda/2` is least at :math:`\lambda = 1` only. The arm 2 has
    cost 0: :math:`\xi = 1/2`.
    """
    return bandit([1.0, 0.0], [[1.0, 0.0]], [0.5])


@_example("constant-reward", Answer(1.0, (0.0,), 0.5, (None,)))
def constant_reward() -> FederatedCMDP:
    r"""Two arms that do not differ: every policy is optimal, every advantage is 0.

    r = (1, 1), c = (1/2, 1/2), d = 1: :math:`V_r = 1`, :math:`V_c = 1/2` whatever the policy, so
    :math:`V^* = 1`, :math:`\xi = 1/2`, and the inactive constraint has :math:`\lambda^* = 0`. Inequalities
    that compare actions are equalities here.
    """
    return bandit([1.0, 1.0], [[0.5, 0.5]], [1.0])


@_example("stay-or-leave", Answer(2.0, (0.0,), 0.5, ((1.0, 0.0), None)))
def stay_or_leave() -> FederatedCMDP:
    r"""Two states; the first pays as long as one stays, the second keeps for ever.

    r = 1 for staying in the first state, c = 1/2 everywhere, :math:`\gamma = 1/2`, d = 3/2. Staying for ever
    is worth :math:`V^* = 1/(1-\gamma) = 2`; the cost is 1 whatever one does: :math:`\xi = 1/2`,
    :math:`\lambda^* = 0`. Leaving rarely attains the occupancy perturbation bound: with probability q per
    step the visitation of the first state is :math:`(1-\gamma)/(1-\gamma(1-q))`, so both entries move by
    :math:`\gamma q/(1-\gamma) + O(q^2)`.
    """
    half = [[0.5, 0.5], [0.5, 0.5]]
    return deterministic(
        [[0, 1], [1, 1]], [[1.0, 0.0], [0.0, 0.0]], [half], [1.5], 0.5, ["here", "away"], ["stay", "leave"]
    )


@_example("scaled-arms", Answer(10.0, (20.0,), 0.5, ((0.5, 0.5),)))
def scaled_arms() -> FederatedCMDP:
    r"""The two arms with a reward of 20: multipliers leave [0, 2/xi], caps must scale with the reward.

    r = (20, 0), c = (1, 0), d = 1/2. :math:`V^* = 20 \cdot 1/2 = 10`; :math:`g(\lambda) = \max(20-\lambda, 0)
    + \lambda/2` is least at :math:`\lambda = 20`; :math:`\xi = 1/2`. A dual cap of :math:`2/\xi = 4`, right
    for rewards in [0, 1], lies below :math:`\lambda^*` and lets the violation persist.
    """
    return bandit([20.0, 0.0], [[1.0, 0.0]], [0.5])


@_example("running-b", Answer(1.0, (0.0,), 0.05, ((1.0, 0.0),)))
def running_b() -> FederatedCMDP:
    r"""The bandit on which F1 with B replaced by its running value is false.

    r = (1, 0), c = (0, 1), d = 0.05. Arm 1 is best and free: :math:`V^* = 1` at p = (1, 0), the constraint is
    inactive, :math:`g(\lambda) = 1 + 0.05\lambda` has its minimum at :math:`\lambda = 0`, and :math:`\xi =
    0.05`.
    """
    return bandit([1.0, 0.0], [[0.0, 1.0]], [0.05])


@_example("heterogeneous-bandit", Answer(0.94, (0.1, 0.1), 0.2, ((0.2, 0.2, 0.6),)))
def heterogeneous_bandit() -> FederatedCMDP:
    r"""Two agents, each forbidding the other's favourite arm; the third arm is the compromise.

    r = (1, 1, 0.9), c_1 = (0, 1, 0), c_2 = (1, 0, 0), d = (0.2, 0.2). The constraints say :math:`p_2 \le
    0.2`, :math:`p_1 \le 0.2`; the arms 1 and 2 pay more, so both are tight: p = (0.2, 0.2, 0.6), :math:`V^* =
    0.2 + 0.2 + 0.54 = 0.94`. :math:`g(\lambda) = \max(1-\lambda_2, 1-\lambda_1, 0.9) +
    0.2(\lambda_1+\lambda_2)` is least at (0.1, 0.1): lowering either multiplier by t raises the maximum by t
    and saves 0.2 t. Arm 3 is free: :math:`\xi = 0.2`. With adaptive multipliers its averaged policy violates
    (mark: ours).
    """
    return bandit([1.0, 1.0, 0.9], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [0.2, 0.2])


@_example("fixed-multipliers-bandit", Answer(1.88, (0.2, 0.2), 0.2, ((0.2, 0.2, 0.6),)))
def fixed_multipliers_bandit() -> FederatedCMDP:
    r"""Two agents whose local objectives at multipliers 1 disagree although they share an optimum.

    r = (2, 2, 1.8), c_1 = (0, 1, 0), c_2 = (1, 0, 0), N = 2: the local objectives :math:`r/N - \lambda_i c_i`
    at :math:`\lambda = (1, 1)` are f_1 = (1, 0, 0.9) and f_2 = (0, 1, 0.9), with sum (1, 1, 1.8): arm 3 is
    best for both together and for neither alone. With d = (0.2, 0.2) it is the heterogeneous bandit with the
    reward doubled: :math:`V^* = 1.88`, :math:`\lambda^* = (0.2, 0.2)`, p = (0.2, 0.2, 0.6), :math:`\xi =
    0.2`.
    """
    return bandit([2.0, 2.0, 1.8], [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]], [0.2, 0.2])


@_example("three-state", Answer(1.25, (1.0,), 0.25, ((0.0, 1.0), (2 / 3, 1 / 3), (1.0, 0.0))))
def three_state() -> FederatedCMDP:
    r"""Valley, ridge and summit: the student's example, whose optimal policy must toss a coin.

    Actions stay and climb; climbing from the summit leads down to the valley. Reward 1 for staying on the
    ridge, 3 for staying on the summit, which costs 1 (frostbite); everything else 0. Start in the valley,
    :math:`\gamma = 1/2`, d = 1/4.

    *Price the cost at* :math:`\lambda`. Staying on the summit for ever is worth :math:`2(3-\lambda)`, staying
    on the ridge for ever 2, climbing from the ridge :math:`\tfrac12 \cdot 2(3-\lambda) = 3-\lambda`. At
    :math:`\lambda = 1` the two ways to leave the ridge agree, so the ridge is worth 2, the summit 4, the
    valley :math:`\tfrac12 \cdot 2 = 1`; staying in the valley (1/2) and climbing down (1/2) are worse. Hence
    :math:`g(1) = 1 + d`.

    *Attain it.* Climb from the ridge with probability q. The expected discounted number of visits to the
    ridge is :math:`y = \tfrac12 + \tfrac12 (1-q) y`, so :math:`y = 1/(1+q)`; to the summit :math:`z =
    \tfrac12 q y + \tfrac12 z`, so :math:`z = q/(1+q)`, which is the cost. :math:`z = 1/4` gives q = 1/3, y =
    3/4, and the reward :math:`y(1-q) + 3z = \tfrac12 + \tfrac34 = \tfrac54 = 1 + d`: by weak duality
    :math:`V^* = 5/4` and :math:`\lambda^* = 1`. For thresholds in (0, 1/2) the optimum is :math:`1 + d`, with
    slope 1, so the multiplier is unique. Never climbing to the summit costs nothing: :math:`\xi = 1/4`.
    """
    return deterministic(
        [[0, 1], [1, 2], [2, 0]],
        [[0.0, 0.0], [1.0, 0.0], [3.0, 0.0]],
        [[[0.0, 0.0], [0.0, 0.0], [1.0, 0.0]]],
        [0.25],
        0.5,
        ["valley", "ridge", "summit"],
        ["stay", "climb"],
    )


@_example("machine-repair", Answer(22 / 15, (2 / 3,), 0.2, ((1.0, 0.0), (0.625, 0.375))))
def machine_repair() -> FederatedCMDP:
    r"""A machine that breaks half the time, and a budget for repairs.

    States working and broken, actions wait and repair, :math:`\gamma = 1/2`, start working. Waiting while
    working pays 1 and leads to broken with probability 1/2; waiting while broken pays 0 and changes nothing;
    repairing costs 1, pays 0 and leads to working. d = 1/5.

    *Price*: waiting while broken for ever is worth 0, repairing :math:`-\lambda + \tfrac12 W`, W the worth of
    working. If the two agree, broken is worth 0 and :math:`W = 1 + \tfrac12\cdot\tfrac12 W = 4/3`, hence
    :math:`\lambda = W/2 = 2/3` (repairing a working machine is then worth :math:`-\tfrac23 + \tfrac23 = 0 <
    W`), and :math:`g(2/3) = \tfrac43 + \tfrac23 d = 22/15`.

    *Attain*: repair with probability q while broken. Costs-to-go :math:`C_w = \tfrac14 (C_w + C_b)`, so
    :math:`C_b = 3 C_w`, and :math:`C_b = q(1 + \tfrac12 C_w) + (1-q)\tfrac12 C_b`. :math:`C_w = 1/5` needs
    :math:`0.3 (1+q) = 1.1 q`, q = 3/8. Always repairing costs 2/5, so d is inside (0, 2/5), where the optimum
    has the slope 2/3: the multiplier is unique. Never repairing is free: :math:`\xi = 1/5`.
    """
    P = [[[0.5, 0.5], [1.0, 0.0]], [[0.0, 1.0], [1.0, 0.0]]]
    cost = [[[0.0, 1.0], [0.0, 1.0]]]
    return FederatedCMDP(
        CMDP(
            P, [[1.0, 0.0], [0.0, 0.0]], cost, [0.2], [1.0, 0.0], 0.5,
            state_names=["working", "broken"], action_names=["wait", "repair"],
        )
    )  # fmt: skip


@_example(
    "risky-shortcut",
    Answer(7.632, (1.71,), 0.2, ((0.8, 0.2), (1.0, 0.0), (1.0, 0.0), None)),
)
def risky_shortcut() -> FederatedCMDP:
    r"""A corridor of three cells, and thin ice that leads to the goal at once.

    States start, first, second, goal; actions road (one cell on) and ice (to the goal, cost 1). The goal is
    absorbing and pays 1 a step; :math:`\gamma = 0.9`, d = 0.2.

    The goal is worth 10, reached after k steps :math:`10 \gamma^k`: 7.29 by road, 9 over the ice from the
    start. Price the ice at :math:`\lambda = 9 - 7.29 = 1.71`. Ice from the first cell is then worth :math:`9
    - 1.71 = 7.29` against 8.1 by road, from the second cell :math:`7.29` against 9: the road is better there,
    the start is indifferent, and :math:`g(1.71) = 7.29 + 1.71 d = 7.632`, attained by taking the ice at the
    start with probability d = 0.2. The optimum is :math:`7.29 + 1.71 d` for all d in [0, 1], so the
    multiplier is unique; the road is free: :math:`\xi = 0.2`. At the goal both actions do the same.
    """
    return deterministic(
        [[1, 3], [2, 3], [3, 3], [3, 3]],
        [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [1.0, 1.0]],
        [[[0.0, 1.0], [0.0, 1.0], [0.0, 1.0], [0.0, 0.0]]],
        [0.2],
        0.9,
        ["start", "first", "second", "goal"],
        ["road", "ice"],
    )


@_example("two-budgets", Answer(3.0, (1.0, 2.0), 1 / 3, ((0.75, 0.25), (0.5, 0.5))))
def two_budgets() -> FederatedCMDP:
    r"""Two places, two temptations, one budget for each: both constraints bind, three agents overlap.

    States day and night follow each other for ever, :math:`\gamma = 1/2`, start by day; actions rest and
    indulge. Resting pays 1. Indulging by day pays 2 and costs 1 on the first budget, by night 3 and 1 on the
    second. The discounted number of days is :math:`1/(1-\tfrac14) = 4/3`, of nights 2/3. With :math:`p, q`
    the probabilities of indulging, :math:`V_r = \tfrac43 (1 + p) + \tfrac23 (1 + 2q)`, :math:`V_{c_1} =
    \tfrac43 p`, :math:`V_{c_2} = \tfrac23 q`, so :math:`V_r = 2 + V_{c_1} + 2 V_{c_2}`: with d = (1/3, 1/3)
    both bind, :math:`V^* = 2 + \tfrac13 + \tfrac23 = 3`, p = 1/4, q = 1/2, :math:`\lambda^* = (1, 2)`
    (unique, since p and q are inside (0, 1)). Resting always is free: :math:`\xi = 1/3`. Agent 0 sees the
    first budget, agent 1 the second, agent 2 both.
    """
    problem = deterministic(
        [[1, 1], [0, 0]],
        [[1.0, 2.0], [1.0, 3.0]],
        [[[0.0, 1.0], [0.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]],
        [1 / 3, 1 / 3],
        0.5,
        ["day", "night"],
        ["rest", "indulge"],
    )
    return FederatedCMDP(problem.cmdp, [[0], [1], [0, 1]])


@_example("opposite-rooms", Answer(0.9, (0.0,), 0.5, (None, (1.0, 0.0), (1.0, 0.0), None)))
def opposite_rooms() -> FederatedCMDP:
    r"""Two rooms, two experts who know one of them each, and their useless mean.

    From the hall left or right into a room, from there to the end. In both rooms the first action pays 1, the
    second nothing; :math:`\gamma = 0.9`. So a policy is worth :math:`\gamma` times the probability of doing
    the right thing in the room it enters, at most :math:`V^* = 0.9`. The hall costs 1/2 and d = 1: the
    constraint is inactive, :math:`\lambda^* = 0`, :math:`\xi = 1/2`.

    *The mean of experts.* A enters the left room with probability 0.9 and is right there with 0.9, in the
    right room with 0.02; B is its mirror image. Both are worth :math:`0.9 (0.81 + 0.002) = 0.7308`, the
    uniform policy 0.45, but the arithmetic mean of A and B, which is right with probability 0.46 in either
    room, 0.414, and the geometric mean, right with probability :math:`\sqrt{0.018}/(\sqrt{0.018} +
    \sqrt{0.098}) = 0.3`, 0.27 (theory notes, DRPO, CE2; mark: ours).
    """
    return deterministic(
        [[1, 2], [3, 3], [3, 3], [3, 3]],
        [[0.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 0.0]],
        [[[0.5, 0.5], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]],
        [1.0],
        0.9,
        ["hall", "left room", "right room", "end"],
        ["first", "second"],
    )


@_example("not-slater", Answer(0.5, None, 0.0, ((0.5, 0.5),)))
def not_slater() -> FederatedCMDP:
    r"""Feasible, but at one point only: no slack, and multipliers without bound.

    r = (1, 0), c_1 = (1, 0), c_2 = (0, 1), d = (1/2, 1/2). The constraints say :math:`p_1 \le 1/2` and
    :math:`p_2 \le 1/2`, so p = (1/2, 1/2) is the only feasible policy, :math:`V^* = 1/2`. For every policy
    the two excesses sum to 0: :math:`\xi = 0`. :math:`g(\lambda) = \max(1-\lambda_1, -\lambda_2) +
    (\lambda_1+\lambda_2)/2 = \tfrac12 + \tfrac12|1 - \lambda_1 + \lambda_2|`, so every :math:`(1 + t, t)`, t
    >= 0, is optimal.
    """
    return bandit([1.0, 0.0], [[1.0, 0.0], [0.0, 1.0]], [0.5, 0.5])


@_example("infeasible", Answer(None, None, None, None, (0.5, 0.5), 0.25))
def infeasible() -> FederatedCMDP:
    r"""Two constraints that can be met one at a time but not together.

    r = (1, 0), c_1 = (1, 0), c_2 = (0, 1), d = (1/4, 1/4). The weights :math:`\mu = (1/2, 1/2)` prove it: for
    every policy :math:`V_{\mu\cdot c} = (p_1 + p_2)/2 = 1/2 > 1/4 = \mu\cdot d`.
    """
    return bandit([1.0, 0.0], [[1.0, 0.0], [0.0, 1.0]], [0.25, 0.25])
