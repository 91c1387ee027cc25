r"""Lemma 2 of Par-S2ZPO: the sign of a difference of values aligns a random direction with the gradient."""

from __future__ import annotations

from collections.abc import Iterator

from proofs_check.rlhf.landscape import POSITIVE, Landscape, points, sign
from tabular_fedrl.claims import Case, Theorem, chain, control, hypothesis, upper
from tabular_fedrl.episodic import EpisodicMDP
from tabular_fedrl.measured import Measured
from tabular_fedrl.preferences import comparison_of


class Alignment(Theorem):
    r"""The sign of a difference of values aligns a random direction with the gradient (Lemma 2).

    **Setting.** :math:`V(\theta)` of a softmax policy is L-smooth; :math:`v_k = v \circ e_{I_k}` is a uniform
    sign vector on the block :math:`I_k`, :math:`\theta' = \theta + \mu v_k` with :math:`\mu > 0`.

    **Statement.** For every block,

    .. math:: E\langle \nabla V(\theta), \mathrm{sign}[V(\theta') - V(\theta)]\, v_k\rangle \ge
              \tfrac{1}{\sqrt 3} \|\nabla V(\theta) \circ e_{I_k}\|_2 - \mu L |I_k| .

    Checked at ``count`` random logits with the expectation over all :math:`2^{|I_k|}` directions, and with
    L = R/2, R the largest difference of two returns.

    **Proof.** By smoothness :math:`|V(\theta') - V(\theta) - \mu\langle\nabla V, v_k\rangle| \le
    \mu^2 L |I_k|/2`. Where the sign is not that of :math:`\langle\nabla V, v_k\rangle`, the latter is at most
    :math:`\mu L |I_k|/2` in size, and it counts twice. Khintchine's inequality for the rest; its best
    constant :math:`1/\sqrt 2` would do as well.

    **Source.** Wang, Zhang, Ying (2026), lemma 2.
    """

    id = "rlhf.alignment"
    mark = "paper"
    source = "Wang, Zhang, Ying 2026, lemma 2"
    problem_type = EpisodicMDP
    suite = (
        Case("episodic-bandit:A=2"),
        Case("episodic-bandit:A=4", agents=2, mu=0.25),
        Case("episodic-chain:H=2", agents=2),
        Case("episodic-chain:H=3", agents=4, mu=0.5),
        Case("episodic-tree:H=2", agents=3),
        Case("episodic-garnet:S=2,A=2,H=3", agents=2, mu=1.0),
        Case("episodic-garnet:S=3,A=2,H=3,b=3", agents=6),
        Case("episodic-garnet:S=3,A=3,H=2", agents=9, mu=0.5),
    )
    certified = (Case("episodic-bandit:A=2", count=2), Case("episodic-chain:H=2", agents=2, count=1))
    small = {"count": 2, "agents": None}

    @hypothesis(POSITIVE)
    def positive(self, problem: EpisodicMDP, mu: float) -> bool:
        return mu > 0

    def setup(
        self,
        problem: EpisodicMDP,
        agents: int | None = 1,
        mu: float = 0.125,
        count: int = 6,
        spread: float = 1.0,
        seed: int = 0,
    ) -> Landscape:
        """``agents`` None: a block for each state at each step."""
        K = problem.H * problem.S if agents is None else agents
        comparison = comparison_of(problem, "linear", None, 1, "fair", 1, 1)
        return Landscape(problem, comparison, points(problem, count, spread, seed), K, mu)

    @upper(
        r"\frac{1}{\sqrt 3}\|\nabla V \circ e_{I_k}\|_2 - \mu L |I_k| \le"
        r" E\langle\nabla V, \mathrm{sign}[V(\theta')-V(\theta)]\,v_k\rangle"
    )
    def aligned(self, x: Landscape) -> tuple[Measured, Measured]:
        return _khintchine(x, 3.0) - _loss(x), _alignment(x)

    @chain("aligned")
    def proof(self, x: Landscape) -> Iterator[tuple[str, Measured]]:
        yield "the left side", _khintchine(x, 3.0) - _loss(x)
        yield "the best constant of Khintchine's inequality is larger", _khintchine(x, 2.0) - _loss(x)
        yield "Khintchine's inequality", x.inner.abs().mean(1) - _loss(x)
        yield "where the sign is wrong, the inner product is small, and it counts twice", _alignment(x)

    @control(
        "the constant cannot be 1: two arms attain the best",
        Case("episodic-bandit:A=2", mu=2.0**-20),
    )
    def constant_one(self, x: Landscape) -> tuple[Measured, Measured]:
        return _khintchine(x, 1.0) - _loss(x), _alignment(x)

    @control(
        "a large perturbation can mislead: the term of smoothness is needed",
        Case("episodic-garnet:S=3,A=2,H=2,seed=1", agents=3, mu=64.0, count=40),
    )
    def without_smoothness(self, x: Landscape) -> tuple[Measured, Measured]:
        return _khintchine(x, 3.0), _alignment(x)


def _khintchine(x: Landscape, square: float) -> Measured:
    return x.block_norms / Measured(square).sqrt()


def _loss(x: Landscape) -> Measured:
    return x.L * (x.mu * x.b)


def _alignment(x: Landscape) -> Measured:
    return (x.inner * sign(x.gain)).mean(1)
