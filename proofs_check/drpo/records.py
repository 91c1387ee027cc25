r"""One client's records against the truth, enclosed: what the pages on finite data are about.

A client holds n(s,a) transitions of every state-action pair and what they show: mean rewards
:math:`\hat r`, frequencies of successors :math:`\hat P`, its behaviour :math:`b(a|s) = n(s,a)/n(s)`. In the
empirical model pairs that were never seen lead to an absorbing state without reward, which truth and model
share (last among the states); where a state was never seen the client abstains, :math:`b = \pi_k`. Rewards
lie in [0, R] (the problem's are shifted to begin at 0), R their span, :math:`\bar V = R/(1-\gamma)`.

**The event.** For all pairs with :math:`n \ge 1`

.. math:: |\hat r - r| \le R\sqrt{\tfrac{\log(4SA/\delta)}{2n}}, \qquad
          \|\hat P - P\|_1 \le \sqrt{\tfrac{2(\log(2SA/\delta) + S\log 2)}{n}} .

On it :math:`|(\hat r - r) + \gamma(\hat P - P)V_M^\pi| \le \kappa = \min\{c_\delta n^{-1/2}, \bar V\}`
for all policies, because a law that moves by x in 1-norm moves the mean of :math:`V \in [0, \bar V]` by at
most :math:`x\bar V/2`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from proofs_check.drpo.laws import Law
from tabular_fedrl import balls
from tabular_fedrl.cmdp import CMDP, exact
from tabular_fedrl.evaluation import Values, average, evaluate, visitation
from tabular_fedrl.measured import Array, Measured, dot
from tabular_fedrl.offline.counts import Counts, behaviour, empirical, extended


@dataclass(frozen=True)
class Radii:
    r"""What one observation is worth: radii of the mean reward and of the transition law at n = 1, and with
    them :math:`c_\delta`; ``fixed`` is the constant for a policy chosen before the data."""

    reward: Measured
    law: Measured
    signal: Measured
    fixed: Measured


def radii(cmdp: CMDP, states: int, delta: float) -> Radii:
    """The constants of the event for a problem of so many states with rewards from 0 to their largest."""
    pairs = float(states * cmdp.A)
    discount = Measured(1.0) - cmdp.gamma
    R = Measured(cmdp.r.max())
    union = (Measured(2.0 * pairs) / delta).log()
    reward = R * ((Measured(4.0 * pairs) / delta).log() * 0.5).sqrt()
    law = ((union + Measured(2.0).log() * float(states)) * 2.0).sqrt()
    signal = reward + law * R * cmdp.gamma * 0.5 / discount
    return Radii(reward, law, signal, R / discount * (union * 0.5).sqrt())


@dataclass(frozen=True)
class Records:
    r"""``truth`` and ``model``: the problem and what the records make of it, both with the additional state;
    ``n (S, A)``: counts; log-policies ``log_b``, ``log_pi`` ``(S, A)``; weights ``alpha``, ``beta``; the
    event's :math:`\delta` (already divided by the length of a trajectory, where there is one)."""

    truth: CMDP
    model: CMDP
    n: Any
    log_b: Any
    log_pi: Any
    alpha: Measured
    beta: Measured
    delta: float

    @cached_property
    def discount(self) -> Measured:
        """``1 - gamma``"""
        return Measured(1.0) - self.truth.gamma

    @cached_property
    def largest(self) -> Measured:
        r""":math:`\bar V = R/(1-\gamma)`"""
        return Measured(self.truth.r.max()) / self.discount

    @cached_property
    def radii(self) -> Radii:
        return radii(self.truth, self.truth.S - 1, self.delta)

    @cached_property
    def roots(self) -> Measured:
        r""":math:`n^{-1/2}`, ``(S, A)``; 1 where nothing was seen."""
        return (Measured(1.0) / np.maximum(self.n, 1).astype(np.float64)).sqrt()

    @cached_property
    def kappa(self) -> Measured:
        r""":math:`\kappa`, ``(S, A)``"""
        unseen = (self.n == 0).astype(np.float64)
        seen = (self.roots * self.radii.signal).minimum(self.largest)
        bounds = seen * (1.0 - unseen) + self.largest * unseen
        return bounds * self.real.reshape(-1, 1)

    @cached_property
    def real(self) -> Array:
        """1 for the states of the environment, 0 for the model's additional one, about which all is known."""
        return (np.arange(self.truth.S) < self.truth.S - 1).astype(np.float64)

    @cached_property
    def visited(self) -> Any:
        """States with records, ``(S,)``."""
        return self.n.sum(axis=1) > 0

    @cached_property
    def moved(self) -> tuple[Measured, Measured]:
        r""":math:`\hat r - r` ``(S, A)`` and :math:`\hat P - P` ``(S, A, S)``"""
        return Measured(self.model.r) - self.truth.r, Measured(self.model.P) - self.truth.P

    @cached_property
    def within(self) -> bool:
        """Whether the event holds for these records."""
        rewards, laws = self.moved
        off = Measured.stack([rewards.abs(), laws.abs().sum(-1)])
        room = Measured.stack([self.roots * self.radii.reward, self.roots * self.radii.law]) - off
        return bool((room.value >= room.error)[:, self.n > 0].all())

    @cached_property
    def total(self) -> Array:
        """n(s), ``(S,)``; 1 where it is 0."""
        return np.maximum(self.n.sum(axis=1), 1).astype(np.float64)

    @cached_property
    def rarest(self) -> Array:
        """The smallest positive count of every state, ``(S,)``; 1 where there is none."""
        counts = np.where(self.n > 0, self.n, self.n.max() + 1).min(axis=1)
        return np.where(self.visited, counts, 1).astype(np.float64)

    @cached_property
    def blind(self) -> Array:
        """1 for the states of the environment without records, ``(S,)``."""
        return self.real * ~self.visited

    @cached_property
    def behaviour(self) -> Candidate:
        return Candidate(self, self.log_b)

    @cached_property
    def old(self) -> Candidate:
        r""":math:`\pi_k`"""
        return Candidate(self, self.log_pi)

    def signal(self, cmdp: CMDP, log_pi: Any, f: Measured) -> Measured:
        r""":math:`(I - \gamma P^\pi)^{-1} f` ``(S, A)``: the action values of an enclosed signal."""
        far = float(f.error.max()) / float(self.discount.lower)
        return evaluate(cmdp, log_pi, f.plain[None]).Q[0].rounded_by(far)


