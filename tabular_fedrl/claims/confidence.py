r"""Means of samples as enclosures that hold with a stated probability.

Each function encloses the expectations of independent samples around their means, all entries at once with
probability ``confidence`` (a union bound shares :math:`\delta = 1 - \mathrm{confidence}` among them). A claim
made from such an enclosure says so: ``@upper(..., confidence=0.99)``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import betaincinv

from tabular_fedrl.measured import UNIT, Array, Measured

_QUANTILE = 1e-10
"""Allowance for SciPy's inverse of the incomplete beta function, in units of probability."""


def bounded(samples: Array, width: ArrayLike, confidence: float) -> Measured:
    r"""Samples ``(n, ...)`` from an interval of length ``width``: the smaller of two radii, each at half of
    :math:`\delta`.

    Hoeffding: :math:`w \sqrt{\log(2/\delta)/(2n)}`. Empirical Bernstein (Maurer and Pontil 2009, theorem 4),
    with the sample variance :math:`\hat v`:
    :math:`\sqrt{2 \hat v \log(4/\delta)/n} + 7 w \log(4/\delta)/(3(n-1))`. At least two samples are needed.
    """
    n, w = len(samples), np.asarray(width, dtype=np.float64)
    delta = _share(samples[0], confidence) / 2
    hoeffding = w * np.sqrt(np.log(2 / delta) / (2 * n))
    variance = np.var(samples, axis=0, ddof=1)
    bernstein = np.sqrt(2 * variance * np.log(4 / delta) / n) + 7 * w * np.log(4 / delta) / (3 * (n - 1))
    return _around(samples.mean(axis=0), np.minimum(hoeffding, bernstein), n)


def moments(mean: ArrayLike, n: int, variance: ArrayLike, scale: ArrayLike, confidence: float) -> Measured:
    r"""Means of n samples with :math:`E|X - EX|^k \le \frac{k!}2 v b^{k-2}` for all k >= 2, v =
    ``variance``, b = ``scale``.

    Bernstein: with :math:`L = \log(2/\delta)` the radius is :math:`bL/n + \sqrt{(bL/n)^2 + 2vL/n}`.
    """
    m = np.asarray(mean, dtype=np.float64)
    L = np.log(2 / _share(m, confidence))
    linear = np.asarray(scale, dtype=np.float64) * L / n
    return _around(m, linear + np.sqrt(linear**2 + 2 * np.asarray(variance) * L / n), n)


def square_integrable(mean: ArrayLike, n: int, variance: ArrayLike, confidence: float) -> Measured:
    r"""Means of n samples of variance at most ``variance``: Chebyshev, :math:`\sqrt{v/(n\delta)}`."""
    m = np.asarray(mean, dtype=np.float64)
    return _around(m, np.sqrt(np.asarray(variance) / (n * _share(m, confidence))), n)


def tail(samples: Array, levels: Array, confidence: float) -> Measured:
    r""":math:`P(X > t)` for every t in ``levels``, from samples ``(n,)``, uniformly over t.

    Dvoretzky, Kiefer, Wolfowitz with Massart's constant: :math:`\sqrt{\log(2/\delta)/(2n)}`.
    """
    n = len(samples)
    above = 1 - np.searchsorted(np.sort(samples), levels, side="right") / n
    return _around(above, np.sqrt(np.log(2 / _share(0.0, confidence)) / (2 * n)), n)


def binomial(successes: ArrayLike, n: int, confidence: float) -> Measured:
    r"""The probability of success, from ``successes`` out of ``n`` independent trials: exact.

    Clopper and Pearson (1934): the p at which so many successes or more (fewer) have probability
    :math:`\delta/2`. Without a success the upper end is :math:`1 - (\delta/2)^{1/n}`.
    """
    k = np.asarray(successes, dtype=np.float64)
    if n < 1 or (k < 0).any() or (k > n).any():
        raise ValueError(f"{successes!r} successes in {n} trials")
    half = _share(k, confidence) / 2
    low = np.where(k == 0, 0.0, betaincinv(np.maximum(k, 1), n - k + 1, half))
    high = np.where(k == n, 1.0, betaincinv(np.minimum(k, n - 1) + 1, np.maximum(n - k, 1), 1 - half))
    return Measured.between(np.maximum(low - _QUANTILE, 0.0), np.minimum(high + _QUANTILE, 1.0))


def _share(entries: ArrayLike, confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence = {confidence!r} is not between 0 and 1")
    return (1 - confidence) / max(np.size(entries), 1)


def _around(mean: ArrayLike, radius: ArrayLike, n: int) -> Measured:
    """The enclosure, the rounding of the mean included."""
    m = np.asarray(mean, dtype=np.float64)
    return Measured(m, np.broadcast_to(radius, m.shape) * (1 + 1e-12) + (n + 2) * UNIT * np.abs(m))
