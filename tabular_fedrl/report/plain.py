"""Anything as JSON data: no NaN, no infinity, no arrays."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, is_dataclass
from enum import Enum
from fractions import Fraction
from pathlib import PurePath
from typing import Any

import numpy as np

from tabular_fedrl.measured import Measured


def plain(x: Any) -> Any:
    """``x`` as dicts, lists, strings, numbers, booleans and None.

    NaN and infinities become None; enclosures their midpoint; enumerations their value; what has no such form
    its ``str``.
    """
    if isinstance(x, Enum):
        return plain(x.value)
    if x is None or isinstance(x, str | bool | int):
        return x
    if isinstance(x, float):
        return x if math.isfinite(x) else None
    if isinstance(x, Measured):
        return plain(np.where(np.isfinite(x.error), x.value, np.nan))
    if isinstance(x, np.ndarray | np.generic):
        return plain(x.tolist())
    if isinstance(x, Fraction):
        return float(x)
    if isinstance(x, Mapping):
        return {str(key): plain(value) for key, value in x.items()}
    if isinstance(x, list | tuple | set | frozenset | range):
        return [plain(value) for value in x]
    if is_dataclass(x) and not isinstance(x, type):
        return plain(asdict(x))
    return x.as_posix() if isinstance(x, PurePath) else str(x)


def to_json(x: Any, indent: int | None = None) -> str:
    """``x`` as JSON text that any reader of the standard accepts."""
    return json.dumps(plain(x), allow_nan=False, ensure_ascii=False, indent=indent)
