r"""How often the event fails on which everything about finite data rests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from proofs_check.drpo.ensembles import Ensemble, exceeds, generative, walks
from proofs_check.drpo.optima import kl_optimum
from proofs_check.drpo.records import Radii, grounded
from proofs_check.drpo.step import draw
from tabular_fedrl.claims import Case, Kind, Theorem, confidence, control, hypothesis, identity, upper
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.measured import Array, Measured

SURE = 0.99
"""The probability with which the statements about frequencies hold."""

Law = Literal["generative", "trajectories"]


@dataclass(frozen=True)
class Clients:
    r"""Many datasets of every client, side by side: ``clients`` have one ensemble each, all with as many
    datasets, of ``size`` records per pair on average; the event's ``delta`` is shared among them."""

    clients: list[Ensemble]
    delta: float
    size: int

    @property
    def share(self) -> float:
        return self.delta / len(self.clients)

    def rate(self, failing: Callable[[Ensemble, Radii], Any], shared: bool = True) -> Measured:
        """The probability that it happens to some client, with confidence."""
        hits = [failing(x, x.radii(self.share, shared)) for x in self.clients]
        return confidence.binomial(np.any(hits, axis=0).sum(), len(hits[0]), SURE)

    @property
    def first(self) -> Ensemble:
        return self.clients[0]


def policies(x: Ensemble) -> list[Array]:
    """What somebody might look at: the global policy, the behaviour, and what the data suggest."""
    plus, greedy = (kl_optimum(x.P, x.r, x.truth.gamma, b, x.old, alpha, beta)[0]
                    for b, alpha, beta in ((x.behaviour, 0.1, 0.1), (x.old, 0.0, 1e-3)))  # fmt: skip
    return [x.old, x.behaviour, plus, greedy, flattered(x)]


def flattered(x: Ensemble) -> Array:
    """The policy that is good where the first pair's successors were seen too often, and bad elsewhere."""
    q = x.truth.r + x.truth.gamma * (x.truth.P @ x.V(x.old)[0])
    best, worst = (np.eye(x.truth.A)[f] for f in (q.argmax(axis=1), q.argmin(axis=1)))
    often = (x.P - x.truth.P)[:, 0, 0, :, None] > 0
    return np.where(often, best, worst)


def beyond(x: Ensemble, pi: Array, c: Measured) -> Any:
    r"""Whether :math:`|z_\pi| > c n^{-1/2}` for some pair, ``(B,)``."""
    return exceeds(x.signal_off(pi), float(c.value))


def mispriced(x: Ensemble, pi: Array, c: Measured) -> Any:
    r"""Whether :math:`|J(\pi,\hat M) - J(\pi,M)| > \Gamma(\pi)`, ``(B,)``."""
    return exceeds(np.abs(x.J_model(pi) - x.J(pi)), x.price(pi, float(c.value)))


def bias(x: Ensemble, k: int) -> Measured:
    """Of the frequency of every pair's likeliest successor, counted where the pair came up at most k times:
    its mean, with confidence, ``(S*A,)``."""
    likeliest = x.truth.P.argmax(axis=-1)[None, :, :, None]
    off = np.take_along_axis(x.P - x.truth.P, likeliest, axis=-1)[..., 0]
    samples = np.where((x.n > 0) & (x.n <= k), off, 0.0).reshape(len(x), -1)
    return confidence.bounded(samples, 2.0, SURE)


def ensemble(
    cmdp: CMDP, law: Law, size: int, datasets: int, b: Array, pi: Array, rng: np.random.Generator
) -> Ensemble:
    """Datasets of one client under the behaviour ``b (S, A)``."""
    total = size * cmdp.S * cmdp.A
    if law == "trajectories":
        return walks(cmdp, b, total, datasets, pi, rng)
    return generative(cmdp, b, total, datasets, pi, rng)


def _fork(ways: int = 40) -> CMDP:
    first, good, bad = 0, ways + 1, ways + 2
    P = np.zeros((ways + 3, 2, ways + 3))
    P[first, :, 1 : ways + 1] = 1.0 / ways
    P[1 : ways + 1, 0, good] = P[1 : ways + 1, 1, bad] = 1.0
    P[good, :, good] = P[bad, :, bad] = 1.0
    r = np.zeros((ways + 3, 2))
    r[good] = 1.0
    return CMDP(P, r, [], [], np.eye(ways + 3)[first], 0.9)


