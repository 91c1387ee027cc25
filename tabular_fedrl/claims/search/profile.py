"""How loose a theorem is, parameter by parameter: the data of the plot ``looseness``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from tabular_fedrl.claims.search.family import parse_family
from tabular_fedrl.claims.search.run import search
from tabular_fedrl.claims.theorem import Range, StudyData, Theorem


def looseness(
    theorem: type[Theorem],
    claims: Sequence[str],
    axes: Mapping[str, Sequence[float]],
    family: str,
    space: Mapping[str, Range],
    budget: int,
) -> StudyData:
    """The worst ratio found for each claim at each value of each parameter, the others free within ``family``
    and ``space``; ``budget`` evaluations each. A parameter is a size of the family, gamma, or one of
    ``setup``."""
    arrays: dict[str, np.ndarray[Any, Any]] = {"names": np.array(claims), "axes": np.array(list(axes))}
    base = parse_family(family)
    for axis, values in axes.items():
        ratios = np.full((len(claims), len(values)), np.nan)
        for k, value in enumerate(values):
            where, room = base, dict(space)
            if axis == "gamma":
                where = replace(base, gamma=(value, value))
            elif axis in base.sizes:
                where = replace(base, sizes={**base.sizes, axis: (int(value), int(value))})
            else:
                room[axis] = [int(value)]
            found = search(theorem, str(where), budget, claims=claims, space=room, prove=False).found
            ratios[:, k] = [np.nan if f.ratio is None else f.ratio for f in found]
        arrays |= {f"values_{axis}": np.array(values, dtype=np.float64), f"ratio_{axis}": ratios}
    arrays["name"] = np.array(f"{theorem.id} on {base}")
    return StudyData(arrays, {"family": str(base), "evaluations at each point": budget})
