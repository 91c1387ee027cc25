r"""How cost grows: the exponent of a power law :math:`t = C x^p`, by least squares in logarithms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Exponent:
    """The fitted exponent, and its confidence interval from the residuals (Student's law, n - 2 degrees)."""

    value: float
    low: float
    high: float
    constant: float


def exponent(x: Array, seconds: Array) -> Exponent:
    """Fit over at least three sizes.

    Raises
    ------
    InvalidProblem: fewer sizes, all the same, or a number that is not positive.
    """
    sizes, times = np.asarray(x, dtype=np.float64), np.asarray(seconds, dtype=np.float64)
    if sizes.size < 3 or np.ptp(sizes) == 0 or not (sizes > 0).all() or not (times > 0).all():
        raise InvalidProblem("an exponent needs positive times at three sizes or more")
    u, y = np.log(sizes), np.log(times)
    away = u - u.mean()
    slope = float(away @ y / (away @ away))
    level = float(y.mean() - slope * u.mean())
    residual = y - level - slope * u
    error = np.sqrt(residual @ residual / (u.size - 2) / (away @ away))
    half = float(student.ppf((1 + CONFIDENCE) / 2, u.size - 2) * error)
    return Exponent(slope, slope - half, slope + half, float(np.exp(level)))
