"""S7: the rank of an average, and its best approximation."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from proofs_check.fed_se.clients import Clients, clients, midpoints
from proofs_check.fed_se.learner import (
    GARNETS,
    Sides,
    last_probabilities,
    stacked,
)
from proofs_check.fed_se.spectrum import squared_norm, squared_singular_values
from tabular_fedrl.algorithms.fed_se_adapters import product
from tabular_fedrl.algorithms.fed_se_server import truncated, weighted
from tabular_fedrl.arithmetic import array
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity, tight
from tabular_fedrl.episodic import FederatedEpisodicMDP
from tabular_fedrl.measured import Measured


class Rank(Theorem):
    r"""The mean of K adapters of rank r has rank up to Kr, and what a server of rank r loses has a floor.

    **Setting.** As in ``fed-se.aggregation``, rows of every :math:`A_k` centred;
    :math:`M = \sum_k w_k B_k A_k` with singular values :math:`\sigma_1 \ge \sigma_2 \ge \cdots`.

    **Statement.** :math:`\mathrm{rank}\, M \le \min(Kr,\, n,\, |A| - 1)`. Of all X of rank at most r, the
    truncated singular value decomposition :math:`M_r = (M V_r) V_r^T` is nearest to M in the Frobenius norm,
    at :math:`\|M - M_r\|_F^2 = \sum_{i>r} \sigma_i^2`; so for the average of the factors

    .. math:: \|\bar B \bar A - M\|_F \ge \Big(\sum_{i>r} \sigma_i^2\Big)^{1/2} .

    **Proof.** A sum of K matrices of rank r whose rows are orthogonal to the constant vector. Eckart, Young,
    Mirsky.

    The singular values are enclosed (Weyl, Ostrowski) from float eigenvectors: their radii, about
    :math:`10^{-15} \sigma_1^2`, do not shrink with the precision of the balls, and equalities are decided up
    to the stated tolerance.

    **Source.** Theory notes, self-evolution, S7.
    """

    id = "fed-se.rank"
    mark = "ours"
    source = "theory notes, self-evolution, S7"
    problem_type = FederatedEpisodicMDP
    suite = (
        Case(GARNETS),
        Case("success-garnet:S=5,A=6,H=4,clients=2,heterogeneity=1,seed=1", rank=2),
        Case("opposed-grid:side=3,clients=2,opposed=1,H=4", rank=1),
        Case("frozen-lakes:clients=5,H=12", rank=2),
    )
    certified = (
        Case("success-garnet:S=3,A=4,H=2,goals=1,clients=2,heterogeneity=1,seed=2", draws=2, rank=1),
        Case("success-garnet:S=3,A=4,H=2,goals=1,clients=2,heterogeneity=1,seed=2", draws=2, rank=2),
    )
    small = {"draws": 2, "rank": 1}

    @hypothesis("the rewards of the last step are probabilities of success (earlier ones are left out)")
    def probabilities(self, problem: FederatedEpisodicMDP) -> bool:
        return last_probabilities(problem)

    def setup(
        self, problem: FederatedEpisodicMDP, rank: int = 1, draws: int = 8, seed: int = 0
    ) -> list[Clients]:
        """The clients' adapters after a round of Fed-SE, and random ones."""
        return clients(problem, rank, draws, seed)

    @identity(r"\sigma_i^2 = 0 \text{ for } i > \min(Kr, n, |A| - 1)")
    def rank_bound(self, x: list[Clients]) -> Sides:
        return stacked(_vanishing(_beyond(c, _most(c))) for c in x)

    @identity(r"\|M - M_r\|_F^2 = \sum_{i>r} \sigma_i^2")
    def best(self, x: list[Clients]) -> Sides:
        return stacked((squared_norm(_mean(c) - _cut(c)), _beyond(c, c.rank).sum()) for c in x)

    @tight(r"\sum_{i>r} \sigma_i^2 \le \|M - X\|_F^2 \text{ for X of rank r near } M_r \text{ and elsewhere}")
    def floor(self, x: list[Clients]) -> Sides:
        return stacked((_beyond(c, c.rank).sum(), squared_norm(_mean(c) - X)) for c in x for X in _others(c))

    @tight(r"\sum_{i>r} \sigma_i^2 \le \|\bar B \bar A - M\|_F^2")
    def factors(self, x: list[Clients]) -> Sides:
        return stacked((_beyond(c, c.rank).sum(), squared_norm(_mean(c) - _of_factors(c))) for c in x)

    @control("the mean of adapters of rank r has a larger rank", Case(GARNETS), kind=Kind.IDENTITY)
    def same_rank(self, x: list[Clients]) -> Sides:
        return stacked(_vanishing(_beyond(c, c.rank)) for c in x)

    @control("the largest singular values count for nothing in the floor", Case(GARNETS))
    def all_values(self, x: list[Clients]) -> Sides:
        return stacked((_beyond(c, 0).sum(), squared_norm(_mean(c) - _cut(c))) for c in x)

    @control("the mean of the factors is not the nearest adapter", Case(GARNETS), kind=Kind.IDENTITY)
    def factors_nearest(self, x: list[Clients]) -> Sides:
        return stacked((squared_norm(_mean(c) - _of_factors(c)), _beyond(c, c.rank).sum()) for c in x)


def _mean(c: Clients) -> Measured:
    """M"""
    M: Measured = weighted(product(c.B, c.A), c.w)
    return M


def _most(c: Clients) -> int:
    K, n, r = c.B.shape
    return min(K * r, n, c.A.shape[-1] - 1)


def _beyond(c: Clients, count: int) -> Measured:
    r""":math:`\sigma_i^2` for i > ``count``"""
    return squared_singular_values(_mean(c))[count:]


def _vanishing(values: Measured) -> Sides:
    return values, Measured(np.zeros(values.shape))


def _cut(c: Clients) -> Measured:
    r""":math:`M_r`"""
    B, A = midpoints(lambda M: truncated(M, c.rank), _mean(c))
    return product(Measured.of(B), Measured.of(A))


def _of_factors(c: Clients) -> Measured:
    return product(weighted(c.B, c.w), weighted(c.A, c.w))


def _others(c: Clients) -> Iterator[Measured]:
    """Matrices of rank r: around the nearest one, and that of each client."""
    rng = np.random.default_rng(0)
    B, A = (Measured.of(part) for part in midpoints(lambda M: truncated(M, c.rank), _mean(c)))
    for size in (1e-3, 0.1, 1.0):
        noise = [Measured(array(size * rng.standard_normal(part.shape))) for part in (B, A)]
        yield product(B + noise[0], A + noise[1])
    yield from (product(c.B[k], c.A[k]) for k in range(len(c.B)))
