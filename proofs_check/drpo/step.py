r"""One round of DRPO with reverse-KL steps, enclosed: what the pages on it are about.

N clients start from the server's policy :math:`\pi_k`. Client i holds a behaviour policy :math:`b_i` and an
estimate :math:`Q_i = Q^{\pi_k} + e_i` of the reward's action values, and takes the step

.. math:: \pi_i = \arg\max_p\ \langle p, Q_i\rangle - \alpha KL(p\|b_i) - \beta KL(p\|\pi_k)
                \ \propto\ b_i^w\, \pi_k^{1-w}\, e^{Q_i/\tau}, \qquad \tau = \alpha+\beta,\ w = \alpha/\tau .

Only the reward is looked at; costs are ignored. The notes take rewards in [0, R]; adding a constant to r
shifts J by a constant and leaves advantages, spans and steps alone, so that here R is the span of r.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from proofs_check.drpo.laws import Law, covariance, jeffreys, kl, mixture, pool, span
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import Values, average, evaluate, visitation
from tabular_fedrl.measured import Array, Measured

Support = Literal["full", "nested", "crossing"]

FAMILIES = (
    "random-mdp:seed=1",
    "random-mdp:nS=6,nA=3,seed=2",
    "garnet:S=12,A=3,b=2,seed=2",
    "garnet:S=30,A=4,b=4,seed=3",
    "windy-cliff",
    "gym:FrozenLake-v1",
    "gym:CliffWalking-v1,gamma=0.9",
    "textbook:three-state",
    "textbook:two-arm",
    "textbook:heterogeneous-bandit",
)
"""What the pages vary (see :func:`draw`)."""


@dataclass(frozen=True)
class Round:
    """A round: ``alpha``, ``beta`` scalars; ``weights`` of the clients ``(N,)``, or ``(N, S)`` where they
    depend on the state; log-policies ``log_pi (S, A)`` and ``log_b (N, S, A)``, ``-inf`` for probability 0;
    ``Q (N, S, A)``.
    """

    cmdp: CMDP
    alpha: Measured
    beta: Measured
    weights: Measured
    log_pi: Any
    log_b: Any
    Q: Measured

    # ---- scalars -----------------------------------------------------------------------------------------
    @property
    def N(self) -> int:
        return len(self.log_b)

    @cached_property
    def tau(self) -> Measured:
        return self.alpha + self.beta

    @cached_property
    def eta(self) -> Measured:
        return Measured(1.0) / self.tau

    @cached_property
    def w(self) -> Measured:
        return self.alpha / self.tau

    @cached_property
    def discount(self) -> Measured:
        """``1 - gamma``"""
        return Measured(1.0) - self.cmdp.gamma

    @cached_property
    def R(self) -> Measured:
        """The span of the reward."""
        return Measured(self.cmdp.r.max()) - self.cmdp.r.min()

    @cached_property
    def omega(self) -> Measured:
        """The weights for every state, ``(N, S)``."""
        flat = self.weights.reshape(self.N, -1)
        return flat + np.zeros((self.N, self.cmdp.S))

    # ---- the global policy, the behaviours, the signals ---------------------------------------------------
    @cached_property
    def old(self) -> Law:
        r""":math:`\pi_k`, ``(S, A)``"""
        return Law.of(self.log_pi)

    @cached_property
    def behaviour(self) -> Law:
        """``b_i``, ``(N, S, A)``"""
        return Law.of(self.log_b)

    @cached_property
    def values(self) -> Values:
        r"""Of the reward under :math:`\pi_k`."""
        return evaluate(self.cmdp, self.log_pi, self.cmdp.r[None])

    @cached_property
    def q(self) -> Measured:
        r""":math:`Q^{\pi_k}`, ``(S, A)``"""
        return self.values.Q[0]

    @cached_property
    def advantage(self) -> Measured:
        r""":math:`A^{\pi_k}`, ``(S, A)``"""
        return self.values.advantage[0]

    @cached_property
    def errors(self) -> Measured:
        r""":math:`e_i = Q_i - Q^{\pi_k}`, ``(N, S, A)``"""
        return self.Q - self.q

    @cached_property
    def ell(self) -> Measured:
        r""":math:`\ell_i = \log(b_i/\pi_k)`, ``(N, S, A)``; 0 outside the common support."""
        outside = ~(self.behaviour.support & self.old.support)
        return (self.behaviour.log - self.old.log).where(outside, 0.0)

    @cached_property
    def U(self) -> Measured:
        r""":math:`U_i = Q_i + \alpha \ell_i`, ``(N, S, A)``"""
        return self.Q + self.ell * self.alpha

    # ---- the steps and the two means ----------------------------------------------------------------------
    @cached_property
    def clients(self) -> Law:
        r"""The exact steps :math:`\pi_i`, ``(N, S, A)``, by the closed form."""
        b, pi = self.behaviour, self.old
        # A weight that is exactly 0 takes its policy out of the problem, its zeros included.
        alone = np.ones_like(b.support)
        support = (b.support if positive(self.alpha) else alone) & (
            pi.support if positive(self.beta) else alone
        )
        return Law.normalised((b.log * self.alpha + pi.log * self.beta + self.Q) * self.eta, support)

    def objective(self, p: Law) -> Measured:
        r""":math:`f_i(p) = \langle p, Q_i\rangle - \alpha KL(p\|b_i) - \beta KL(p\|\pi_k)`, ``(N, S)``, of
        laws ``(S, A)`` or ``(N, S, A)``."""
        f = p.mean(self.Q)
        for weight, q in ((self.alpha, self.behaviour), (self.beta, self.old)):
            if positive(weight):
                f = f - kl(p, q) * weight
        return f

    @property
    def local(self) -> Any:
        """The clients' log-policies ``(N, S, A)``, as algorithms hold them."""
        return self.clients.plain

    @cached_property
    def arithmetic(self) -> Law:
        r""":math:`\sum_i \omega_i \pi_i`, ``(S, A)``"""
        return mixture(self.clients, self.omega)

    @cached_property
    def geometric(self) -> Law:
        r""":math:`\propto \prod_i \pi_i^{\omega_i}`, ``(S, A)``"""
        return pool(self.clients, self.omega)

    def over_clients(self, f: Measured) -> Measured:
        r""":math:`\sum_i \omega_i f_i` of ``f (N, S)`` or ``(N, S, A)``."""
        return (f * (self.omega if f.ndim == 2 else self.omega.reshape(*self.omega.shape, 1))).sum(0)

    @cached_property
    def gains(self) -> Measured:
        r""":math:`g_i = \langle \pi_i, A^{\pi_k} \rangle`, ``(N, S)``"""
        return self.clients.mean(self.advantage)

    @cached_property
    def jeff(self) -> Measured:
        r""":math:`\mathrm{Jeff}(\pi_i, \pi_k)`, ``(N, S)``"""
        return jeffreys(self.clients, self.old)

    # ---- values and visitations ---------------------------------------------------------------------------
    def J(self, law: Law) -> Measured:
        """Value at rho of the reward under policies ``(..., S, A)``: ``(...)``."""
        # In floats: performance difference between the law and the floats that are evaluated.
        moved = law.rounding * 0.5 * self.R / (self.discount * self.discount)
        at_rho = evaluate(self.cmdp, law.plain, self.cmdp.r[None]).at_rho
        return at_rho[..., 0].rounded_by(moved.upper)

    def visits(self, law: Law) -> Measured:
        """Normalised visitation of one policy, ``(S,)``."""
        d = visitation(self.cmdp, law.plain)
        moved = law.rounding * Measured(self.cmdp.gamma) / self.discount
        return d.rounded_by(moved.upper)

    def expected(self, law: Law, f: Measured) -> Measured:
        r""":math:`E_{s \sim d^{p}} f(s)` under the policy p, ``f (..., S)``."""
        return average(self.visits(law), f)

    def improvement(self, law: Law) -> Measured:
        r""":math:`J(p) - J(\pi_k)`, from two evaluations."""
        return self.J(law) - self.values.at_rho[0]

    # ---- the constants of Theorem C -----------------------------------------------------------------------
    @cached_property
    def C_bar(self) -> Measured:
        r""":math:`\bar C = E_{d^{\pi_k}} \sum_i \omega_i \mathrm{Cov}_{\pi_k}(U_i, Q^{\pi_k})`"""
        return self.expected(self.old, self.over_clients(covariance(self.old, self.U, self.q)))

    @cached_property
    def R_U(self) -> Measured:
        r""":math:`\max_{i,s} \mathrm{span}\,U_i` over the support of :math:`\pi_k`"""
        return span(self.U, self.old.support & np.ones_like(self.behaviour.support)).max()

    @cached_property
    def R_Q(self) -> Measured:
        r""":math:`\max_s \mathrm{span}\,Q^{\pi_k}` over the support of :math:`\pi_k`"""
        return span(self.q, self.old.support).max()