FORK = _fork()
"""Many ways, taken with equal chances, and on each the choice between a good end and a bad one."""

LEAVE = CMDP([[[0.5, 0.5]], [[0.0, 1.0]]], [[1.0], [0.0]], [], [], [1.0, 0.0], 0.9)
"""One stays or leaves for good, until the next start."""


class Event(Theorem):
    r"""Mean rewards and transition laws lie within their radii as often as promised.

    **Setting.** One client's records; rewards in [0, R] almost surely. *Assumption S*: given the list of its
    pairs (s,a), rewards and successors are independent draws. Trajectories do not meet it (the list says
    where they went): for them :math:`\delta/|D|` takes the place of :math:`\delta`, with :math:`|D|` the
    number of transitions. With N clients every one gets :math:`\delta/N`.

    **Statement.** With probability at least :math:`1-\delta`, for all pairs with :math:`n \ge 1`,

    .. math:: |\hat r - r| \le R\sqrt{\tfrac{\log(4SA/\delta)}{2n}}, \qquad
              \|\hat P - P\|_1 \le \sqrt{\tfrac{2(\log(2SA/\delta) + S\log 2)}{n}} ,

    and then :math:`|z_\pi| \le \kappa` and :math:`|J(\pi,\hat M) - J(\pi,M)| \le \Gamma(\pi)` for all
    policies at once. For one policy chosen before the data :math:`c_\delta` may be :math:`\bar V
    \sqrt{\log(2SA/\delta)/2}`, without the number of states (an event of its own).

    **Proof.** Hoeffding: each mean reward misses with probability at most :math:`\delta/(2SA)`. Weissman et
    al.: :math:`P(\|\hat P - P\|_1 \ge \epsilon) \le (2^S - 2) e^{-n\epsilon^2/2}`, again
    :math:`\delta/(2SA)`. For a fixed policy :math:`\hat r + \gamma\hat P V` is a mean of numbers in
    :math:`[0,\bar V]`. For a trajectory write down for every pair a tape of independent draws that is read
    when the pair comes up: the event for the first n entries of every tape, :math:`n \le |D|`.

    Failures are counted over ``datasets`` independent data sets; the probability is enclosed by Clopper and
    Pearson's exact interval, with probability 0.99 for each claim.

    **Source.** Theory notes, DRPO section 3.6; Weissman, Ordentlich, Seroussi, Verdu, Weinberger
    (2003).
    """

    id = "drpo.event"
    mark = "ours"
    source = "theory notes, DRPO, 3.6"
    suite = (
        Case("random-mdp:seed=1"),
        Case("random-mdp:nS=2,nA=2,seed=3", delta=0.01, size=3),
        Case("garnet:S=12,A=3,b=2,seed=2", size=300),
        Case("textbook:three-state", delta=0.5),
        Case("textbook:three-state", law="trajectories", size=10),
        Case("random-mdp:nS=6,nA=3,seed=2", law="trajectories", size=30, delta=0.5),
        Case("random-mdp:seed=1", clients=5),
        Case("random-mdp:seed=1", vertex=True),
        Case("random-mdp:nS=6,nA=3,seed=2", vertex=True, delta=0.5),
        Case("garnet:S=12,A=3,b=2,seed=2", vertex=True, size=300),
        Case("gym:FrozenLake-v1", vertex=True),
        Case("textbook:two-arm", delta=0.5, size=2),
        Case("gym:FrozenLake-v1", law="trajectories", vertex=True, size=5),
        Case("textbook:three-state", clients=3, law="trajectories", delta=0.5, vertex=True),
    )
    small = {"datasets": 1000, "delta": 0.5}  # at least as many as the statement is about

    @hypothesis("rewards and successors are independent, given the pairs (assumption S)", only=["unbiased"])
    def independent(self, problem: FederatedCMDP, law: Law) -> bool:
        return law == "generative"

    @hypothesis("delta between 0 and 1")
    def probability(self, problem: FederatedCMDP, delta: float) -> bool:
        return 0 < delta < 1

    def setup(
        self,
        problem: FederatedCMDP,
        delta: float = 0.1,
        law: Law = "generative",
        size: int = 20,
        clients: int = 1,
        vertex: bool = False,
        datasets: int = 2000,
        seed: int = 0,
    ) -> Clients:
        """``size``: records per state-action pair, on average; rewards are all or nothing. ``vertex``:
        another problem with rewards 0 and 1 and behaviours that are nearly deterministic (see
        :func:`proofs_check.drpo.step.draw`)."""
        rng = np.random.default_rng(seed)
        cmdp = grounded(draw(problem, 1, vertex=True, seed=seed).cmdp if vertex else problem.cmdp)
        sharpness = 0.05 if vertex else 1.0
        b = rng.dirichlet(np.full(cmdp.A, sharpness), (clients, cmdp.S))
        pi = 0.999 * rng.dirichlet(np.full(cmdp.A, sharpness), cmdp.S) + 0.001 / cmdp.A
        return Clients([ensemble(cmdp, law, size, datasets, x, pi, rng) for x in b], delta, size)

    @upper(r"P(\text{some mean reward or transition law lies outside its radius}) \le \delta",
           confidence=SURE)  # fmt: skip
    def event(self, x: Clients) -> tuple[Measured, float, float]:
        return x.rate(lambda data, limits: data.outside(limits)), x.delta, 1.0

    @upper(r"P(|z_\pi| > \kappa \text{ for some policy, chosen after the data or before}) \le \delta",
           confidence=SURE)  # fmt: skip
    def signals(self, x: Clients) -> tuple[Measured, float, float]:
        def some(data: Ensemble, limits: Radii) -> Any:
            return np.any([beyond(data, pi, limits.signal) for pi in policies(data)], axis=0)

        return x.rate(some), x.delta, 1.0

    @upper(r"P(|J(\pi,\hat M) - J(\pi,M)| > \Gamma(\pi) \text{ for some policy}) \le \delta",
           confidence=SURE)  # fmt: skip
    def values(self, x: Clients) -> tuple[Measured, float, float]:
        def some(data: Ensemble, limits: Radii) -> Any:
            return np.any([mispriced(data, pi, limits.signal) for pi in policies(data)], axis=0)

        return x.rate(some), x.delta, 1.0

    @upper(r"P(|z_{\pi_k}| > \bar V\sqrt{\log(2SA/\delta)/2n}) \le \delta \text{ for } \pi_k "
           r"\text{ chosen before the data}", confidence=SURE)  # fmt: skip
    def fixed_policy(self, x: Clients) -> tuple[Measured, float, float]:
        return x.rate(lambda data, limits: beyond(data, data.old, limits.fixed)), x.delta, 1.0

    @identity(
        r"E[(\hat P(s'|s,a) - P(s'|s,a))\,1\{1 \le n(s,a) \le k\}] = 0 \text{ for every k}",
        tolerance=0.25,
        confidence=SURE,
    )
    def unbiased(self, x: Clients) -> tuple[Measured, float]:
        return bias(x.first, x.size), 0.0

    @control("a quarter of the radii", Case("textbook:three-state"))
    def quarter(self, x: Clients) -> tuple[Measured, float]:
        return x.rate(lambda data, limits: data.outside(limits, 0.25)), x.delta

    @control(
        "delta for every pair, not for all of them together",
        Case("garnet:S=30,A=4,b=4,seed=1", delta=0.5, datasets=1000),
    )
    def no_union(self, x: Clients) -> tuple[Measured, float]:
        pairs = x.first.truth.r.size
        return x.rate(lambda data, _: data.outside(data.radii(x.delta * pairs))), x.delta

    @control("the constant for a fixed policy, for one that was chosen after the data", Case(FORK))
    def fixed_after_the_data(self, x: Clients) -> tuple[Measured, float]:
        return x.rate(lambda data, limits: beyond(data, flattered(data), limits.fixed)), x.delta

    @control(
        "trajectories: where a pair came up once or twice is no fair sample of where it leads",
        Case(LEAVE, law="trajectories", size=3),
        kind=Kind.IDENTITY,
        tolerance=0.25,
    )
    def dependent(self, x: Clients) -> tuple[Measured, float]:
        return bias(x.first, x.size), 0.0
