"""Reading a plot's arrays: what is missing or of the wrong shape is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array

Data = Mapping[str, NDArray[Any]]
"""Named arrays, as ``numpy.load`` gives them."""


def numbers(data: Data, key: str, *shape: int | None) -> Array:
    """``data[key]`` as floats of the given shape; a dimension of None is free. Infinities become NaN.

    Raises
    ------
    InvalidProblem: the key is missing, the shape is another, or there are no entries, or no numbers.
    """
    raw = _entry(data, key)
    if raw.dtype.kind not in "biuf":
        raise InvalidProblem(f"plot data {key!r} holds {raw.dtype}, not numbers")
    table = raw.astype(np.float64)
    if table.ndim != len(shape) or any(n is not None and n != k for n, k in zip(shape, table.shape)):
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise InvalidProblem(f"plot data {key!r} has shape {table.shape}: expected ({wanted})")
    if not table.size:
        raise InvalidProblem(f"plot data {key!r} is empty")
    return np.where(np.isfinite(table), table, np.nan)


def texts(data: Data, key: str, count: int | None = None) -> list[str]:
    """``data[key]`` as ``count`` strings.

    Raises
    ------
    InvalidProblem: the key is missing, or there are not that many.
    """
    raw = _entry(data, key)
    if raw.ndim != 1 or (count is not None and len(raw) != count):
        raise InvalidProblem(f"plot data {key!r} has shape {raw.shape}: expected ({count or 'any'},)")
    return [str(x) for x in raw]


def text(data: Data, key: str, default: str = "") -> str:
    """The string ``data[key]``, or ``default`` where there is none."""
    return str(np.asarray(data[key])[()]) if key in data else default


def _entry(data: Data, key: str) -> NDArray[Any]:
    if key not in data:
        raise InvalidProblem(f"plot data lacks {key!r}; it has {', '.join(data) or 'nothing'}")
    return np.asarray(data[key])