@dataclass(frozen=True)
class Update:
    r"""The server's step from a round to the policy ``after``.

    Gains at a state reach :math:`R/(1-\gamma)`. So that sides are compared relative to that, everything here
    is multiplied by :math:`1-\gamma`.
    """

    round: Round
    after: Law

    @cached_property
    def gain(self) -> Measured:
        r""":math:`(1-\gamma)^2 (J(\pi_{k+1}) - J(\pi_k))`, from two evaluations."""
        return self.round.improvement(self.after) * self.round.discount**2

    @cached_property
    def visits(self) -> Measured:
        r""":math:`d^{\pi_{k+1}}`, ``(S,)``"""
        return self.round.visits(self.after)

    def expected(self, f: Measured) -> Measured:
        r""":math:`(1-\gamma) E_{s \sim d^{\pi_{k+1}}} f(s)`, ``f (..., S)``."""
        return average(self.visits, f) * self.round.discount


def positive(weight: Measured) -> bool:
    """Whether a weight is not exactly 0."""
    return bool(weight.value != 0 or weight.error > 0)


def rounds(problem: FederatedCMDP, draws: int, seed: int, **settings: Any) -> list[Round]:
    """``draws`` random rounds, every second one at the vertices; ``settings`` as for :func:`draw`."""
    return [draw(problem, seed=(seed, k), vertex=k % 2 == 1, **settings) for k in range(draws)]


