r"""Theorem A.3: how warm a step may be, and why the coldest is not the best for a round."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from proofs_check.drpo.laws import Law, covariance, highest, span, tempered
from proofs_check.drpo.step import FAMILIES, Round, Support, informed, rounds, stacked
from tabular_fedrl.claims import Case, Theorem, control, tight, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.instances.textbook import deterministic
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import uniform

GRID = np.logspace(-3, 3, 9)
"""Temperatures, in units of the span of the advantage."""


@dataclass(frozen=True)
class Heating:
    """Steps with the exact critic from the anchors of a round, at rising temperatures."""

    round: Round

    @cached_property
    def anchors(self) -> Law:
        r""":math:`m_i \propto b_i^w \pi_k^{1-w}`, ``(N, S, A)``"""
        return tempered(self.round.behaviour, self.round.old, self.round.w)

    @cached_property
    def A(self) -> Measured:
        r""":math:`A^{\pi_k}`, once for every client, ``(N, S, A)``; in floats as computed: what is said of it
        holds of any function of the actions."""
        return Measured(self.round.advantage.plain) + np.zeros(self.anchors.support.shape)

    @cached_property
    def size(self) -> float:
        """The span of the advantage, or 1: a unit for temperatures, which are ours to choose."""
        return float(np.ptp(self.A.value)) or 1.0

    @cached_property
    def temperatures(self) -> Array:
        return GRID * self.size

    @cached_property
    def laws(self) -> Law:
        """The steps, ``(temperatures, N, S, A)``"""
        return self.at(1.0 / Measured(self.temperatures).reshape(-1, 1, 1, 1))

    @cached_property
    def gains(self) -> Measured:
        r""":math:`G(\tau) = \langle p_\tau, A^{\pi_k}\rangle`, ``(temperatures, N, S)``"""
        return self.laws.mean(self.A)

    def at(self, x: Any) -> Law:
        r""":math:`p_{1/x} \propto m\,e^{x A}` with ``x`` broadcast against ``(N, S, A)``."""
        logits = self.anchors.log + self.A * x
        return Law.normalised(logits, self.anchors.support & np.ones(logits.shape, dtype=bool))

    @cached_property
    def best(self) -> Any:
        """The action of the largest advantage, as a mask ``(N, S, A)``: what is said of it holds of any."""
        value = np.where(self.anchors.support, self.A.value, -np.inf)
        return (np.arange(value.shape[-1]) == value.argmax(axis=-1)[..., None]).astype(np.float64)


class Temperature(Theorem):
    r"""With the exact critic, a step gains the more at its state the less it is regularised.

    **Setting.** A state, an anchor :math:`m \propto b^w \pi_k^{1-w}` for a fixed ratio w of the weights, the
    exact advantage :math:`A = A^{\pi_k}`, :math:`p_\tau \propto m\,e^{A/\tau}` and its gain
    :math:`G(\tau) = \langle p_\tau, A\rangle`.

    **Statement.** G does not increase with the temperature :math:`\tau = \alpha + \beta`; in :math:`x =
    1/\tau` its derivative is :math:`\mathrm{Var}_{p_\tau}(A)`, up to :math:`|G(1/(x+h)) - G(1/x) - h
    \mathrm{Var}| \le h^2\,\mathrm{span}(A)^3/8`; it falls from the largest advantage to that of the anchor,

    .. math:: A_+ - \tau \log\tfrac{1}{m(a_+)} \le G(\tau) \le A_+, \qquad
              \langle m, A\rangle \le G(\tau) \le \langle m, A\rangle + \tfrac{\mathrm{span}(A)^2}{4\tau},

    :math:`A_+ = \max_{\mathrm{supp}\,m} A = A(a_+)`. So there is a critical temperature
    :math:`\tau^\star \in [0, \infty]` below which the state gains and above which it does not, and with
    :math:`A_+ > 0` and :math:`\mu^- = \sum_a m(a) \max(-A(a), 0)`

    .. math:: \tau < A_+ \Big/ \log\frac{\mu^-}{m(a_+) A_+} \;\Rightarrow\; G(\tau) > 0 ,

    at any temperature if :math:`\mu^- \le m(a_+) A_+`.

    **Proof.** :math:`\frac{d}{dx} E_{p} A = \mathrm{Var}_p(A)`, and the second order is part (d) of the
    tilt lemma. The ends: :math:`G \ge G - \tau KL(p_\tau\|m) = \tau \log E_m e^{A/\tau} \ge A_+ + \tau \log
    m(a_+)`, and part (c) of the tilt lemma. The last: :math:`G > 0 \iff \sum_a m A e^{A/\tau} > 0`, where the
    positive part is at least :math:`m(a_+) A_+ e^{A_+/\tau}` and the negative one at most :math:`\mu^-`.

    The last claim is checked at 0.9 times the critical value for :math:`\sum_a m A e^{A/\tau}` divided by
    :math:`m(a_+) A_+ e^{A_+/\tau}`.

    **Source.** Theory notes, DRPO section 3.3; the rates at the ends are added here.
    """

    id = "drpo.temperature"
    mark = "ours"
    source = "theory notes, DRPO, Theorem A.3"
    suite = (
        *(Case(source) for source in FAMILIES),
        Case("random-mdp:seed=1", support="crossing", seed=1),
    )
    small = {"draws": 4}
    certified = (Case("textbook:three-state", draws=2),)

    def setup(
        self, problem: FederatedCMDP, support: Support = "full", draws: int = 32, seed: int = 0
    ) -> list[Heating]:
        return [Heating(x) for x in rounds(problem, draws, seed, clients=2, support=support)]

    @tight(r"G(\tau') \le G(\tau),\ \tau' > \tau")
    def monotone(self, x: list[Heating]) -> tuple[Measured, Measured]:
        return stacked((h.gains[1:], h.gains[:-1]) for h in x)

    @tight(r"|G(1/(x+h)) - G(1/x) - h\,\mathrm{Var}_{p_\tau}(A)| \le h^2\,\mathrm{span}(A)^3/8")
    def derivative(self, x: list[Heating]) -> tuple[Measured, Measured]:
        return stacked(_derivative(h, 0.1 / h.size) for h in x)

    @tight(r"A_+ - \tau \log(1/m(a_+)) \le G(\tau) \le A_+")
    def cold_end(self, x: list[Heating]) -> tuple[Measured, Measured]:
        return stacked(_cold(h) for h in x)

    @tight(r"\langle m, A\rangle \le G(\tau) \le \langle m, A\rangle + \mathrm{span}(A)^2/(4\tau)")
    def hot_end(self, x: list[Heating]) -> tuple[Measured, Measured]:
        return stacked(_hot(h) for h in x)

    @upper(r"0 < G(\tau) \text{ for } \tau < A_+/\log\frac{\mu^-}{m(a_+)A_+}")
    def explicit(self, x: list[Heating]) -> tuple[float, Measured]:
        return 0.0, Measured.concatenate([_below_critical(h) for h in x])

    @control("hot steps gain nothing where the anchor is worse than the policy", Case("random-mdp:seed=1"))
    def always(self, x: list[Heating]) -> tuple[float, Measured]:
        return 0.0, Measured.concatenate([h.gains[-1].reshape(-1) for h in x])

    @control("the gain is not largest at the anchor: monotone the other way", Case("random-mdp:seed=1"))
    def rising(self, x: list[Heating]) -> tuple[Measured, Measured]:
        return stacked((h.gains[:-1], h.gains[1:]) for h in x)


def _derivative(h: Heating, step: float) -> tuple[Measured, Measured]:
    inverse = 1.0 / Measured(h.temperatures).reshape(-1, 1, 1, 1)
    moved = h.at(inverse + step).mean(h.A) - h.gains
    A = h.A + np.zeros(h.laws.support.shape)
    wide = span(h.A, h.anchors.support)
    # States where the actions differ: elsewhere both sides are next to nothing.
    told = wide.value > 1e-6 * h.size
    return (moved - covariance(h.laws, A, A) * step).abs()[:, told], wide[told] ** 3 * (
        step**2 / 8.0
    ) + np.zeros((len(GRID), told.sum()))


def _cold(h: Heating) -> tuple[Measured, Measured]:
    tau = Measured(h.temperatures).reshape(-1, 1, 1)
    low = (h.A * h.best).sum(-1) + (h.anchors.log * h.best).sum(-1) * tau
    return _between(low, h.gains, highest(h.A, h.anchors.support))


def _hot(h: Heating) -> tuple[Measured, Measured]:
    tau = Measured(h.temperatures).reshape(-1, 1, 1)
    limit = h.anchors.mean(h.A)
    return _between(limit, h.gains, limit + span(h.A, h.anchors.support) ** 2 / (tau * 4.0))


def _between(low: Measured, middle: Measured, high: Measured) -> tuple[Measured, Measured]:
    whole = np.zeros(middle.shape)
    return Measured.stack([low + whole, middle]), Measured.stack([middle, high + whole])


def _below_critical(h: Heating) -> Measured:
    r""":math:`\sum_a m A e^{A/\tau} / (m(a_+) A_+ e^{A_+/\tau})` below the critical temperature, where there
    is an advantage to speak of."""
    m, top = h.anchors, (h.A * h.best).sum(-1)
    weight = m.mean(h.best) * top
    ratio = m.mean((-h.A).positive()) / weight
    critical = top / ratio.log()
    always = ratio.upper <= 1
    with np.errstate(invalid="ignore"):
        tau = np.where(always, 1e3 * h.size, 0.9 * critical.value)
        known = (top.lower > 1e-6 * h.size) & (always | ((tau > 0) & (tau < critical.lower)))
    x = 1.0 / Measured(np.where(known, tau, 1.0))
    total = m.mean(h.A * ((h.A - top.reshape(*top.shape, 1)) * x.reshape(*x.shape, 1)).exp())
    return (total / weight)[known]


FORK = deterministic(
    successors=[[1, 2], [3, 3], [3, 3], [3, 3]],
    r=[[0.0, 0.0], [0.6, 0.6], [1.0, 0.0], [0.0, 0.0]],
    c=np.zeros((0, 4, 2)).tolist(),
    d=[],
    gamma=0.9,
    state_names=["start", "X", "Y", "end"],
    action_names=["first", "second"],
)
"""From the start to X, which pays 0.6 for anything, or to Y, which pays 1 or 0."""


class WholeRound(Theorem):
    r"""What is best for every state is not best for the round.

    **Statement.** From the start one goes to X, which pays 0.6, or to Y, which pays 1 for the first action
    and 0 for the second; :math:`\gamma = 0.9`, and :math:`\pi_k = b` is uniform. With the exact critic a
    round gains .101, .185, .149, .045 at :math:`\tau` = 1, .3, .1, .01 (to three digits): the gain of every
    state rises as the temperature falls (A.3), that of the round does not.

    **Proof.** At Y the step goes to the first action, which makes Y worth more than X; at the start it goes
    to X, which is worth more under :math:`\pi_k`. The colder the step, the more surely it goes where the new
    policy is not good: the new policy's visitation has moved.

    **Source.** Theory notes, DRPO section 3.3.
    """

    id = "drpo.whole-round"
    mark = "ours"
    source = "theory notes, DRPO, Theorem A.3"
    suite = (Case(FORK),)
    small = None
    certified = (Case(FORK),)

    def setup(self, problem: FederatedCMDP) -> Measured:
        return Measured.stack([_gain(problem, tau) for tau in (1.0, 0.3, 0.1, 0.01)])

    @upper(r"|J(\pi_{k+1}) - J(\pi_k) - (.101, .185, .149, .045)| \le 0.0005")
    def printed(self, x: Measured) -> tuple[Measured, float]:
        return (x - Measured([0.101, 0.185, 0.149, 0.045])).abs(), 0.0005

    @upper(r"\text{the gain falls from } \tau = .3 \text{ to } .1 \text{ to } .01")
    def cooling_hurts(self, x: Measured) -> tuple[Measured, Measured]:
        return x[2:], x[1:-1]

    @control("the round's gain is not monotone in the temperature", Case(FORK))
    def monotone(self, x: Measured) -> tuple[Measured, Measured]:
        return x[:-1], x[1:]


def _gain(problem: FederatedCMDP, tau: float) -> Measured:
    fair = uniform(problem.cmdp.S, problem.cmdp.A)
    x = informed(problem.cmdp, fair, fair[None], alpha=tau / 2, beta=tau / 2)
    return x.improvement(x.arithmetic)
