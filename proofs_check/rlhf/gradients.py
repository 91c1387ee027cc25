"""Gradients of the value at random logits: the vectors and directions that the pages on norms speak of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from proofs_check.rlhf.landscape import all_signs, points, policies
from tabular_fedrl.episodic import EpisodicMDP, gradient


@dataclass(frozen=True)
class Vectors:
    """``a (n, k)``: the first k coordinates of gradients of V at n random logits, and what belongs to the
    expectation over all :math:`2^k` sign vectors."""

    a: Any

    @classmethod
    def of(cls, mdp: EpisodicMDP, size: int, count: int, spread: float, seed: int) -> Vectors:
        slopes = gradient(mdp, policies(points(mdp, count, spread, seed)))
        return cls(slopes.reshape(count, -1)[:, :size])

    @property
    def norm(self) -> Any:
        """``(n,)``"""
        return (self.a * self.a).sum(-1).sqrt()

    def moment(self, power: int) -> Any:
        r""":math:`E|\sum_i a_i v_i|^p`, enumerated, ``(n,)``."""
        signs = all_signs(self.a.shape[-1])
        # The other half has the same sizes.
        sums = (self.a[:, None, :] * signs[: len(signs) // 2]).sum(-1).abs()
        return (sums**power).mean(-1)
