"""Data instead of an environment: tables of transitions, where they come from, and what they say."""

from tabular_fedrl.offline.behaviours import QUALITIES, grades, mixtures, qualities
from tabular_fedrl.offline.counts import Counts, behaviour, count, empirical, extended, pool
from tabular_fedrl.offline.dataset import Dataset
from tabular_fedrl.offline.files import load_dataset, save_dataset
from tabular_fedrl.offline.measures import coverage, expected_return, trajectory_quality
from tabular_fedrl.offline.minari import load_minari
from tabular_fedrl.offline.simulate import draw

__all__ = [
    "Dataset", "load_dataset", "save_dataset", "load_minari", "draw",
    "Counts", "count", "pool", "empirical", "extended", "behaviour",
    "coverage", "expected_return", "trajectory_quality",
    "QUALITIES", "qualities", "mixtures", "grades",
]  # fmt: skip
