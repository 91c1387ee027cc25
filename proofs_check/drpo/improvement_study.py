"""What the two regularisers do to the plain value, round by round, when the critics come from data."""

from __future__ import annotations

import numpy as np

from tabular_fedrl.claims import StudyData
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Array
from tabular_fedrl.runner import run

SETTINGS = {
    "both regularisers": (0.3, 0.3),
    "towards the data alone": (0.3, 0.0),
    "towards the server alone": (0.0, 0.3),
    # Some weight must be positive; with this one the step is greedy.
    "none": (0.0, 1e-6),
}
r"""Weights :math:`\alpha` and :math:`\beta`."""

CLIENTS, TRANSITIONS, ROUNDS = 5, 200, 15


def improvement_study(source: str, data_sets: int) -> StudyData:
    r"""DRPO with R-steps, empirical critics and the arithmetic mean, on data sets drawn anew.

    The clients' behaviours go from nearly random to nearly expert. The band holds four fifths of the data
    sets.
    """
    problem = load(source)
    values = np.array(
        [
            [_values(problem, alpha, beta, seed) for seed in range(data_sets)]
            for alpha, beta in SETTINGS.values()
        ]
    )
    gains = np.diff(values, axis=2)
    low, value, high = np.quantile(values, [0.1, 0.5, 0.9], axis=1)
    arrays = {
        "labels": np.array(list(SETTINGS)),
        "value": value,
        "low": low,
        "high": high,
        "typical": np.median(gains, axis=1),
        "worst": gains.min(axis=1),
        "name": np.array(f"{source}, {CLIENTS} clients with {TRANSITIONS} transitions each"),
    }
    summary = {"instance": source, "data sets": data_sets}
    for label, gain, last in zip(SETTINGS, gains, value[:, -1]):
        # What is smaller is rounding.
        falls = float((gain < -1e-9).mean())
        summary[label] = (
            f"rounds that lose value {falls:.0%}, largest loss {max(-gain.min(), 0.0):.2g}, "
            f"median value after {ROUNDS} rounds {last:.3g}"
        )
    return StudyData(arrays, summary)


def _values(problem: FederatedCMDP, alpha: float, beta: float, seed: int) -> Array:
    """The value of every round's policy, ``(ROUNDS,)``."""
    found = run(
        "drpo",
        problem,
        rounds=ROUNDS,
        clients=CLIENTS,
        data="simulated",
        transitions=TRANSITIONS,
        data_seed=seed,
        alpha=alpha,
        beta=beta,
        aggregation="arithmetic",
        compare=False,
    )
    return found.value.value
