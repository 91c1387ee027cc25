"""A client's private items pooled with generated ones: mean squared errors, by formula and by force."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.crosslm import pooled
from tabular_fedrl.measured import Measured

MOST_SAMPLES = 4096
"""Samples that are enumerated one by one."""


@dataclass(frozen=True)
class Pool:
    r"""Laws P of a client and G' of a generator, rows of ``(B, A)``; n private items, m generated ones of
    weight w."""

    P: Measured
    G: Measured
    n: int
    m: int
    w: float

    @property
    def M(self) -> Measured:
        """``w m``"""
        return Measured(self.w) * self.m

    @cached_property
    def V(self) -> Measured:
        r""":math:`1 - \|P\|_2^2`, ``(B,)``: n times the error of the sample alone"""
        return Measured(1.0) - (self.P * self.P).sum(-1)

    @cached_property
    def U(self) -> Measured:
        r""":math:`1 - \|G'\|_2^2`, ``(B,)``"""
        return Measured(1.0) - (self.G * self.G).sum(-1)

    @cached_property
    def D(self) -> Measured:
        r""":math:`\|G'-P\|_2^2`, ``(B,)``"""
        off = self.G - self.P
        return (off * off).sum(-1)

    @cached_property
    def total_variation(self) -> Measured:
        """``TV(G', P)``, ``(B,)``"""
        return (self.G - self.P).abs().sum(-1) / 2.0

    @property
    def local(self) -> Measured:
        """The error of the private sample alone."""
        return self.V / self.n

    @property
    def error(self) -> Measured:
        r"""The error with the law G': :math:`(nV + M^2 D)/(n+M)^2`."""
        return (self.V * self.n + self.M * self.M * self.D) / (self.M + self.n) ** 2

    @property
    def sampled_error(self) -> Measured:
        r"""The error with m items drawn from G': more by :math:`w^2 m U/(n+M)^2`."""
        return self.error + self.M * self.w * self.U / (self.M + self.n) ** 2

    @property
    def threshold(self) -> Measured:
        r""":math:`V (1/n + 2/M)`"""
        return self.V * (Measured(1.0) / self.n + Measured(2.0) / self.M)

    # ---- by force ------------------------------------------------------------------------------------------
    def by_force(self, generated: Callable[[Any], Any] | None = None) -> Measured:
        r"""The mean of :math:`\|Q - P\|_2^2` over all private samples, ``(B,)``; ``generated`` maps the
        samples' counts ``(B, samples, A)`` to the law the generator then has (default: G')."""
        p, counts = samples(self.P, self.n)
        law = self.G.reshape(len(self.G), 1, -1) if generated is None else generated(counts)
        return self._mean(p, pooled(counts, law * self.m, self.w))

    def by_force_sampled(self) -> Measured:
        """The same over all private and all generated samples."""
        (p, counts), (q, items) = samples(self.P, self.n), samples(self.G, self.m)
        B, private, A = counts.shape
        weights = p.reshape(B, private, 1) * q.reshape(B, 1, -1)
        models = pooled(counts.reshape(B, private, 1, A), items.reshape(B, 1, -1, A), self.w)
        return self._mean(weights.reshape(B, -1), models.reshape(B, -1, A))

    def _mean(self, weights: Measured, models: Measured) -> Measured:
        off = models - self.P.reshape(len(self.P), 1, -1)
        return (weights * (off * off).sum(-1)).sum(-1)


def samples(law: Measured, size: int) -> tuple[Measured, Measured]:
    """All ordered samples of so many items: their probabilities ``(B, samples)`` and counts ``(B, samples,
    A)``."""
    B, A = law.shape
    drawn = np.array(list(product(range(A), repeat=size)))
    probability = law[:, drawn[:, 0]]
    for k in range(1, size):
        probability = probability * law[:, drawn[:, k]]
    counts = (drawn[:, :, None] == np.arange(A)).sum(axis=1).astype(np.float64)
    return probability, Measured(np.broadcast_to(counts, (B, *counts.shape)))
