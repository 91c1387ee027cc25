r"""Gradients from inverted preferences: a wrong link misleads them, and not the methods of signs."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from proofs_check.rlhf.landscape import POSITIVE, Landscape, lottery, points, policies
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity, tight, upper
from tabular_fedrl.episodic import EpisodicMDP, extreme_returns, gradient, start_value
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.preferences import Inversion, comparison_of, link_of

ANGLES, RADII = 64, 16
"""Nodes of the rules on the circle and on the radius."""
WIDEST = 1.0
ALLOWED = 1e-10
"""Allowed for both rules on discs of radius up to ``WIDEST``, where doubling the nodes changes nothing beyond
1e-13; on much wider ones, where policies are nearly deterministic, they have too few."""

Known = Literal["linear", "logistic"]


@dataclass(frozen=True)
class Inverted:
    """Logits ``theta (n, H, S, A)``, and the estimates of a method that believes in a link."""

    at: Landscape
    inversion: Inversion

    @cached_property
    def estimates(self) -> Measured:
        r""":math:`E\hat\Delta` for every direction of signs, ``(n, 2**d)``"""
        x = self.at
        return self.inversion.expected(x.mdp, x.perturbed[:, :, 0], x.pi[:, None])

    @property
    def along(self) -> Measured:
        r""":math:`\langle\nabla V, E g\rangle` with :math:`g = \hat\Delta v/\mu`, ``(n,)``"""
        return (self.estimates * self.at.inner[:, :, 0]).mean(1) / self.at.mu

    @property
    def followed(self) -> Measured:
        r""":math:`\langle\nabla V, E[O v]\rangle`, ``(n,)``"""
        return (self.at.inner * self.at.vote).mean(1)[:, 0]

    @property
    def by_signs(self) -> Measured:
        r""":math:`E[\frac1\mu (V(\theta+\mu v) - V(\theta)) v]` over all signs, ``(n, d)``"""
        v = self.at.parts.reshape(-1, self.at.d)
        return (self.at.gain * v).mean(1) / self.at.mu

    def circle(self) -> tuple[Measured, Measured]:
        """With two logits: the estimator's mean over the unit circle, and the mean of the gradient over the
        disc of radius mu, both ``(n, 2)``."""
        x = self.at
        angles = 2 * np.pi * np.arange(ANGLES) / ANGLES
        v = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        nodes, weights = np.polynomial.legendre.leggauss(RADII)
        radii, mass = (nodes + 1) / 2, weights / 2 * (nodes + 1)
        gains = start_value(x.mdp, self._moved(v)) - x.value[:, None]
        mean = (gains[..., None] * v).mean(1) * (2 / x.mu)
        inside = (radii[:, None, None] * v).reshape(-1, 2)
        slopes = gradient(x.mdp, self._moved(inside)).reshape(len(x.theta), RADII, ANGLES, 2)
        disc = (slopes.mean(2) * mass[:, None]).sum(1)
        return mean.rounded_by(ALLOWED), disc.rounded_by(ALLOWED)

    def _moved(self, v: Array) -> Measured:
        x = self.at
        return policies(x.theta[:, None] + Measured(v.reshape(-1, *x.theta.shape[1:])) * x.mu)


class InvertedLinks(Theorem):
    r"""Inverting preferences needs the true link; signs do not.

    **Setting.** ZPG estimates :math:`V(\theta+\mu v) - V(\theta)` by :math:`\hat\Delta`, the frequency of the
    answers of P people, trimmed and inverted by the link that is believed, and steps along
    :math:`\hat\Delta v`. All expectations are exact: over episodes, people and directions.

    **Statement.** (1) For v uniform on the unit circle of two logits,
    :math:`E[\frac{d}{\mu}(V(\theta+\mu v) - V(\theta)) v] = \nabla V_\mu(\theta)`, :math:`V_\mu` the mean
    of V over the disc of radius :math:`\mu`; and :math:`\|\nabla V_\mu - \nabla V\|_2 \le L \mu`.
    (2) For v a uniform vector of signs no factor d is needed:
    :math:`\|E[\frac1\mu (V(\theta+\mu v) - V(\theta)) v] - \nabla V(\theta)\|_2 \le \mu L d/2`.
    (3) A linear link that is believed and true gives :math:`E\hat\Delta = V(\theta+\mu v) - V(\theta)`.
    (4) Where people answer by a linear link of slope a, the expected vote has the sign of the difference of
    the values in every direction, :math:`(V(\theta+\mu v) - V(\theta))\, E[O|v] \ge 0`, and climbs,

    .. math:: \langle\nabla V, E[O v]\rangle \ge \tfrac14 \|\nabla V\|_2
              - 8 \Big( \mu L d + \frac{2}{a \mu \sqrt N} \Big) ,

    whoever believes what: the link does not enter the method.

    One control believes a logistic link: a rare large gain then counts for more than it is worth, and the
    expected step descends. Another shows that trimming alone biases the inverse of a logistic link that is
    true. (1) is measured, with rules of quadrature whose error is an estimate, and not certified.

    **Proof.** (1) Green's formula; smoothness. (2) :math:`E[\langle\nabla V, v\rangle v] = \nabla V`; by
    smoothness the rest is at most :math:`\mu L d/2` along every v, and :math:`E|\langle v, u\rangle| \le 1`
    for a unit vector u. (3) Linearity. (4) :math:`E[O|v]` is an increasing function of the deviation of an
    answer, a times the difference, and 0 at 0; ``rlhf.fedavg`` with :math:`\varepsilon^\star_D = 0`.

    **Source.** Zhang, Ying (2024), the estimator and its smoothing, recalled; the experiment is ours: theory
    notes, federated RLHF, section 7.
    """

    id = "rlhf.inverted-links"
    mark = "ours"
    source = "theory notes, federated RLHF, section 7"
    problem_type = EpisodicMDP
    suite = (
        Case("episodic-bandit:A=2"),
        Case("episodic-bandit:A=2", mu=1.0, believed="logistic"),
        Case("episodic-bandit:A=3", people=4),
        Case("episodic-chain:H=2", batch=2),
        Case("episodic-garnet:S=2,A=2,H=2", believed="logistic", people=5),
        Case("episodic-bandit:A=2", mu=2.0**-10, questions=10**16),
        Case(lottery(7 / 32), believed="logistic", people=99, count=3),
    )
    certified = (
        Case("episodic-bandit:A=3", count=1, people=3),
        Case("episodic-chain:H=1", count=1, mu=2.0**-10, questions=10**16),
    )
    small = None  # all directions are enumerated: for fixed small instances

    @hypothesis(POSITIVE)
    def positive(self, problem: EpisodicMDP, mu: float) -> bool:
        return mu > 0

    @hypothesis(f"two logits, mu up to {WIDEST:g} for the quadrature, floats", only=["smoothing", "smoothed"])
    def planar(self, problem: EpisodicMDP, mu: float) -> bool:
        return problem.H * problem.S * problem.A == 2 and mu <= WIDEST and not problem.is_exact

    @hypothesis("people answer by a linear link", only=["unbiased", "votes_agree", "votes_climb"])
    def linear_people(self, problem: EpisodicMDP, link: str) -> bool:
        return link == "linear"

    @hypothesis("the true link is believed", only=["unbiased"])
    def true_link(self, problem: EpisodicMDP, link: str, believed: str) -> bool:
        return believed == link

    def setup(
        self,
        problem: EpisodicMDP,
        mu: float = 2.0**-6,
        link: Known = "linear",
        believed: Known = "linear",
        people: int = 9,
        batch: int = 1,
        questions: int = 10**12,
        count: int = 4,
        spread: float = 0.5,
        seed: int = 0,
    ) -> Inverted:
        """People answer by ``link``, singly for the votes and counted for the frequencies; a logistic link
        has the same slope at 0 as the linear one, 1/(2R)."""
        low, high = extreme_returns(problem)
        R = float((high - low).upper) or 1.0
        scales = {"linear": 2 * R, "logistic": R / 2}
        vote = comparison_of(problem, link, scales[link], 1, "fair", batch, questions)
        counted = comparison_of(problem, link, scales[link], people, "fair", batch, 1)
        at = Landscape(problem, vote, points(problem, count, spread, seed), 1, mu)
        return Inverted(at, Inversion(counted, link_of(believed, scales[believed])))

    @identity(r"E[\frac{d}{\mu}(V(\theta+\mu v)-V(\theta))v] = \nabla V_\mu(\theta)", tolerance=1e-8)
    def smoothing(self, x: Inverted) -> tuple[Measured, Measured]:
        return x.circle()

    @upper(r"\|\nabla V_\mu - \nabla V\|_2 \le L\mu")
    def smoothed(self, x: Inverted) -> tuple[Measured, Measured]:
        gap = x.circle()[1] - x.at.gradient.reshape(len(x.at.theta), 2)
        return (gap * gap).sum(-1).sqrt(), x.at.L * x.at.mu + np.zeros(len(x.at.theta))

    @identity(r"E\hat\Delta = V(\theta+\mu v)-V(\theta)")
    def unbiased(self, x: Inverted) -> tuple[Measured, Measured]:
        return x.estimates, x.at.gain[:, :, 0]

    @upper(r"\|E[\frac1\mu(V(\theta+\mu v)-V(\theta))v] - \nabla V\|_2 \le \mu L d/2 \text{ for signs}")
    def signs(self, x: Inverted) -> tuple[Measured, Measured]:
        gap = x.by_signs - x.at.gradient.reshape(len(x.at.theta), x.at.d)
        bound = x.at.L * (x.at.mu * x.at.d / 2)
        return (gap * gap).sum(-1).sqrt(), bound + np.zeros(len(x.at.theta))

    @tight(r"0 \le (V(\theta+\mu v)-V(\theta))\,E[O|v]")
    def votes_agree(self, x: Inverted) -> tuple[Measured, Measured]:
        agreed = (x.at.gain * x.at.vote)[:, :, 0]
        return agreed * 0.0, agreed

    @upper(r"\frac14\|\nabla V\|_2 \le \langle\nabla V, E[Ov]\rangle + 8(\mu L d + \frac{2}{a\mu\sqrt N})")
    def votes_climb(self, x: Inverted) -> tuple[Measured, Measured, Measured]:
        errors = x.at.L * (x.at.mu * x.at.d) + x.at.threshold / x.at.mu
        norm = x.at.norm
        return norm / 4, x.followed + errors * 8, x.at.largest_norm / 4

    @control(
        "a logistic link believed where people answer linearly: the expected step descends",
        Case(lottery(7 / 32), believed="logistic", people=99, count=3),
    )
    def wrong_link(self, x: Inverted) -> tuple[Measured, Measured]:
        return Measured(np.zeros(len(x.at.theta))), x.along

    @control(
        "trimmed frequencies are biased even where the logistic link is believed and true",
        Case("episodic-bandit:A=2", mu=1.0, link="logistic", believed="logistic", people=5),
        kind=Kind.IDENTITY,
    )
    def trimmed(self, x: Inverted) -> tuple[Measured, Measured]:
        return x.estimates, x.at.gain[:, :, 0]

    @control(
        "a factor d too many for directions of signs, which are longer",
        Case("episodic-bandit:A=2"),
        kind=Kind.IDENTITY,
    )
    def factor_for_signs(self, x: Inverted) -> tuple[Measured, Measured]:
        return x.by_signs * float(x.at.d), x.at.gradient.reshape(len(x.at.theta), x.at.d)