def draw(
    problem: FederatedCMDP,
    clients: int = 3,
    alpha: float | None = None,
    beta: float | None = None,
    sharpness: float = 1.0,
    noise: float = 0.3,
    seed: int | tuple[int, ...] = 0,
    vertex: bool = False,
    support: Support = "full",
    statewise: bool = False,
) -> Round:
    r"""A random round on a random variation of the problem.

    One time in ten the problem is taken as it is; else its transition laws are dealt out anew among the
    state-action pairs, with random rewards. ``alpha``, ``beta``: random on a logarithmic scale, in units
    of the span of :math:`Q^{\pi_k}`, unless given; ``sharpness``: standard deviation of the policies' logits;
    ``noise``: that of the critics' errors, in the same units; ``statewise``: weights of the clients that
    depend on the state.

    ``vertex``: near-deterministic policies, always another problem with rewards 0 and 1, half the time
    :math:`\gamma = 0.99`, tiny and huge weights, one client that has nearly all the say.

    ``support``: ``full``; ``nested``: policies with zeros, :math:`\mathrm{supp}\,\pi_k \subseteq
    \mathrm{supp}\,b_i`; ``crossing``: zeros anywhere, one action common to all in every state.
    """
    rng = np.random.default_rng(seed)
    cmdp = _variation(problem.cmdp, rng, vertex)
    S, A = cmdp.S, cmdp.A
    held = _supports(rng, (clients + 1, S, A), support)
    tables = _policies(rng, held, sharpness, vertex).plain
    shares = Measured(rng.dirichlet(np.full(clients, 0.1 if vertex else 2.0), S if statewise else 1).T + 1e-6)
    weights = shares / shares.sum(0)
    q = evaluate(cmdp, tables[0], cmdp.r[None]).Q[0]
    # The sizes of weights and errors are choices like any other: midpoints will do.
    size = float(np.ptp(q.value)) or 1.0
    a, b = (size * _weight(rng, vertex) if given is None else given for given in (alpha, beta))
    errors = noise * size * rng.standard_normal((clients, S, A))
    return Round(
        cmdp=cmdp,
        alpha=Measured(a),
        beta=Measured(b),
        weights=weights if statewise else weights.reshape(clients),
        log_pi=tables[0],
        log_b=tables[1:],
        Q=Measured(q.plain + errors),
    )