@dataclass(frozen=True)
class Candidate:
    """A policy, as an algorithm holds it, in the truth and in the model of some records."""

    records: Records
    log: Any

    @cached_property
    def law(self) -> Law:
        return Law.of(self.log)

    @cached_property
    def true(self) -> Values:
        return evaluate(self.records.truth, self.log, self.records.truth.r[None])

    @cached_property
    def seen(self) -> Values:
        """Its values in the model."""
        return evaluate(self.records.model, self.log, self.records.model.r[None])

    @property
    def J(self) -> Measured:
        return self.true.at_rho[0]

    @property
    def J_model(self) -> Measured:
        return self.seen.at_rho[0]

    @cached_property
    def visits(self) -> Measured:
        r""":math:`\hat d^\pi`, the visitation in the model, ``(S,)``."""
        return visitation(self.records.model, self.log)

    def total(self, f: Any) -> Measured:
        r""":math:`\frac1{1-\gamma} E_{s\sim\hat d^\pi} f(s)`, ``f (S,)``."""
        return average(self.visits, f) / self.records.discount

    @cached_property
    def z(self) -> Measured:
        r""":math:`z_\pi = (\hat r - r) + \gamma (\hat P - P) V_M^\pi`, ``(S, A)``."""
        return self.deviation(self.true)

    def deviation(self, values: Values) -> Measured:
        r""":math:`(\hat r - r) + \gamma (\hat P - P) V`"""
        rewards, laws = self.records.moved
        V = values.V[0]
        # In floats rows stand for the exactly normalised ones.
        blur = sum(cmdp.floats().row_error for cmdp in (self.records.truth, self.records.model))
        means = dot(laws, V).rounded_by(blur * float(V.abs().upper.max()))
        return rewards + means * self.records.truth.gamma

    @cached_property
    def cost(self) -> Measured:
        r""":math:`\Gamma(\pi) = \frac1{1-\gamma} E_{\hat d^\pi} \langle\pi, \kappa\rangle`"""
        return self.total(self.law.mean(self.records.kappa))


