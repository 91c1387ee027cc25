r"""C1: what the clients' mean score gains in an update of the generator."""

from __future__ import annotations

from dataclasses import dataclass

from proofs_check.crosslm.updates import Update, updates
from proofs_check.drpo.laws import covariance
from tabular_fedrl.claims import Case, Kind, Rows, Table, Theorem, control, hypothesis, identity, tight
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Measured

Sides = tuple[Measured, Measured]

SOURCES = (
    "textbook:two-arm",
    "textbook:heterogeneous-bandit",
    "random-mdp:seed=1",
    "random-mdp:nS=6,nA=3,seed=2",
    "garnet:S=12,A=5,b=2,seed=2,m=3",
    "gym:FrozenLake-v1",
)
"""What the pages on updates vary: 2 to 5 items, 1 to 40 contexts, 1 to 4 clients."""

COIN = {"generator": [[0.5, 0.5]], "score": [[1.0, 0.0]]}
"""A fair coin, one side of which the clients like."""
FLAT = Case("textbook:two-arm", generator=[[0.25, 0.75]], score=[[0.5, 0.5]])
"""A constant score: no other attains what a positive span makes strict."""


def at_odds() -> FederatedCMDP:
    """Two clients who like different items: a context, three items."""
    c = [[[1.0, 0.0, 0.0]], [[0.0, 1.0, 0.5]]]
    return FederatedCMDP(CMDP([[[1.0]] * 3], [[0.0] * 3], c, [1.0, 1.0], [1.0], 0.0), [[0], [1]])


@dataclass(frozen=True)
class Gains:
    """An update, and the step at which its derivative is taken."""

    update: Update
    step: float

    @property
    def sharpness(self) -> Measured:
        r""":math:`\eta\,\mathrm{span}`"""
        return self.update.span * self.update.eta


