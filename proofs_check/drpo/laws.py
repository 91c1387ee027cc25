r"""Laws on the actions, enclosed, with their supports: what the pages on DRPO compute with.

A behaviour policy read from data has zeros, and so has every step that is regularised towards it. A
:class:`Law` therefore carries its support exactly, beside enclosures of its logarithm and its probabilities.
Everything acts on the last axis and broadcasts over the others.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.arithmetic import is_minus_infinity, magnitude
from tabular_fedrl.balls import Balls
from tabular_fedrl.measured import Measured, dot
from tabular_fedrl.policies import enclosed

Mask = Any
"""A boolean array ``(..., S, A)``."""


@dataclass(frozen=True)
class Law:
    """Laws ``(..., A)``: ``log`` (0 outside the support) and ``p`` enclosed, ``support`` exact."""

    log: Measured
    p: Measured
    support: Mask

    @staticmethod
    def of(log_pi: Any) -> Law:
        """The exactly normalised policy that a log-policy stands for; ``-inf`` is outside the support."""
        log, p = enclosed(log_pi)
        outside = is_minus_infinity(log_pi)
        return Law(log.where(outside, 0.0), p, ~outside)

    @staticmethod
    def normalised(logits: Measured, support: Mask) -> Law:
        """The law proportional to the exponential of ``logits`` on ``support``."""
        log = (logits - log_sum(logits, support).reshape(*logits.shape[:-1], 1)).where(~support, 0.0)
        return Law(log, log.exp().where(~support, 0.0), support)

    @property
    def plain(self) -> Any:
        """The log-policy that algorithms and :func:`evaluate` take, ``-inf`` outside the support."""
        if isinstance(self.log, Balls):
            return self.log.where(~self.support, -np.inf)
        return np.where(self.support, self.log.value, -np.inf)

    @property
    def rounding(self) -> float:
        """In floats, how far ``plain`` may be from the law in 1-norm, over all rows; 0 in balls."""
        if isinstance(self.log, Balls):
            return 0.0
        return magnitude((Law.of(self.plain).p - self.p).abs().sum(-1))

    def __getitem__(self, index: Any) -> Law:
        """Part of the leading axes."""
        return Law(self.log[index], self.p[index], self.support[index])

    def mean(self, f: Any) -> Measured:
        """``<p, f>``"""
        return dot(self.p, f)


def log_sum(logits: Measured, support: Mask, weights: Any = 1.0, axis: int = -1) -> Measured:
    """``log sum w exp(logits)`` over the support along one axis, which goes."""
    # Any shift is right: floats near the maximum will do.
    top = np.where(support, logits.value, -np.inf).max(axis=axis, keepdims=True)
    top = np.where(np.isfinite(top), top, 0.0)
    terms = (logits - top).exp().where(~support, 0.0) * weights
    return terms.sum(axis).log() + np.squeeze(top, axis)


def mixture(laws: Law, weights: Measured) -> Law:
    r"""The arithmetic mean :math:`\sum_i w_i p_i`: laws ``(N, S, A)``, weights ``(N, S)``."""
    w = weights.reshape(*weights.shape, 1)
    support = laws.support.any(axis=0)
    log = log_sum(laws.log, laws.support, w, axis=0).where(~support, 0.0)
    return Law(log, (laws.p * w).sum(0), support)


def pool(laws: Law, weights: Measured) -> Law:
    r"""The geometric mean, proportional to :math:`\prod_i p_i^{w_i}`: shapes as for :func:`mixture`; its
    support is the intersection of the supports."""
    w = weights.reshape(*weights.shape, 1)
    return Law.normalised((laws.log * w).sum(0), laws.support.all(axis=0))


def tempered(p: Law, q: Law, w: Any) -> Law:
    """The law proportional to :math:`p^w q^{1-w}` on the common support, ``0 < w < 1``."""
    return Law.normalised(p.log * w + q.log * (Measured(1.0) - w), p.support & q.support)


def kl(p: Law, q: Law) -> Measured:
    """``KL(p||q)``; the radius is infinite where p is not absolutely continuous."""
    terms = (p.p * (p.log - q.log)).widened(np.where(p.support & ~q.support, np.inf, 0.0))
    return terms.where(~p.support, 0.0).sum(-1)


def jeffreys(p: Law, q: Law) -> Measured:
    """``KL(p||q) + KL(q||p) = <p - q, log(p/q)>``"""
    terms = ((p.p - q.p) * (p.log - q.log)).widened(np.where(p.support != q.support, np.inf, 0.0))
    return terms.where(~(p.support | q.support), 0.0).sum(-1)


def total_variation(p: Law, q: Law) -> Measured:
    """``(1/2) ||p - q||_1``"""
    return (p.p - q.p).abs().sum(-1) * 0.5


def change(p: Law, q: Law, f: Any) -> Measured:
    """``<p - q, f>``"""
    return dot(p.p - q.p, f)


def covariance(p: Law, f: Measured, g: Measured) -> Measured:
    """``Cov_p(f, g)``; both are centred, so that the radius is small where they hardly vary."""
    return p.mean(centred(p, f) * centred(p, g))


def centred(p: Law, f: Measured) -> Measured:
    """``f - <p, f>``"""
    return f - p.mean(f).reshape(*f.shape[:-1], 1)


def span(f: Measured, support: Mask) -> Measured:
    """``max f - min f`` over the support along the last axis."""
    return highest(f, support) + highest(-f, support)


def highest(f: Measured, support: Mask) -> Measured:
    """``max f`` over the support along the last axis."""
    # In place of what is outside, a float that no entry goes below.
    return f.where(~support, float(np.asarray(f.lower).min())).max(-1)


def random_part(rng: np.random.Generator, support: Mask) -> Law:
    """Random laws on random parts of a support."""
    part = support & (rng.random(support.shape) < 0.7)
    part = np.where(part.any(axis=-1, keepdims=True), part, support)
    return Law.normalised(Measured(4 * rng.standard_normal(support.shape)), part)