def _variation(cmdp: CMDP, rng: np.random.Generator, vertex: bool) -> CMDP:
    if not vertex and rng.random() < 0.1:
        return cmdp
    shape = cmdp.S, cmdp.A
    rewards = rng.integers(0, 2, shape).astype(np.float64) if vertex else rng.random(shape)
    if np.ptp(rewards) == 0:  # as happens on bandits: a round with nothing to gain or lose
        rewards[0, 0] = 1.0 - rewards[0, 0]
    far = {"gamma": 0.99} if vertex and rng.random() < 0.5 else {}
    P = cmdp.rows[rng.permutation(cmdp.S * cmdp.A)].reshape(*cmdp.P.shape)
    return cmdp.replace(P=P, r=rewards, **far)


def _supports(rng: np.random.Generator, shape: tuple[int, int, int], support: Support) -> Any:
    """Which actions each of the policies holds, the global one first."""
    held = np.ones(shape, dtype=bool) if support == "full" else rng.random(shape) < 0.7
    common = rng.integers(0, shape[2], shape[1])
    held[:, np.arange(shape[1]), common] = True
    if support == "nested":
        held[0] = held.all(axis=0)
    return held


def _policies(rng: np.random.Generator, held: Any, sharpness: float, vertex: bool) -> Law:
    logits: Array = sharpness * rng.standard_normal(held.shape)
    if vertex:
        chosen = rng.integers(0, held.shape[2], held.shape[:2])
        logits = logits + 25 * rng.random() * np.eye(held.shape[2])[chosen]
    return Law.normalised(Measured(logits), held)


def _weight(rng: np.random.Generator, vertex: bool) -> float:
    return float(10.0 ** rng.uniform(*((-3.0, 2.0) if vertex else (-1.0, 1.0))))


def informed(cmdp: CMDP, log_pi: Any, log_b: Any, alpha: Any, beta: Any, weights: Any = None) -> Round:
    r"""A round whose clients all know :math:`Q^{\pi_k}`: log-policies ``(S, A)`` and ``(N, S, A)``, weights
    ``(N,)``, equal ones by default."""
    N = len(log_b)
    shares = Measured(np.ones(N)) / float(N) if weights is None else Measured(weights)
    q = evaluate(cmdp, log_pi, cmdp.r[None]).Q[0]
    Q = Measured.stack([q] * N)
    return Round(cmdp, Measured(alpha), Measured(beta), shares, log_pi, log_b, Q)


def stacked(sides: Iterable[tuple[Measured, Measured]]) -> tuple[Measured, Measured]:
    """Both sides of one statement for many rounds, in one row each; without any round, nothing to check."""
    pairs = list(sides)
    if not pairs:
        return Measured(np.zeros(0)), Measured(np.zeros(0))
    left, right = zip(*pairs, strict=True)
    return tuple(Measured.concatenate([x.reshape(-1) for x in side]) for side in (left, right))  # type: ignore[return-value]
