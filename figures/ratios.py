"""The largest lhs/rhs of every inequality, a figure for each subject."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from figures.data import results
from tabular_fedrl.plots import PLOTS

SUBJECTS = {
    "fednpg": ("lemmas", "fednpg"),
    "drpo": ("drpo",),
    "others": ("related", "npg-pd", "rates"),
    "systems": ("rlhf", "fed-se", "crosslm"),
}
"""Figures, and what the ids of their theorems begin with."""


def figures(report: Path) -> dict[str, Figure]:
    """The figures by file name; none of a subject that the report does not cover."""
    rows = [row for row in results(report)["summary"] if row["role"] == "claim" and row["ratio"]]
    drawn = {}
    for subject, prefixes in SUBJECTS.items():
        chosen = [row for row in rows if row["theorem"].split(".")[0] in prefixes]
        if chosen:
            data = {
                "labels": np.array([f"{row['theorem']}: {row['claim']}" for row in chosen]),
                "ratio": np.array([row["ratio"] for row in chosen]),
            }
            drawn[f"ratios-{subject}"] = PLOTS["ratios"](data)
    return drawn
