"""What all problems have in common: they do not change, and two of the same content are equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Frozen:
    """No attribute changes; what is computed once is kept; equal and hashed by :attr:`digest`.

    What is kept does not travel to other processes.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        instead = "; use .replace(...)" if hasattr(self, "replace") else ""
        raise AttributeError(f"a {type(self).__name__} is frozen: cannot set {name!r}{instead}")

    def _remember(self, name: Any, compute: Callable[[], Any]) -> Any:
        cache = self.__dict__.setdefault("_memo", {})
        if name not in cache:
            cache[name] = compute()
        return cache[name]

    @property
    def digest(self) -> str:
        """SHA-256 of the content (names excluded), as hexadecimal text."""
        raise NotImplementedError

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, type(self)) and self.digest == other.digest

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k != "_memo"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
