"""Adapters of several clients, as the pages on the server's average take them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from proofs_check.fed_se.learner import success
from tabular_fedrl.algorithms.fed_se import Choice, fed_se
from tabular_fedrl.algorithms.fed_se_adapters import centred
from tabular_fedrl.arithmetic import array
from tabular_fedrl.balls import Balls
from tabular_fedrl.episodic import FederatedEpisodicMDP
from tabular_fedrl.federation import Ledger
from tabular_fedrl.measured import Measured


@dataclass(frozen=True)
class Clients:
    """Base ``(n, A)``, factors ``B (K, n, r)`` and ``A (K, r, A)``, weights ``w (K,)`` of sum 1, all
    enclosed."""

    base: Measured
    B: Measured
    A: Measured
    w: Measured

    @property
    def rank(self) -> int:
        """r"""
        return self.A.shape[-2]


def clients(problem: FederatedEpisodicMDP, rank: int, draws: int, seed: int) -> list[Clients]:
    """Those after a round of Fed-SE on the problem, and ``draws`` random ones of the same sizes; rows of A
    sum to 0."""
    rng = np.random.default_rng(seed)
    played = next(fed_se(success(problem), Choice(rank=rank, seed=seed), Ledger()))
    K, n, _ = played.B.shape
    out = [_enclosed(played.base[0], played.B, played.A, np.ones(K))]
    for _ in range(draws):
        shapes = ((n, problem.A), (K, n, rank), (K, rank, problem.A))
        base, B, A = (array(rng.standard_normal(shape)) for shape in shapes)
        out.append(_enclosed(base, B, centred(A), rng.uniform(0.2, 1.0, K)))
    return out


def _enclosed(base: Any, B: Any, A: Any, masses: Any) -> Clients:
    w = Measured(array(masses))
    return Clients(Measured.of(base), Measured.of(B), Measured.of(A), w / w.sum())


def midpoints(merge: Callable[..., Any], *given: Measured) -> Any:
    """What an algorithm makes of the numbers: floats of their midpoints, or the balls themselves."""
    return merge(*(x if isinstance(x, Balls) else x.value for x in given))
