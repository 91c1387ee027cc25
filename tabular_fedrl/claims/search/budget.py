"""How long a search may last: evaluations, or seconds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from tabular_fedrl.errors import InvalidProblem

_TEXT = re.compile(r"([0-9]{1,12})(\.[0-9]{1,6})?\s*(s|m|h|)")
_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True)
class Budget:
    """``total`` evaluations, or seconds if ``timed``."""

    total: float
    timed: bool

    @classmethod
    def of(cls, value: str | int) -> Budget:
        """``60s``, ``2m``, ``1h``, or a number of evaluations.

        Raises
        ------
        InvalidProblem: anything else, and nothing.
        """
        match = _TEXT.fullmatch(str(value).strip())
        if match is None or (match[2] and not match[3]):
            raise InvalidProblem(
                f"budget = {value}: expected a time such as 60s or 2m, or a number of evaluations"
            )
        total = float(match[1] + (match[2] or "")) * _SECONDS.get(match[3], 1.0)
        if total <= 0:
            raise InvalidProblem(f"budget = {value}: nothing can be searched in that")
        return cls(total, bool(match[3]))

    def left(self, evaluations: int, seconds: float) -> int:
        """How many further evaluations may begin."""
        if self.timed:
            return 1 << 60 if seconds < self.total else 0
        return int(self.total) - evaluations

    def __str__(self) -> str:
        return f"{self.total:g} seconds" if self.timed else f"{self.total:.0f} evaluations"
