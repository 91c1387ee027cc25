"""Many runs of a method side by side, and what is measured of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.preference_feedback import Feedback, PreferenceRound, blocks
from tabular_fedrl.episodic import gradient, start_value
from tabular_fedrl.federation import Ledger
from tabular_fedrl.measured import Array
from tabular_fedrl.policies import softmax

Method = Callable[[Feedback, Array, np.random.Generator, Ledger], Iterator[PreferenceRound]]


@dataclass(frozen=True)
class Ensemble:
    """Independent runs from the uniform policy: the norm of the gradient before every round, Euclidean and
    summed over blocks, ``(runs, T)`` both; the value before the first and after the last, ``(runs,)``; bits
    sent in one run before every round, ``(T,)``."""

    norms: Array
    block_norms: Array
    first: Array
    last: Array
    bits: np.ndarray[Any, np.dtype[np.int64]]

    @property
    def averaged(self) -> Array:
        """The mean norm over the rounds so far and over the runs, ``(T,)``."""
        mean = self.norms.mean(axis=0)
        return np.asarray(np.cumsum(mean) / np.arange(1, len(mean) + 1))


def ensemble(method: Method, feedback: Feedback, T: int, runs: int, seed: int) -> Ensemble:
    """T rounds of ``runs`` independent runs; plain floats."""
    mdp, ledger = feedback.mdp, Ledger()
    shape = (mdp.H, mdp.S, mdp.A)
    steps = method(feedback, np.zeros((runs, *shape)), np.random.default_rng(seed), ledger)
    own = blocks(shape, feedback.agents)
    norms, block_norms, bits = [], [], []
    theta = np.zeros((runs, *shape))
    first = start_value(mdp, softmax(theta))
    for _ in range(T):
        squares = gradient(mdp, softmax(theta)) ** 2
        norms.append(squares.sum(axis=(1, 2, 3)) ** 0.5)
        block_norms.append(((squares[:, None] * own).sum(axis=(2, 3, 4)) ** 0.5).sum(axis=1))
        bits.append((ledger.bits("down") + ledger.bits("up")) // runs)
        theta = next(steps).next_theta
    last = start_value(mdp, softmax(theta))
    return Ensemble(np.stack(norms, axis=1), np.stack(block_norms, axis=1), first, last, np.array(bits))
