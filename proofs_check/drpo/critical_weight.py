r"""C.2: how large the behaviour's weight may be."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from proofs_check.drpo.first_order import apart, assured, reach, sign, signal
from proofs_check.drpo.laws import covariance
from proofs_check.drpo.step import FAMILIES, Round, Support, rounds, stacked
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity, upper
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured

Sides = tuple[Measured, Measured]


@dataclass(frozen=True)
class Tendency:
    r"""A round and :math:`\bar C = N + \alpha K`: ``truth`` is N, ``pull`` is K."""

    round: Round
    truth: Measured
    pull: Measured

    @staticmethod
    def of(x: Round) -> Tendency:
        return Tendency(x, signal(x, x.Q), signal(x, x.ell))

    @property
    def turn(self) -> Measured:
        r""":math:`|N/K|`: where N and K have different signs, the critical weight."""
        return self.truth.abs() / self.pull.abs()

    def U(self, alpha: Measured) -> Measured:
        r""":math:`Q_i + \alpha \ell_i` for another weight."""
        return self.round.Q + self.round.ell * alpha


class CriticalWeight(Theorem):
    r"""Pulling towards data that disagree with the truth helps nobody beyond a critical weight.

    **Setting.** As in Theorem C, with critics :math:`Q_i` that do not depend on the weights;

    .. math:: \bar C = N + \alpha K, \qquad
              N = E_{d^{\pi_k}}[\mathrm{Var}(Q^{\pi_k}) + \mathrm{Cov}(\bar e, Q^{\pi_k})], \qquad
              K = E_{d^{\pi_k}} \mathrm{Cov}(\bar\ell, Q^{\pi_k}) .

    **Statement.** For all large :math:`\beta` the round improves if :math:`N + \alpha K > 0` and makes things
    worse if :math:`N + \alpha K < 0`. So if :math:`K < 0 < N` it improves for :math:`\alpha` below

    .. math:: \alpha_{\mathrm{crit}} = \frac{N}{-K}

    and does harm above; if both are positive every :math:`\alpha` helps; if :math:`N < 0 < K` (the critics
    are worse than useless, the data are not) :math:`\alpha` must exceed :math:`-N/K`; if both are negative
    nothing helps.

    **Proof.** :math:`\bar C` is linear in :math:`\alpha`, and Theorem C: with :math:`\eta \le
    4(1-\gamma)|\bar C|/(R_U^2 R_Q)` the gain has the sign of :math:`\bar C` and is at least :math:`\eta|\bar
    C|/(2(1-\gamma))`.

    The claims take half and twice :math:`|N/K|`, where the sign is that of N and of K, and tilts of
    :math:`\pi_k`, which the steps are for :math:`\beta > 0`.

    **Source.** Theory notes, DRPO section 3.5, C.2.
    """

    id = "drpo.critical-weight"
    mark = "ours"
    source = "theory notes, DRPO, C.2"
    suite = (
        *(Case(source) for source in FAMILIES),
        Case("random-mdp:seed=1", support="nested", statewise=True, noise=2.0, seed=1),
    )
    small = {"draws": 4}
    certified = (Case("textbook:two-arm", draws=8), Case("textbook:three-state", draws=8, clients=2))

    @hypothesis("the support of the global policy lies in every client's")
    def covered(self, problem: FederatedCMDP, support: Support) -> bool:
        return support != "crossing"

    def setup(
        self,
        problem: FederatedCMDP,
        support: Support = "full",
        statewise: bool = False,
        noise: float = 1.0,
        clients: int = 3,
        draws: int = 64,
        seed: int = 0,
    ) -> list[Tendency]:
        given = {"clients": clients, "noise": noise, "support": support, "statewise": statewise}
        found = map(Tendency.of, apart(rounds(problem, draws, seed, **given)))
        return [t for t in found if sign(t.truth) and sign(t.pull)]

    @identity(r"(1-\gamma) \bar C/R_U = 0 \text{ at } \alpha = \alpha_{\mathrm{crit}}, \text{ where } NK < 0")
    def vanishing(self, x: list[Tendency]) -> Sides:
        return stacked(_agreement(t, t.turn) for t in _opposed(x))

    @upper(
        r"\frac{\eta|\bar C|}{2(1-\gamma)} \le \mathrm{sign}(N)\,[J(\pi_{k+1}) - J(\pi_k)]"
        r"\text{ for tilts with } \alpha = |N/K|/2, \eta = \min(\eta^\star, 1/\alpha)"
    )
    def below(self, x: list[Tendency]) -> Sides:
        return stacked(_assured(t, t.turn * 0.5, sign(t.truth)) for t in x)

    @upper(
        r"\frac{\eta|\bar C|}{2(1-\gamma)} \le \mathrm{sign}(K)\,[J(\pi_{k+1}) - J(\pi_k)]"
        r"\text{ for tilts with } \alpha = 2|N/K|, \eta = \min(\eta^\star, 1/\alpha)"
    )
    def above(self, x: list[Tendency]) -> Sides:
        return stacked(_assured(t, t.turn * 2.0, sign(t.pull)) for t in x)

    @control("the critical weight is not to be doubled", Case("random-mdp:seed=1"))
    def doubled(self, x: list[Tendency]) -> Sides:
        return stacked(_assured(t, t.turn * 2.0, sign(t.truth)) for t in _opposed(x))

    @control("the critics' error moves the critical weight", Case("random-mdp:seed=1"), kind=Kind.IDENTITY)
    def error_left_out(self, x: list[Tendency]) -> Sides:
        alphas = ((t, signal(t.round, t.round.Q - t.round.errors).abs() / t.pull.abs()) for t in _opposed(x))
        return stacked(_agreement(t, alpha) for t, alpha in alphas)

    @control(
        "the states count as often as they are visited, not all alike",
        Case("random-mdp:seed=1"),
        kind=Kind.IDENTITY,
    )
    def states_alike(self, x: list[Tendency]) -> Sides:
        alphas = ((t, _alike(t, t.round.Q).abs() / _alike(t, t.round.ell).abs()) for t in _opposed(x))
        return stacked(_agreement(t, alpha) for t, alpha in alphas)


def _opposed(x: list[Tendency]) -> Iterator[Tendency]:
    return (t for t in x if sign(t.truth) != sign(t.pull))


def _agreement(t: Tendency, alpha: Measured) -> Sides:
    """Of clients and truth, in units of the reward; and 0."""
    U = t.U(alpha)
    return signal(t.round, U) * t.round.discount / reach(t.round, U), Measured(0.0)


def _assured(t: Tendency, alpha: Measured, expected: float) -> Sides:
    return assured(t.round, t.U(alpha), alpha, expected)


def _alike(t: Tendency, U: Measured) -> Measured:
    x = t.round
    return x.over_clients(covariance(x.old, U, x.q)).mean()
