r"""The guarantees of Theorems D and G for many datasets at once, in plain floats."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proofs_check.drpo.ensembles import Ensemble
from proofs_check.drpo.optima import chi_squared, cql_optimum, divergence, kl_optimum
from tabular_fedrl.measured import Array


@dataclass(frozen=True)
class Policy:
    """One policy ``(B, S, A)`` per dataset: its true value, its value in the model, its visitation there over
    ``1 - gamma``."""

    data: Ensemble
    p: Array

    @cached_property
    def J(self) -> Array:
        return self.data.J(self.p)

    @cached_property
    def J_model(self) -> Array:
        return self.data.J_model(self.p)

    @cached_property
    def visits(self) -> Array:
        return self.data.visits(self.p)

    def total(self, f: Array) -> Array:
        """The discounted sum in the model of what every state costs, ``(B,)``; what a state costs that is
        never visited does not count, be it infinite."""
        visited = self.visits > 0
        return np.asarray((self.visits * np.where(visited, f, 0.0)).sum(axis=-1))


@dataclass(frozen=True)
class Batch:
    """Datasets and the weights of the two optimisation problems."""

    data: Ensemble
    alpha: float
    beta: float
    lam: float

    @cached_property
    def old(self) -> Policy:
        return Policy(self.data, self.data.old)

    @cached_property
    def behaviour(self) -> Policy:
        return Policy(self.data, self.data.behaviour)

    @cached_property
    def plus(self) -> Policy:
        """The optimum of Theorem D."""
        x = self.data
        return Policy(x, kl_optimum(x.P, x.r, x.truth.gamma, x.behaviour, x.old, self.alpha, self.beta)[0])

    @cached_property
    def conservative(self) -> Policy:
        """The optimum of Theorem G."""
        x = self.data
        return Policy(x, cql_optimum(x.P, x.r, x.truth.gamma, x.behaviour, x.old, self.lam, self.beta)[0])

    @cached_property
    def improvement(self) -> dict[str, Array]:
        """The true improvement that each guarantee is about, ``(B,)``: of Theorem D's optimum over the global
        policy (D1) or the behaviour (D2), of Theorem G's (G1, G2)."""
        over_old, over_b = self.plus.J - self.old.J, self.plus.J - self.behaviour.J
        cql_old, cql_b = (self.conservative.J - p.J for p in (self.old, self.behaviour))
        return {
            "D1": over_old, "D2": over_b, "D2 in counts": over_b, "plain 1": over_old, "plain 2": over_b,
            "G1": cql_old, "G2": cql_b, "G2 without D": cql_b,
        }  # fmt: skip

    def guarantee(self, c: float) -> dict[str, Array]:
        r"""The guarantees with c for :math:`c_\delta`, ``(B,)``; :math:`-\infty` where there is none."""
        plus, old, b = self.plus, self.old, self.behaviour
        prices = {id(p): self.data.price(p.p, c) for p in (plus, old, b)}

        def costs(p: Policy) -> Array:
            return prices[id(plus)] + prices[id(p)]

        far = self.alpha * _far(plus, b, divergence) + self.beta * _far(plus, old, divergence)
        from_b = self.beta * _far(b, old, divergence)
        q = self.conservative
        drawn = self.beta * _far(q, old, divergence)
        strayed, strayed_old = (self.lam * _far(p, b, chi_squared) for p in (q, old))
        bare = drawn - from_b - self._width(q, c, False) - self._width(b, c, False)
        return {
            "D1": far - self.alpha * _far(old, b, divergence) - costs(old),
            "D2": far - from_b - costs(b),
            "D2 in counts": self._in_counts(c),
            "plain 1": plus.J_model - old.J_model - costs(old),
            "plain 2": plus.J_model - b.J_model - costs(b),
            "G1": strayed + drawn - strayed_old - self._width(q, c, True) - self._width(old, c, True),
            "G2": strayed + drawn - from_b - self._width(q, c, True) - self._width(b, c, False),
            "G2 without D": np.where(self.lam >= self.threshold(c), bare, -np.inf),
        }

    def threshold(self, c: float) -> Array:
        r""":math:`\frac c2 \sqrt{|A|/\min_s n(s)}`, over states with records, ``(B,)``"""
        total = self.data.n.sum(axis=-1)
        least = np.where(total > 0, total, total.max()).min(axis=-1)
        return np.asarray(c / 2 * np.sqrt(self.data.truth.A / least))

    # ---- terms -------------------------------------------------------------------------------------------
    def _width(self, p: Policy, c: float, strayed: bool) -> Array:
        r""":math:`\frac{c}{1-\gamma} E\sqrt{|A|(1+\chi^2(p\|b))/n(s)}`, the :math:`\chi^2` only if
        ``strayed``; :math:`\bar V` in states without records."""
        x, total = self.data, self.data.n.sum(axis=-1)
        excess = chi_squared(p.p, x.behaviour) if strayed else 0.0
        root = c * np.sqrt(x.truth.A * (1.0 + excess) / np.maximum(total, 1))
        return p.total(np.where(total > 0, root, x.largest))

    def _in_counts(self, c: float) -> Array:
        """D2 in terms of counts."""
        x, plus, b = self.data, self.plus, self.behaviour
        rarest = np.where(x.n > 0, x.n, x.n.max()).min(axis=-1)
        bonus = np.where(x.n.sum(axis=-1) > 0, c**2 / (8 * self.alpha * np.maximum(rarest, 1)), 0.0)
        drawn = self.beta * (_far(plus, self.old, divergence) - _far(b, self.old, divergence))
        return drawn - plus.total(bonus) - self._width(plus, c, False) - self._width(b, c, False)


def _far(p: Policy, q: Policy, divergence: Callable[[Array, Array], Array]) -> Array:
    """The discounted sum of how far p is from q in the states that p visits, ``(B,)``."""
    return p.total(divergence(p.p, q.p))
