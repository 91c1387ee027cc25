"""S6: an adapter can be written in many ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from proofs_check.fed_se.clients import Clients, clients, midpoints
from proofs_check.fed_se.learner import (
    GARNETS,
    Sides,
    last_probabilities,
    stacked,
)
from tabular_fedrl.algorithms.fed_se_adapters import centred, product
from tabular_fedrl.algorithms.fed_se_server import truncated, weighted
from tabular_fedrl.arithmetic import array, exp, logsumexp
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity
from tabular_fedrl.episodic import FederatedEpisodicMDP
from tabular_fedrl.measured import Measured


@dataclass(frozen=True)
class Rewritten:
    """Clients, the same adapters written in another way by each, and in one other way by all; ``shift``: a
    constant for each row, ``(n, 1)``."""

    plain: Clients
    each: Clients
    all: Clients
    shift: Measured


class Gauge(Theorem):
    r"""Policies and averaged products do not depend on how adapters are written; averaged factors do.

    **Setting.** As in ``fed-se.aggregation``; :math:`G_k (r, r)` invertible.

    **Statement.** :math:`(B_k G_k, G_k^{-1} A_k)` is the same policy as :math:`(B_k, A_k)`, and
    :math:`\sum_k w_k B_k A_k` is the same for both. :math:`\bar B \bar A` is the same if all clients share
    one G, and in general not otherwise. A number added to a row of logits changes no policy: rows of A may be
    centred, and so may the mean product; its approximation of rank r is not the same before and after.

    **Proof.** :math:`B_k G_k G_k^{-1} A_k = B_k A_k`; :math:`\bar B G G^{-1} \bar A = \bar B \bar A`; the
    softmax of a row ignores constants.

    **Source.** Theory notes, self-evolution, S6.
    """

    id = "fed-se.gauge"
    mark = "ours"
    source = "theory notes, self-evolution, S6"
    problem_type = FederatedEpisodicMDP
    suite = (
        Case(GARNETS),
        Case("opposed-grid:side=3,clients=3,opposed=1,H=4", rank=1),
        Case("frozen-lakes:clients=5,H=12"),
    )
    certified = (Case("success-garnet:S=3,A=4,H=2,goals=1,clients=2,heterogeneity=1,seed=2", draws=2),)
    small = {"draws": 2, "rank": 1}

    @hypothesis("the rewards of the last step are probabilities of success (earlier ones are left out)")
    def probabilities(self, problem: FederatedEpisodicMDP) -> bool:
        return last_probabilities(problem)

    def setup(
        self, problem: FederatedEpisodicMDP, rank: int = 2, draws: int = 8, seed: int = 0
    ) -> list[Rewritten]:
        """Adapters after a round of Fed-SE and random ones, with random triangular :math:`G_k`."""
        rng = np.random.default_rng(seed + 1)
        return [_rewritten(rng, c) for c in clients(problem, rank, draws, seed)]

    @identity(r"\mathrm{softmax}(Z_0 + B_k G_k G_k^{-1} A_k) = \mathrm{softmax}(Z_0 + B_k A_k)")
    def policy(self, x: list[Rewritten]) -> Sides:
        return stacked((_policy(y.each), _policy(y.plain)) for y in x)

    @identity(r"\sum_k w_k B_k G_k G_k^{-1} A_k = \sum_k w_k B_k A_k")
    def products(self, x: list[Rewritten]) -> Sides:
        return stacked((_mean(y.each), _mean(y.plain)) for y in x)

    @identity(r"\sum_k w_k B_k G \cdot \sum_k w_k G^{-1} A_k = \bar B \bar A")
    def common(self, x: list[Rewritten]) -> Sides:
        return stacked((_of_factors(y.all), _of_factors(y.plain)) for y in x)

    @identity(r"\mathrm{softmax}(Z_0 + M + c\,1^T) = \mathrm{softmax}(Z_0 + M)")
    def constants(self, x: list[Rewritten]) -> Sides:
        logits = ((y.plain.base + _mean(y.plain), y.shift) for y in x)
        return stacked((_softmax(Z + shift), _softmax(Z)) for Z, shift in logits)

    @identity(
        r"\mathrm{softmax}(Z_0 + B_k \tilde A_k) = \mathrm{softmax}(Z_0 + B_k A_k), \tilde A \text{ centred}"
    )
    def centred_rows(self, x: list[Rewritten]) -> Sides:
        shifted = [Clients(y.plain.base, y.plain.B, y.plain.A + 1.5, y.plain.w) for y in x]
        again = [Clients(c.base, c.B, centred(c.A), c.w) for c in shifted]
        return stacked((_policy(a), _policy(b)) for a, b in zip(again, shifted))

    @control(
        "the mean of the factors depends on how each client writes them", Case(GARNETS), kind=Kind.IDENTITY
    )
    def factors(self, x: list[Rewritten]) -> Sides:
        return stacked((_of_factors(y.each), _of_factors(y.plain)) for y in x)

    @control("what is cut to rank r must be centred first", Case(GARNETS), kind=Kind.IDENTITY)
    def cut_before_centring(self, x: list[Rewritten]) -> Sides:
        means = ((y, _mean(y.plain)) for y in x)
        return stacked((_cut(y, M + y.shift), _cut(y, M)) for y, M in means)


def _rewritten(rng: np.random.Generator, c: Clients) -> Rewritten:
    pairs = [_gauge(rng, c.rank) for _ in range(len(c.B))]
    each = [Measured.stack(parts) for parts in zip(*pairs)]
    all_ = [Measured.stack([part] * len(c.B)) for part in pairs[0]]
    shift = Measured(array(rng.standard_normal((c.B.shape[1], 1))))
    one_each, one_for_all = (
        Clients(c.base, product(c.B, G), product(inverse, c.A), c.w) for G, inverse in (each, all_)
    )
    return Rewritten(c, one_each, one_for_all, shift)


def _gauge(rng: np.random.Generator, rank: int) -> tuple[Measured, Measured]:
    """A product of two triangular matrices with ones on their diagonals, times 2 or 1/2; and its inverse."""
    G = inverse = Measured(array(np.eye(rank)))
    for i, j in [(i, j) for i in range(rank) for j in range(rank) if i != j]:
        step = np.zeros((rank, rank))
        step[i, j] = rng.integers(-4, 5) / 4
        G = product(G, Measured(array(np.eye(rank) + step)))
        inverse = product(Measured(array(np.eye(rank) - step)), inverse)
    factor = (0.5, 2.0, 4.0)[int(rng.integers(3))]
    return G * factor, inverse * (1.0 / factor)


def _policy(c: Clients) -> Measured:
    return _softmax(c.base + product(c.B, c.A))


def _mean(c: Clients) -> Any:
    return weighted(product(c.B, c.A), c.w)


def _of_factors(c: Clients) -> Measured:
    return product(weighted(c.B, c.w), weighted(c.A, c.w))


def _cut(y: Rewritten, M: Measured) -> Measured:
    """The policy of an approximation of rank r."""
    B, A = midpoints(lambda m: truncated(m, y.plain.rank), M)
    return _softmax(y.plain.base + product(Measured.of(B), Measured.of(A)))


def _softmax(logits: Measured) -> Measured:
    return exp(logits - logsumexp(logits))
