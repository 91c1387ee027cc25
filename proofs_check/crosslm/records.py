r"""Tabular records of clients that differ: the federation on which CrossLM is tried out.

A record has three columns with 4, 4 and 3 values: 48 kinds, the items. Six topics are product laws, each
column's law drawn from a Dirichlet law with parameter 1/2. A client's law mixes three of the topics with
shares from a Dirichlet law with parameter 0.7, and it holds 30 private records. The server's generator begins
as the even mixture of all six topics: it knows what the clients need, and as much that they do not.

Federations drawn from different seeds are independent, and lie side by side as the contexts of one run.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from tabular_fedrl.algorithms.crosslm import CrossLM, Update, crosslm
from tabular_fedrl.measured import Array

COLUMNS = (4, 4, 3)
CLIENTS, TOPICS, USED, PRIVATE = 5, 6, 3, 30
FEDERATIONS = 200
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Records:
    """B federations of K clients: private ``counts`` and ``laws (K, B, A)``, the server's ``generator (B,
    A)``."""

    counts: Array
    laws: Array
    generator: Array

    def run(self, update: Update, eta: float, rounds: int, weight: float) -> CrossLM:
        """CrossLM with as many generated items as private ones; the generator's law stands for them."""
        return crosslm(
            self.counts,
            self.generator,
            rounds=rounds,
            update=update,
            eta=eta,
            weight=weight,
            items=PRIVATE,
        )

    def error(self, models: Array) -> Array:
        r""":math:`\frac1K \sum_k \|Q_k - P_k\|_2^2`, ``(B,)``"""
        return np.asarray(((models - self.laws) ** 2).sum(axis=-1).mean(axis=0))

    def relative_error(self, run: CrossLM) -> Array:
        """The last models' error over that of the private records alone, ``(B,)``."""
        return self.error(run.models[-1]) / self.error(run.models[0])

    def predicted(self, generator: Array, weight: float) -> float:
        """What C3 says of the mean relative error, as if the generator did not depend on the records."""
        V = 1 - (self.laws**2).sum(axis=-1)
        D = ((generator - self.laws) ** 2).sum(axis=-1)
        M = weight * PRIVATE
        pooled = (PRIVATE * V + M**2 * D) / (PRIVATE + M) ** 2
        return float(pooled.mean() / (V / PRIVATE).mean())

    def distance(self, generator: Array) -> Array:
        r""":math:`\|G - \frac1K \sum_k P_k\|_2^2`, ``(B,)``"""
        return np.asarray(((generator - self.laws.mean(axis=0)) ** 2).sum(axis=-1))

    def forgotten(self, generator: Array) -> Array:
        r""":math:`KL(G\|G_0)`, ``(B,)``"""
        ratio = np.where(generator > 0, generator / self.generator, 1.0)
        return np.asarray(np.maximum((generator * np.log(ratio)).sum(axis=-1), 0.0))


def records(seed: int = 0) -> Records:
    """The federations of a seed."""
    rng = np.random.default_rng(seed)
    columns = [rng.dirichlet(np.full(c, 0.5), (FEDERATIONS, TOPICS)) for c in COLUMNS]
    topics = np.einsum("bti,btj,btk->btijk", *columns).reshape(FEDERATIONS, TOPICS, -1)
    shares = rng.dirichlet(np.full(USED, 0.7), (CLIENTS, FEDERATIONS))
    laws = _normalised(np.einsum("kbt,bta->kba", shares, topics[:, :USED]))
    counts = rng.multinomial(PRIVATE, laws).astype(np.float64)
    return Records(counts, laws, _normalised(topics.mean(axis=1)))


def effective(generator: Array) -> Array:
    """The exponential of the entropy: how many items the generator makes in effect, ``(B,)``."""
    return np.asarray(np.exp(-(generator * np.log(np.where(generator > 0, generator, 1.0))).sum(axis=-1)))


def interval(samples: Array) -> tuple[float, float, float]:
    """The mean of independent samples and the ends of its confidence interval (Student's t)."""
    mean, n = float(samples.mean()), len(samples)
    half = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1) * samples.std(ddof=1) / np.sqrt(n))
    return mean, mean - half, mean + half


def _normalised(x: Array) -> Array:
    return np.asarray(x / x.sum(axis=-1, keepdims=True))
