"""S5: what the average of the factors leaves out."""

from __future__ import annotations

from proofs_check.fed_se.clients import Clients, clients
from proofs_check.fed_se.learner import (
    GARNETS,
    Sides,
    last_probabilities,
    stacked,
)
from tabular_fedrl.algorithms.fed_se_adapters import product
from tabular_fedrl.algorithms.fed_se_server import average_factors, average_products, remainder, weighted
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity
from tabular_fedrl.episodic import FederatedEpisodicMDP
from tabular_fedrl.measured import Measured


class Aggregation(Theorem):
    r"""The mean of the products less the product of the means is a cross-covariance of the factors.

    **Setting.** Clients k have adapters :math:`B_k (n, r)`, :math:`A_k (r, |A|)`; weights with
    :math:`\sum_k w_k = 1`, :math:`\bar B = \sum_k w_k B_k`, :math:`\bar A = \sum_k w_k A_k`.

    **Statement.**

    .. math:: \sum_k w_k B_k A_k - \bar B \bar A = \sum_k w_k (B_k - \bar B)(A_k - \bar A) .

    Averaging the factors is exact if and only if the right side vanishes; a common A, or a common B,
    suffices. A server that adds it to the base has exactly the logits of the mean product.

    **Proof.** The right side is :math:`\sum_k w_k B_k A_k - \bar B \bar A - \bar B \bar A + \bar B \bar A`.

    **Source.** Theory notes, self-evolution, S5.
    """

    id = "fed-se.aggregation"
    mark = "ours"
    source = "theory notes, self-evolution, S5"
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
    ) -> list[Clients]:
        """The clients' adapters after a round of Fed-SE, and random ones."""
        return clients(problem, rank, draws, seed)

    @identity(r"\sum_k w_k B_k A_k - \bar B \bar A = \sum_k w_k (B_k - \bar B)(A_k - \bar A)")
    def covariance(self, x: list[Clients]) -> Sides:
        return stacked((_left_out(c), remainder(c.B, c.A, c.w)) for c in x)

    @identity(r"\bar B \bar A = \sum_k w_k B_k A_k \text{ for a common A, and for a common B}")
    def common_factor(self, x: list[Clients]) -> Sides:
        common = [
            *(Clients(c.base, c.B, _all_first(c.A), c.w) for c in x),
            *(Clients(c.base, _all_first(c.B), c.A, c.w) for c in x),
        ]
        return stacked((_of_factors(c), weighted(product(c.B, c.A), c.w)) for c in common)

    @identity(r"\text{base and adapter of the server: } Z_0 + \sum_k w_k B_k A_k")
    def exact_server(self, x: list[Clients]) -> Sides:
        pairs = ((average_products(c.base, c.B, c.A, c.w), c) for c in x)
        return stacked(
            (base + product(B, A), c.base + weighted(product(c.B, c.A), c.w)) for (base, B, A), c in pairs
        )

    @control("the mean of the factors is not the mean of the adapters", Case(GARNETS), kind=Kind.IDENTITY)
    def factors(self, x: list[Clients]) -> Sides:
        return stacked((_of_factors(c), weighted(product(c.B, c.A), c.w)) for c in x)

    @control("nor is it after a single round of Fed-SE", Case(GARNETS, draws=1), kind=Kind.IDENTITY)
    def factors_of_a_round(self, x: list[Clients]) -> Sides:
        (c,) = x[:1]
        return _of_factors(c), weighted(product(c.B, c.A), c.w)

    @control("the weights must sum to 1", Case(GARNETS), kind=Kind.IDENTITY)
    def other_weights(self, x: list[Clients]) -> Sides:
        more = [Clients(c.base, c.B, c.A, c.w * 1.5) for c in x]
        return stacked((_left_out(c), remainder(c.B, c.A, c.w)) for c in more)


def _of_factors(c: Clients) -> Measured:
    r""":math:`\bar B\bar A`"""
    _, B, A = average_factors(c.base, c.B, c.A, c.w)
    return product(B, A)


def _left_out(c: Clients) -> Measured:
    return weighted(product(c.B, c.A), c.w) - _of_factors(c)


def _all_first(parts: Measured) -> Measured:
    """The first client's factor for all."""
    return Measured.stack([parts[0]] * len(parts))
