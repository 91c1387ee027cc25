r"""Finite-horizon problems as vectors: what an optimiser moves in the family ``success``.

Every environment has its own kernel for every step and its own initial law; the reward is 0 before the last
step and in [0, 1] at it, the probability that an episode succeeds. Tables among the free parameters have a
row for each step and state, ``(H*S, A)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from tabular_fedrl.claims.search.coding import Block, Coding, Parameters, between, joined
from tabular_fedrl.claims.search.family import EpisodicShape
from tabular_fedrl.claims.theorem import Table
from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP
from tabular_fedrl.measured import Array


@dataclass(frozen=True)
class EpisodicBatch:
    """B problems: ``P (B, N, H, S, A, S)``, ``success (B, N, S, A)``, ``rho (B, N, S)``."""

    P: Array
    success: Array
    rho: Array

    def problem(self, i: int) -> FederatedEpisodicMDP:
        """One of them."""
        r = np.zeros(self.P[i].shape[:-1])
        r[:, -1] = self.success[i]
        H = len(r[0])
        return FederatedEpisodicMDP([EpisodicMDP(*data, H) for data in zip(self.P[i], r, self.rho[i])])


@dataclass(frozen=True)
class EpisodicCoding(Coding):
    """The coordinates of one structure of the family ``success``."""

    shape: EpisodicShape  # type: ignore[assignment]

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """In the order of the coordinates."""
        S, A, H, N = self.shape.S, self.shape.A, self.shape.H, self.shape.N
        # After the last step nothing depends on where the episode goes.
        laws = [("P", N * (H - 1) * S * A, S), ("rho", N, S)] if S > 1 else []
        laws += [(name, H * S, A) for name, table in self.tables.items() if table is Table.POLICY]
        units = [("success", N * S, A)]
        units += [(name, H * S, A) for name, table in self.tables.items() if table is Table.SIGNAL]
        units += [(name, 1, 1) for name in self.reals]
        return joined(laws, units)

    def decode(self, X: Array) -> tuple[EpisodicBatch, Parameters]:  # type: ignore[override]
        """The instances and free parameters of projected coordinates ``(B, n)``."""
        B, (S, A, H, N) = len(X), (self.shape.S, self.shape.A, self.shape.H, self.shape.N)
        part = {block.name: X[:, block.start : block.stop] for block in self.blocks}
        P = np.zeros((B, N, H, S, A, S))
        P[..., 0] = 1.0
        if "P" in part:
            P[:, :, :-1] = part["P"].reshape(B, N, H - 1, S, A, S)
        rho = part["rho"].reshape(B, N, S) if S > 1 else np.ones((B, N, 1))
        parameters: Parameters = dict(self.fixed)
        for name, bounds in self.reals.items():
            parameters[name] = between(part[name][:, 0], *bounds)
        for name in self.tables:
            parameters[name] = part[name].reshape(B, H * S, A)
        return EpisodicBatch(P, part["success"].reshape(B, N, S, A), rho), parameters