class Gain(Theorem):
    r"""Both updates raise the clients' mean score, unless it is constant on what the generator makes.

    **Setting.** A generator G, the clients' mean score :math:`\bar s = \frac1K \sum_k s_k \in [0, 1]`,
    :math:`h = \max \bar s - \min \bar s` over the support of G, :math:`\eta > 0`. The *tilt* is
    :math:`G_\eta \propto G e^{\eta \bar s}`, the *filter* :math:`G' \propto G \bar s`, for which
    :math:`E_G \bar s > 0` is assumed (contexts without are left out).

    **Statement.**

    .. math:: \eta e^{-\eta h}\, \mathrm{Var}_G(\bar s) \le E_{G_\eta} \bar s - E_G \bar s
              \le \eta e^{\eta h}\, \mathrm{Var}_G(\bar s), \qquad
              E_{G'} \bar s - E_G \bar s = \frac{\mathrm{Var}_G(\bar s)}{E_G \bar s} ,

    so that either gain is at least 0, and 0 iff :math:`\bar s` is constant on the support of G. Further
    :math:`\frac{d}{d\eta} E_{G_\eta} \bar s = \mathrm{Var}_{G_\eta}(\bar s)`: for every step :math:`\delta`

    .. math:: \Big|\frac{E_{G_{\eta+\delta}} \bar s - E_{G_{\eta-\delta}} \bar s}{2\delta} -
              \mathrm{Var}_{G_\eta}(\bar s)\Big| \le \frac{\delta^2 h^4}{48} .

    It is the mean score that rises; that of a single client may fall.

    **Proof.** :math:`\log E_G e^{\eta\bar s}` generates the cumulants :math:`\kappa_j` of :math:`\bar s`
    under :math:`G_\eta`: its first two derivatives are :math:`E_{G_\eta} \bar s` and
    :math:`\mathrm{Var}_{G_\eta}(\bar s)`. Pointwise :math:`e^{-uh} G \le G_u \le e^{uh} G`, and a variance is
    the least :math:`E (\bar s - c)^2` over c, hence :math:`e^{-uh}\, \mathrm{Var}_G(\bar s) \le
    \mathrm{Var}_{G_u}(\bar s) \le e^{uh}\, \mathrm{Var}_G(\bar s)`; integrate over u from 0 to :math:`\eta`.
    For the filter
    :math:`E_{G'} \bar s = E_G \bar s^2/E_G \bar s`. The central difference errs by :math:`\delta^2/6` times
    the fourth cumulant :math:`\kappa_4 = \mu_4 - 3 \sigma^4` at some place. Since :math:`\mu_4 \ge \sigma^4`
    and :math:`\sigma^2 \le h^2/4` it is at least :math:`-2 \sigma^4 \ge -h^4/8`; since
    :math:`\mu_4 \le h^2 \sigma^2` it is at most :math:`h^2 \sigma^2 - 3 \sigma^4 \le h^4/12`.

    **Source.** Theory notes, CrossLM, C1.
    """

    id = "crosslm.gain"
    mark = "ours"
    source = "theory notes, CrossLM, C1"
    suite = (
        *(Case(source) for source in SOURCES),
        Case("random-mdp:seed=1", eta=0.01),
        Case("random-mdp:nS=6,nA=3,seed=2", eta=20.0, step=1.0),
        Case(at_odds(), eta=3.0, step=1e-4),
        Case("textbook:constant-reward"),
    )
    certified = (Case("textbook:two-arm", draws=4), Case("random-mdp:seed=1", draws=2, eta=0.1))
    small = {"draws": 4}
    space = {"eta": (1e-3, 10.0), "generator": Table.POLICY, "score": Table.SIGNAL}
    family = "bandit:A=2..4,m=0"
    effort = 400

    @hypothesis("the tilt and the step of the derivative are positive")
    def positive(self, problem: FederatedCMDP, eta: float, step: float) -> bool:
        return eta > 0 and step > 0

    def setup(
        self,
        problem: FederatedCMDP,
        eta: float = 1.0,
        step: float = 0.01,
        draws: int = 12,
        seed: int = 0,
        generator: Rows | None = None,
        score: Rows | None = None,
    ) -> Gains:
        if max(eta, step) > 100:
            raise InvalidProblem(f"eta = {eta!r}, step = {step!r}: expected numbers up to 100")
        return Gains(updates(problem, eta, draws, seed, generator, score), step)

    @tight(
        r"\eta e^{-\eta h}\,\mathrm{Var}_G(\bar s) \le E_{G_\eta}\bar s - E_G\bar s",
        constant=1.0,
        attained=FLAT,
    )
    def tilt_at_least(self, x: Gains) -> Sides:
        u = x.update
        return u.variance * u.eta * (-x.sharpness).exp(), u.gain(u.tilted)

    @tight(
        r"E_{G_\eta}\bar s - E_G\bar s \le \eta e^{\eta h}\,\mathrm{Var}_G(\bar s)",
        constant=1.0,
        attained=FLAT,
    )
    def tilt_at_most(self, x: Gains) -> tuple[Measured, Measured, float]:
        u = x.update
        return u.gain(u.tilted), u.variance * u.eta * x.sharpness.exp(), 1.0

    @identity(r"E_{G'}\bar s - E_G\bar s = \mathrm{Var}_G(\bar s)/E_G\bar s \text{ for the filter}")
    def filter_gain(self, x: Gains) -> Sides:
        u = x.update.heard
        return u.gain(u.filtered), u.variance / u.mean(u.G)

    @tight(
        r"\Big|\frac{E_{G_{\eta+\delta}}\bar s - E_{G_{\eta-\delta}}\bar s}{2\delta} - "
        r"\mathrm{Var}_{G_\eta}(\bar s)\Big| \le \delta^2 h^4/48",
        constant=1 / 48,
    )
    def derivative(self, x: Gains) -> Sides:
        return _slip(x), x.update.span**4 * (Measured(x.step) ** 2) / 48.0

    @control("a single client's score may fall", Case(at_odds(), eta=5.0, generator=[[0.1, 0.0, 0.9]]))
    def every_client(self, x: Gains) -> Sides:
        u = x.update
        return (u.G.p * u.scores).sum(-1), (u.tilted.p * u.scores).sum(-1)

    @control("the opposite tilt does not raise the score", Case("random-mdp:seed=1"))
    def downwards(self, x: Gains) -> Sides:
        u = x.update.at(-x.update.eta)
        return u.mean(u.G), u.mean(u.tilted)

    @control(
        "the filter's gain is the variance over the mean, not the variance",
        Case("random-mdp:seed=1"),
        kind=Kind.IDENTITY,
    )
    def filter_variance(self, x: Gains) -> Sides:
        u = x.update.heard
        return u.gain(u.filtered), u.variance

    @control(
        "the derivative is the variance where one has arrived, not where one began",
        Case("random-mdp:seed=1"),
        kind=Kind.IDENTITY,
    )
    def variance_at_the_start(self, x: Gains) -> Sides:
        return _slope(x), x.update.variance

    @control("1/48 cannot be 1/49: a fair coin and a small step", Case("textbook:two-arm", eta=1e-3, **COIN))
    def forty_ninth(self, x: Gains) -> Sides:
        return _slip(x), x.update.span**4 * (Measured(x.step) ** 2) / 49.0


def _slope(x: Gains) -> Measured:
    u = x.update
    up, down = (u.mean(u.at(eta).tilted) for eta in (u.eta + x.step, u.eta - x.step))
    return (up - down) / (Measured(x.step) * 2.0)


def _slip(x: Gains) -> Measured:
    u = x.update
    return (_slope(x) - covariance(u.tilted, u.score, u.score)).abs()
