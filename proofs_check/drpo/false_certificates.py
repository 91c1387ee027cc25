r"""How often the guarantees of Theorems D and G are wrong, and how that compares with what they promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from proofs_check.drpo.batch_guarantees import Batch
from proofs_check.drpo.ensembles import ROUNDING, exceeds
from proofs_check.drpo.event import SURE, Law, ensemble
from proofs_check.drpo.records import grounded
from proofs_check.drpo.step import draw
from tabular_fedrl.claims import Case, StudyData, Theorem, confidence, control, hypothesis, study, upper
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Array, Measured

Server = Literal["random", "behaviour", "sure"]


@dataclass(frozen=True)
class Trial:
    """Datasets with their guarantees, at one delta."""

    batch: Batch
    delta: float

    @property
    def c(self) -> float:
        return float(self.batch.data.radii(self.delta).signal.value)

    def wrong(self, factor: float = 1.0) -> dict[str, Any]:
        """Where a guarantee promises more than there is, ``(B,)`` each; with a multiple of c."""
        return self._judged(factor, lambda promised, got: exceeds(promised, got))

    def false(self, factor: float = 1.0) -> dict[str, Any]:
        """Where an improvement is certified and there is none."""
        return self._judged(factor, lambda promised, got: (promised > 0) & (got <= ROUNDING))

    def certified(self) -> dict[str, float]:
        """How often every guarantee is positive."""
        return {name: float((g > 0).mean()) for name, g in self.batch.guarantee(self.c).items()}

    def _judged(self, factor: float, judge: Any) -> dict[str, Any]:
        got = self.batch.improvement
        return {name: judge(g, got[name]) for name, g in self.batch.guarantee(factor * self.c).items()}


def frequency(hits: Any) -> Measured:
    """The probability of what happened in some of the datasets, one row for each kind ``(..., B)``."""
    return confidence.binomial(np.sum(hits, axis=-1), np.shape(hits)[-1], SURE)


ARMS = CMDP(np.ones((1, 4, 1)), [[0.0, 0.3, 0.6, 1.0]], [], [], [1.0], 0.0)
"""Four arms, from bad to good."""

EQUAL_ARMS = CMDP(
    P=np.eye(2)[[[0] * 10, [1] * 10]],
    r=[[0.5] * 10, [0.0] + [1.0] * 9],
    c=[],
    d=[],
    rho=[1.0, 0.0],
    gamma=0.0,
)
"""Ten arms that pay the same (and a state that nobody visits, which says how far rewards reach)."""

TITLE = "ten equal arms, the server sure of one (left); random-mdp:seed=1 (right)"

MISLED: dict[str, Any] = {"server": "sure", "alpha": 1e-9, "beta": 3e-3, "size": 1000}
"""Parameters found by search, with which guarantees on the equal arms are wrong most easily: the server is
sure of one arm, of which much is known, and the step goes to that of the others which looks best."""


class FalseCertificates(Theorem):
    r"""Guarantees computed from the data are wrong no more often than they say.

    **Setting.** Datasets of one client, drawn independently: by a generative simulator (assumption S), or as
    trajectories with :math:`\delta/|D|` in place of :math:`\delta`; the server's policy :math:`\pi_k` is
    fixed. Every dataset has its own model, behaviour and optima :math:`\pi^+` (Theorem D and Theorem G).

    **Statement.** With probability at least :math:`1-\delta` all guarantees hold together: D1, D2, D2 in
    counts, both forms of G, and the plain certificates. In particular the frequency of *false certificates*,
    datasets whose guarantee is positive although :math:`\pi^+` is no better, is at most :math:`\delta`.

    **Proof.** On the event of ``drpo.event`` all of them hold (``drpo.guarantees``, ``drpo.cql-guarantees``).

    Frequencies are over ``datasets`` data sets, enclosed by Clopper and Pearson's intervals with probability
    0.99 for each claim. What is decided by less than :math:`10^{-9}` counts as wrong.

    **Source.** Theory notes, DRPO sections 3.7 and 3.10, T9.
    """

    id = "drpo.false-certificates"
    mark = "ours"
    source = "theory notes, DRPO, T9"
    suite = (
        Case("random-mdp:seed=1"),
        Case("random-mdp:nS=6,nA=3,seed=2", delta=0.5, size=300),
        Case("random-mdp:seed=1", size=10**8),
        Case("garnet:S=12,A=3,b=2,seed=2", size=10**7, server="behaviour"),
        Case("textbook:three-state", size=10**6, beta=0.3),
        Case(ARMS, size=10**4, beta=0.2, server="behaviour"),
        Case(ARMS, size=10**4, alpha=0.05, beta=0.2, strength=0.5),
        Case("random-mdp:nS=6,nA=3,seed=2", law="trajectories", size=50, delta=0.5),
        Case(ARMS, law="trajectories", size=2500, alpha=0.05, beta=0.1),
        Case("random-mdp:seed=1", vertex=True),
        Case("random-mdp:nS=6,nA=3,seed=2", vertex=True, delta=0.5, size=10000),
        Case("gym:FrozenLake-v1", vertex=True, alpha=10.0, beta=0.01),
        Case("textbook:two-arm", vertex=True, size=10000, alpha=1e-3, beta=1e-3),
        Case("textbook:three-state", law="trajectories", vertex=True, size=50, delta=0.5),
        Case(EQUAL_ARMS, **MISLED),
        Case(EQUAL_ARMS, **MISLED, delta=0.01),
    )
    small = {"datasets": 1000, "delta": 0.5}

    @hypothesis("positive weights")
    def regularised(self, problem: FederatedCMDP, alpha: float, beta: float, strength: float) -> bool:
        return min(alpha, beta, strength) > 0

    @hypothesis("delta between 0 and 1")
    def probability(self, problem: FederatedCMDP, delta: float) -> bool:
        return 0 < delta < 1

    def setup(
        self,
        problem: FederatedCMDP,
        delta: float = 0.1,
        law: Law = "generative",
        size: int = 100,
        alpha: float = 0.1,
        beta: float = 0.1,
        strength: float = 1.0,
        server: Server = "random",
        vertex: bool = False,
        datasets: int = 2000,
        seed: int = 0,
    ) -> Trial:
        r"""``size``: records per state-action pair, on average; ``strength``: the CQL weight in units of the
        threshold for half of what a state gets on average; ``server``: its policy, ``random``; the client's
        true ``behaviour``; or ``sure`` of the first action, which the behaviour mostly takes; ``vertex``: as
        for ``drpo.event``."""
        rng = np.random.default_rng(seed)
        cmdp = grounded(draw(problem, 1, vertex=True, seed=seed).cmdp if vertex else problem.cmdp)
        b, pi = _policies(cmdp, server, 0.05 if vertex else 1.0, rng)
        data = ensemble(cmdp, law, size, datasets, b, pi, rng)
        lam = strength * float(data.radii(delta).signal.value) / np.sqrt(2 * size)
        return Trial(Batch(data, alpha, beta, max(lam, 1e-6)), delta)

    @upper(r"P(\text{a guarantee is wrong}) \le \delta \text{ for each of them}", confidence=SURE)
    def each(self, x: Trial) -> tuple[Measured, float, float]:
        return frequency(list(x.wrong().values())), x.delta, 1.0

    @upper(r"P(\text{some guarantee is wrong}) \le \delta", confidence=SURE)
    def together(self, x: Trial) -> tuple[Measured, float, float]:
        return frequency(np.any(list(x.wrong().values()), axis=0)), x.delta, 1.0

    @upper(r"P(\text{an improvement is certified and there is none}) \le \delta", confidence=SURE)
    def false(self, x: Trial) -> tuple[Measured, float, float]:
        return frequency(np.any(list(x.false().values()), axis=0)), x.delta, 1.0

    @study("false_certificates")
    def rates(self) -> StudyData:
        """Rates on the equal arms; and what it takes to certify anything on a random MDP."""
        misled = self.setup(FederatedCMDP(EQUAL_ARMS), datasets=20000, **MISLED)
        data = _rates(misled, np.array([0.01, 0.02, 0.05, 0.1, 0.2, 0.5]))
        problem, records = load("random-mdp:seed=1"), 10 ** np.arange(3.5, 8.6, 0.25)
        shares = [self.setup(problem, size=int(n), datasets=500).certified() for n in records]
        shown = {
            "plain 1": r"plain, over $\pi_k$", "plain 2": "plain, over b",
            "D1": r"D1, over $\pi_k$", "D2": "D2, over b", "G1": r"G, over $\pi_k$", "G2": "G, over b",
        }  # fmt: skip
        certified = np.array([[share[name] for share in shares] for name in shown])
        arrays = {**data.arrays, "records": records, "certified": certified}
        names = {"certificates": np.array(list(shown.values())), "name": np.array(TITLE)}
        return StudyData({**arrays, **names}, data.summary)

    @control(
        "delta forgotten: a quarter of c_delta, D1",
        Case(EQUAL_ARMS, **MISLED),
    )
    def quarter(self, x: Trial) -> tuple[Measured, float]:
        return frequency(x.wrong(0.25)["D1"]), x.delta

    @control(
        "half of c_delta, the plain certificate",
        Case(EQUAL_ARMS, **MISLED),
    )
    def half(self, x: Trial) -> tuple[Measured, float]:
        return frequency(x.false(0.5)["plain 1"]), x.delta

    @control(
        "what the model says, without any sampling term",
        Case(EQUAL_ARMS, **MISLED),
    )
    def believed(self, x: Trial) -> tuple[Measured, float]:
        return frequency(x.false(0.0)["D1"]), x.delta


def _rates(x: Trial, deltas: Array) -> StudyData:
    """How often guarantees are wrong, for several c and delta, and the event's own rate."""
    kinds: dict[str, Any] = {
        "outside the event": lambda t: t.batch.data.outside(t.batch.data.radii(t.delta)),
        r"some guarantee, with $c_\delta$": lambda t: np.any(list(t.wrong().values()), axis=0),
        r"with $c_\delta/2$": lambda t: np.any(list(t.wrong(0.5).values()), axis=0),
        r"with $c_\delta/4$": lambda t: np.any(list(t.wrong(0.25).values()), axis=0),
        "with no sampling term": lambda t: np.any(list(t.wrong(0.0).values()), axis=0),
    }
    hits = np.array([[judge(Trial(x.batch, d)).sum() for d in deltas] for judge in kinds.values()])
    ends = confidence.binomial(hits, len(x.batch.data), SURE)
    arrays = {"delta": deltas, "rate": hits / len(x.batch.data), "low": ends.lower, "high": ends.upper}
    summary = {
        f"{name}, delta = {d:g}": f"{r:.4g} in [{a:.4g}, {b:.4g}]"
        for name, *rows in zip(kinds, arrays["rate"], ends.lower, ends.upper)
        for d, r, a, b in zip(deltas, *rows)
        if d == 0.1
    }
    return StudyData({**arrays, "names": np.array(list(kinds))}, summary)


def _policies(cmdp: CMDP, server: Server, sharpness: float, rng: np.random.Generator) -> tuple[Array, Array]:
    """A behaviour and a global policy; the latter takes every action now and then."""
    if server == "sure":
        others, rare = np.full((cmdp.S, cmdp.A), 1e-9), np.full((cmdp.S, cmdp.A), 1.0)
        others[:, 0] = 1 - 1e-9 * (cmdp.A - 1)
        rare[:, 0] = 100.0
        return rare / rare.sum(axis=1, keepdims=True), others
    b, pi = rng.dirichlet(np.full(cmdp.A, sharpness), (2, cmdp.S))
    return b, 0.999 * (b if server == "behaviour" else pi) + 0.001 / cmdp.A
