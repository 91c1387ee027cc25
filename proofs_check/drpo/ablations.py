r"""T16: what is left when a regulariser is left out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from proofs_check.drpo.ablation_study import ablation_study
from proofs_check.drpo.first_order import apart, gains, sign, signal
from proofs_check.drpo.laws import Law, change, jeffreys, span, tempered, total_variation
from proofs_check.drpo.step import FAMILIES, Round, Support, rounds, stacked
from tabular_fedrl.claims import (
    Case,
    Kind,
    StudyData,
    Theorem,
    control,
    identity,
    study,
    tight,
    upper,
)
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured

Sides = tuple[Measured, Measured]
MEANS = ("arithmetic", "geometric")


class Ablations(Theorem):
    r"""The server's regulariser alone improves with exact critics; the data's alone forgets where it was.

    **Setting.** One round, with :math:`\alpha = 0` (server only), with :math:`\beta = 0` (data only), or with
    both weights positive.

    **Statement.**

    * *Server only.* The data do not enter. With exact critics the round strictly improves for **every**
      :math:`\beta` (where it moves at all), under both means:
      :math:`J(\pi_{k+1}) - J(\pi_k) = \frac{\beta}{1-\gamma} E_{d^{\pi_{k+1}}} \mathrm{Jeff}(\pi_{k+1},
      \pi_k)`. With critics in error it need not. :math:`\mathrm{TV}(\pi_i, \pi_k) \le
      \mathrm{span}\,Q_i/(4\beta)`: large weights mean short steps. The step may leave the data's support.
    * *Data only.* The global policy does not enter but through the critics, and
      :math:`\mathrm{TV}(\pi_i, b_i) \le \mathrm{span}\,Q_i/(4\alpha)`: large weights mean cloning, not short
      steps. Exact critics do not make the round improve. Over b itself it does, with b's own values
      (one-step improvement).
    * *Both.* :math:`\mathrm{TV}(\pi_i, m_i) \le \mathrm{span}\,Q_i/(4(\alpha+\beta))`, :math:`m_i \propto
      b_i^w \pi_k^{1-w}`. The round improves when Theorem C says so; it need not otherwise (CE1), even with
      exact critics.

    So of the theorems: (I1), (I2), A.1, A.2 and C need the support of :math:`\pi_k` within the data's if
    :math:`\alpha > 0`, and nothing of it if :math:`\alpha = 0`; at :math:`\beta = 0` they need the data's
    within that of :math:`\pi_k` besides, as the second form of the step does; C's limit needs :math:`\beta
    \to \infty`; the drift falls like :math:`\tau^{-2}` only as :math:`\beta` grows with :math:`\alpha` fixed
    (D3); the improvement of :math:`J_\alpha` in every round (E1) needs neither weight by itself, its linear
    rate (E2) needs :math:`\alpha > 0`. The study counts.

    **Proof.** (I2) with :math:`\alpha\ell + e = 0`; the clients' steps agree, and so do their means. The
    closed form has no b for :math:`\alpha = 0` and no :math:`\pi_k` for :math:`\beta = 0`; the step is the
    tilt of :math:`m_i` by :math:`Q_i/\tau`.

    **Source.** Theory notes, DRPO section 6, T16.
    """

    id = "drpo.ablations"
    mark = "ours"
    source = "theory notes, DRPO, T16"
    suite = (*(Case(source) for source in FAMILIES), Case("random-mdp:seed=1", support="crossing", seed=1))
    small = {"draws": 4}
    certified = (Case("textbook:three-state", draws=4), Case("textbook:two-arm", draws=4))

    def setup(
        self,
        problem: FederatedCMDP,
        support: Support = "full",
        noise: float = 0.3,
        clients: int = 3,
        draws: int = 40,
        seed: int = 0,
    ) -> list[Round]:
        return apart(rounds(problem, draws, seed, clients=clients, noise=noise, support=support))

    @identity(
        r"(1-\gamma)[J(\pi_{k+1}) - J(\pi_k)] = \beta E_{d^{\pi_{k+1}}} \mathrm{Jeff}(\pi_{k+1}, \pi_k)"
        r"\text{ for } \alpha = 0, \beta \approx R_Q \text{, exact critics}"
    )
    def server_only(self, x: list[Round]) -> Sides:
        return stacked(_server_gain(_server(_exact(r), r.R_Q.centre), mean) for r in x for mean in MEANS)

    @upper(
        r"0 < J(\pi_{k+1}) - J(\pi_k) \text{ for } \alpha = 0, \beta = R_Q, 100 R_Q \text{, exact critics}"
    )
    def server_improves(self, x: list[Round]) -> Sides:
        return stacked(_strict(_exact(r), times) for r in x for times in (1.0, 100.0))

    @tight(r"\mathrm{TV}(\pi_i, \pi_k) \le \mathrm{span}\,Q_i/(4\beta) \text{ for } \alpha = 0")
    def server_shortens(self, x: list[Round]) -> tuple[Measured, Measured, float]:
        return *stacked(_moved(r, r.old, r.beta) for r in map(_server, x)), 1.0

    @tight(r"\mathrm{TV}(\pi_i, b_i) \le \mathrm{span}\,Q_i/(4\alpha) \text{ for } \beta = 0")
    def data_clone(self, x: list[Round]) -> tuple[Measured, Measured, float]:
        return *stacked(_moved(r, r.behaviour, r.alpha) for r in map(_data, x)), 1.0

    @tight(r"\mathrm{TV}(\pi_i, m_i) \le \mathrm{span}\,Q_i/(4(\alpha+\beta))")
    def both_shorten(self, x: list[Round]) -> tuple[Measured, Measured, float]:
        return *stacked(_moved(r, tempered(r.behaviour, r.old, r.w), r.tau) for r in x), 1.0

    @identity(r"\pi_i \text{ does not depend on the data for } \alpha = 0")
    def data_irrelevant(self, x: list[Round]) -> Sides:
        return stacked((r.clients.p, _other_data(r).clients.p) for r in map(_server, x))

    @identity(r"\pi_i \text{ does not depend on } \pi_k \text{ for } \beta = 0 \text{, the critics given}")
    def server_irrelevant(self, x: list[Round]) -> Sides:
        return stacked((r.clients.p, _other_server(r).clients.p) for r in map(_data, x))

    @control("data only: exact critics may make it worse", Case("random-mdp:seed=1"))
    def data_only(self, x: list[Round]) -> Sides:
        return stacked((Measured(0.0), r.improvement(r.arithmetic)) for r in map(_data, map(_exact, x)))

    @control("both: exact critics may make it worse", Case("random-mdp:seed=1"))
    def both(self, x: list[Round]) -> Sides:
        return stacked((Measured(0.0), r.improvement(r.arithmetic)) for r in map(_exact, x))

    @control(
        "server only: with critics in error the round need not improve", Case("random-mdp:seed=1", noise=3.0)
    )
    def server_in_error(self, x: list[Round]) -> Sides:
        return stacked((Measured(0.0), r.improvement(r.arithmetic)) for r in map(_server, x))

    @control("data only: a large weight does not mean a short step", Case("random-mdp:seed=1"))
    def data_shorten(self, x: list[Round]) -> Sides:
        return stacked(_moved(r, r.old, r.alpha) for r in map(_data, x))

    @control("both: the data do enter", Case("random-mdp:seed=1"), kind=Kind.IDENTITY)
    def data_enter(self, x: list[Round]) -> Sides:
        return stacked((r.clients.p, _other_data(r).clients.p) for r in x)

    @study("ablations")
    def table(self) -> StudyData:
        """Which statements survive when a regulariser is left out: the share of random rounds in which each
        holds."""
        return ablation_study("random-mdp:nS=6,nA=3,seed=2", 60)


def _exact(x: Round) -> Round:
    """With exact critics, up to the rounding of floats."""
    return replace(x, Q=Measured.stack([x.q.centre] * x.N))


def _server(x: Round, beta: Measured | None = None) -> Round:
    return replace(x, alpha=Measured(0.0), beta=x.beta if beta is None else beta)


def _data(x: Round) -> Round:
    return replace(x, beta=Measured(0.0))


def _other_data(x: Round) -> Round:
    """The clients with each other's data."""
    return replace(x, log_b=x.log_b[::-1])


def _other_server(x: Round) -> Round:
    """Another global policy, the critics as they were."""
    return replace(x, log_pi=x.log_b[0])


def _server_gain(x: Round, mean: str) -> Sides:
    law: Law = getattr(x, mean)
    slip = change(law, x.old, x.errors[0])
    return x.improvement(law) * x.discount, x.expected(law, jeffreys(law, x.old) * x.beta - slip)


def _strict(x: Round, times: float) -> Sides:
    if not sign(signal(x, x.Q)):  # Q may be constant wherever the policy goes
        return Measured(np.zeros(0)), Measured(np.zeros(0))
    return Measured(np.zeros(2)), gains(x, x.Q, (x.R_Q * times).reciprocal())


def _moved(x: Round, start: Law, weight: Measured) -> Sides:
    """Distances of the steps from laws of which they are tilts, and the bound on them."""
    return total_variation(x.clients, start), span(x.Q, x.clients.support) / (weight * 4.0)
