"""What the clients of many offline problems hold, as arrays."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.loops.batch import Batch
from tabular_fedrl.measured import Array


@dataclass(frozen=True)
class Models:
    """The empirical MDPs of N clients in B problems, with one state more than the environment (the last
    one): ``P (B, N, S+1, A, S+1)``, signals ``f (B, N, 1+m, S+1, A)``, the reward first, costs that a client
    does not see 0."""

    P: Array
    f: Array


@dataclass(frozen=True)
class Clients:
    r"""The N clients of each problem of a batch.

    Parameters
    ----------
    batch: the true problems; its mask says who sees which cost.
    log_b: the clients' behaviours ``(B, N, S, A)``, ``-inf`` where they never take an action.
    models: what they plan in; None: the true problems.
    seen: the states they have data for, boolean ``(B, N, S)``; default all. Elsewhere they abstain.
    pairs: their transitions from every pair, ``(B, N, S, A)``; None without data.

    Raises
    ------
    InvalidProblem: arrays that do not fit together.
    """

    batch: Batch
    log_b: Array
    models: Models | None = None
    seen: Any = None
    pairs: Array | None = None

    def __post_init__(self) -> None:
        b = self.batch
        B, N, S, A, m = b.B, b.N, b.S, b.A, b.m
        object.__setattr__(self, "log_b", np.asarray(self.log_b, dtype=np.float64))
        seen = np.ones((B, N, S), dtype=bool) if self.seen is None else np.asarray(self.seen, dtype=bool)
        object.__setattr__(self, "seen", seen)
        arrays = {"log_b": (self.log_b, (B, N, S, A)), "seen": (seen, (B, N, S))}
        if self.pairs is not None:
            arrays["pairs"] = (self.pairs, (B, N, S, A))
        if self.models is not None:
            arrays["models.P"] = (self.models.P, (B, N, S + 1, A, S + 1))
            arrays["models.f"] = (self.models.f, (B, N, 1 + m, S + 1, A))
        for name, (x, shape) in arrays.items():
            if x.shape != shape:
                raise InvalidProblem(f"{name} has shape {x.shape}: expected {shape}")

    def take(self, chosen: Any) -> Clients:
        """The problems of an index array, a slice or a boolean array, in that order: repeat one to sweep its
        weights."""
        models = None if self.models is None else Models(self.models.P[chosen], self.models.f[chosen])
        pairs = None if self.pairs is None else self.pairs[chosen]
        return Clients(self.batch.take(chosen), self.log_b[chosen], models, self.seen[chosen], pairs)

    def apart(self) -> Clients:
        """Every client on its own: B N problems, without constraints, of one client each."""
        B, N, S, A = self.log_b.shape
        batch = replace(self.batch.take(np.repeat(np.arange(B), N)), mask=np.ones((1, 0), dtype=bool))
        models = None
        if self.models is not None:
            models = Models(*(x.reshape(B * N, 1, *x.shape[2:]) for x in (self.models.P, self.models.f)))
        pairs = None if self.pairs is None else self.pairs.reshape(B * N, 1, S, A)
        return Clients(
            batch, self.log_b.reshape(B * N, 1, S, A), models, self.seen.reshape(B * N, 1, S), pairs
        )

    def weights(self, given: ArrayLike | None = None, by_data: bool = False) -> Array:
        r"""The server's weights :math:`\omega` ``(B, N, S)`` from ``(N,)``, ``(N, S)`` or ``(B, N, S)``
        numbers, 1/N by default; ``by_data``: :math:`\propto \omega_i n_i(s)` where there are data.

        Raises
        ------
        InvalidProblem: weights that are negative, do not sum to 1 or do not fit.
        """
        B, N, S = self.seen.shape
        omega = np.full(N, 1.0 / N) if given is None else np.asarray(given, dtype=np.float64)
        if omega.ndim == 1:
            omega = omega[:, None]
        try:
            omega = np.broadcast_to(omega, (B, N, S))
        except ValueError:
            raise InvalidProblem(f"weights have shape {omega.shape}: expected ({N},) or ({N}, S)") from None
        total = omega.sum(axis=1, keepdims=True)
        if not ((omega >= 0).all() and (abs(total - 1) <= 1e-9).all()):
            raise InvalidProblem("the clients' weights must be numbers from 0 on that sum to 1")
        if not by_data or self.pairs is None:
            return omega / total
        n = self.pairs.sum(axis=-1).astype(np.float64)
        n = np.where(n.sum(axis=1, keepdims=True) == 0, 1.0, n)
        shares = omega / total * n
        return shares / shares.sum(axis=1, keepdims=True)