def observed(
    truth: CMDP,
    n: Any,
    P: Array,
    r: Array,
    log_pi: Any,
    alpha: Any,
    beta: Any,
    delta: float = 0.1,
    smoothing: float = 0.0,
) -> Records:
    """The records of a client that saw every pair ``n (S, A)`` times, the frequencies ``P (S, A, S)`` and the
    means ``r (S, A)``; rewards of ``truth`` begin at 0. In a certified run ``truth`` is read exactly."""
    if balls.working():
        truth = exact(truth).cmdp
    counts = tabulated(n, P, r)
    return Records(
        truth=beside(truth),
        model=empirical(counts, truth.gamma, truth.rho),
        n=np.concatenate([n, np.zeros((1, truth.A), dtype=n.dtype)]),
        log_b=extended(behaviour([counts], log_pi, smoothing)[0]),
        log_pi=extended(log_pi),
        alpha=Measured(alpha),
        beta=Measured(beta),
        delta=delta,
    )


def grounded(cmdp: CMDP) -> CMDP:
    """The problem with the reward shifted to begin at 0, which shifts J and no difference of values."""
    return cmdp.replace(r=(Measured(cmdp.r) - cmdp.r.min()).plain)


def shown(cmdp: CMDP, n: Any, rng: np.random.Generator) -> tuple[Array, Array]:
    """Frequencies of successors and mean rewards of ``n (..., S, A)`` independent draws; rewards are 0 or R,
    as noisy as a mean allows. Nothing is shown where n = 0."""
    R = max(float(cmdp.r.max()), 1e-300)
    some = np.maximum(n, 1)
    successors = rng.multinomial(n, cmdp.P) / some[..., None]
    return successors, rng.binomial(n, np.minimum(cmdp.r / R, 1.0)) * R / some


def beside(cmdp: CMDP) -> CMDP:
    """The problem with the empirical model's additional state: absorbing, without reward, never reached."""
    S, A = cmdp.S, cmdp.A
    P, r, rho = (Measured(x) for x in (cmdp.P, cmdp.r, cmdp.rho))
    apart = Measured(np.zeros((S, A, 1)))
    there = Measured(np.broadcast_to(np.eye(S + 1)[-1], (1, A, S + 1)))
    kernel = Measured.concatenate([Measured.concatenate([P, apart], 2), there])
    rewards = Measured.concatenate([r, Measured(np.zeros((1, A)))])
    start = Measured.concatenate([rho, Measured(np.zeros(1))])
    none = np.zeros((0, S + 1, A))
    build = CMDP.exact if cmdp.is_exact else CMDP
    return build(kernel.plain, rewards.plain, none, np.zeros(0), start.plain, cmdp.gamma)


def tabulated(n: Any, P: Array, r: Array) -> Counts:
    """The library's counts of one client that saw the frequencies ``P (S, A, S)`` and the means ``r``."""
    S, A = n.shape
    successors = sp.csr_array((n[..., None] * P).reshape(S * A, S))
    none = np.zeros((0, S, A))
    return Counts(n, successors, np.where(n > 0, r, 0.0), none, np.zeros(S, dtype=bool), np.zeros(0))
