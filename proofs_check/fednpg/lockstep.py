"""FedNPG and the bound of F1 on many small instances at once: what the worst-case search climbs on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from proofs_check.fednpg.f1_bound import Bound
from tabular_fedrl.algorithms.step_sizes import SLATER_TOLERANCE
from tabular_fedrl.loops import Batch, Iterated, Optima, fednpg, optima
from tabular_fedrl.measured import Array


@dataclass(frozen=True)
class Lockstep:
    """FedNPG on a batch of problems in plain floats, with the bound for the steps it used.

    ``usable (B,)``: whether the steps exist and the problem has two actions, a reward that is not constant
    and a feasible policy; ``slater (B,)``: whether one is strictly feasible; ``best``: the optima.
    """

    run: Iterated
    bound: Bound
    best: Optima
    usable: np.ndarray[Any, np.dtype[np.bool_]]
    slater: np.ndarray[Any, np.dtype[np.bool_]]
    thresholds: Array

    @classmethod
    def of(
        cls,
        problems: Batch,
        rounds: int,
        local_steps: int,
        aggregation: str = "arithmetic",
        eta: Array | None = None,
        eta_dual: Array | None = None,
        dual_cap: Array | None = None,
    ) -> Lockstep:
        """The arrays ``(B,)`` of steps and caps, the same for all constraints; None: the tuned ones of
        :mod:`tabular_fedrl.algorithms.step_sizes`."""
        best, spans, T = optima(problems), problems.spans, rounds * local_steps
        effective = 1.0 - problems.gamma
        usable = (spans[:, 0] > 0) & ~np.isnan(best.value) & (problems.A > 1)
        if problems.m == 0:
            dual_cap = np.zeros(problems.B)
        elif dual_cap is None:
            usable &= _slater(problems, best)
            dual_cap = 2.0 * spans[:, 0] / (effective * np.where(usable, best.slack, 1.0))
        B = spans[:, :1] / problems.N + dual_cap[:, None] * (spans[:, 1:] @ problems.mask.T)
        if eta is None:
            logs, b2 = np.log(max(problems.A, 2)), np.where(usable, (B * B).sum(axis=1), 1.0)
            eta = effective**2 * (8.0 * problems.N * logs / (local_steps * T * b2)) ** 0.5
        if eta_dual is None:
            G = best.gaps.max(axis=1, initial=0.0)
            eta_dual = dual_cap / (np.where(G > 0, G, 1.0) * T**0.5)
        each = np.broadcast_to(eta_dual[:, None], problems.d.shape)
        result = fednpg(
            problems,
            rounds,
            local_steps,
            eta,
            each,
            dual_cap[:, None] + 0.0 * problems.d,
            geometric=aggregation == "geometric",
        )
        bound = Bound(
            gamma=problems.gamma,
            logs=np.log(problems.A),
            N=problems.N,
            observers=problems.mask.sum(axis=0).astype(np.float64),
            rounds=rounds,
            local_steps=local_steps,
            eta=eta,
            eta_dual=each,
            dual_cap=dual_cap,
            span_r=spans[:, 0],
            span_c=spans[:, 1:],
            B=B,
            G=best.gaps,
            number=np.asarray,
        )
        return cls(result, bound, best, usable, _slater(problems, best), problems.d)

    @property
    def gap(self) -> Array:
        """V* minus the average value, NaN where not usable."""
        return np.where(self.usable, self.best.value - self.run.value, np.nan)

    @property
    def local_gap(self) -> Array:
        """V* minus the average value of the local policies, NaN where not usable."""
        return np.where(self.usable, self.best.value - self.run.local_value, np.nan)

    @property
    def violation(self) -> Array:
        """Summed over the constraints; NaN where not usable."""
        excess = np.maximum(self.run.costs - self.thresholds, 0.0).sum(axis=1)
        return np.where(self.usable, excess, np.nan)


def _slater(problems: Batch, best: Optima) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """With a margin: the page must agree."""
    size = 1.0 + np.abs(problems.d).max(axis=1, initial=0.0)
    return np.asarray(best.slack > 10 * SLATER_TOLERANCE * size)
