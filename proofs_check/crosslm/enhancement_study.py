"""Figures of CrossLM on records: what the clients gain from it, and what the server forgets for it."""

from __future__ import annotations

from typing import Any

import numpy as np

from proofs_check.crosslm.records import (
    CLIENTS,
    FEDERATIONS,
    PRIVATE,
    Records,
    effective,
    interval,
    records,
)
from tabular_fedrl.algorithms.crosslm import Update, filtered, tilt
from tabular_fedrl.claims import StudyData
from tabular_fedrl.measured import Array

Setting = tuple[str, Update, float, int]
"""Label, update, eta, rounds."""

ONCE: tuple[Setting, ...] = (
    ("generator as it was", "tilt", 0.0, 1),
    ("tilt, eta = 1", "tilt", 1.0, 1),
    ("tilt, eta = 3", "tilt", 3.0, 1),
    ("filter", "filter", 0.0, 1),
)
"""One round."""
WEIGHTS = np.geomspace(0.05, 20.0, 13)
STEPS = np.array([0.1, 0.3, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 10.0])
ROUNDS, SMALL, WEIGHT = 10, 0.5, 0.3
NAME = f"{CLIENTS} clients with {PRIVATE} records each, {FEDERATIONS} federations"
HEAD = (
    "update", "rounds", "w m / n", "error / local", "95 %", "by C3", "clients helped", "generator / start",
    "forgotten (KL)", "items in effect",
)  # fmt: skip


def enhancement_study(seed: int = 0) -> StudyData:
    """Errors of the clients' models against the weight of generated items, and against what was forgotten."""
    data = records(seed)
    by_weight = [
        [interval(data.relative_error(data.run(update, eta, rounds, w))) for w in WEIGHTS]
        for _, update, eta, rounds in ONCE
    ]
    paths = {
        "tilt, one round, eta from 0.1 to 10": [data.run("tilt", eta, 1, WEIGHT) for eta in STEPS],
        f"tilt, eta = {SMALL}, 1 to {ROUNDS} rounds": [
            data.run("tilt", SMALL, k, WEIGHT) for k in range(1, ROUNDS + 1)
        ],
        f"filter, 1 to {ROUNDS} rounds": [data.run("filter", 0.0, k, WEIGHT) for k in range(1, ROUNDS + 1)],
    }
    by_path = [[interval(data.relative_error(run)) for run in runs] for runs in paths.values()]
    forgotten = [[data.forgotten(run.generators[-1]).mean() for run in runs] for runs in paths.values()]
    arrays = {
        "weight": WEIGHTS,
        "labels": np.array([label for label, *_ in ONCE]),
        **_bands(by_weight, "error"),
        "paths": np.array(list(paths)),
        "forgotten": np.array(forgotten),
        **_bands(by_path, "path"),
        "name": np.array(NAME),
    }
    later: list[Setting] = [(f"tilt, eta = {SMALL}", "tilt", SMALL, k) for k in (2, 4, ROUNDS)]
    rows = [
        _row(data, setting, w)
        for setting in (*ONCE, *later, ("filter", "filter", 0.0, ROUNDS))
        for w in (0.3, 1.0)
    ]
    title = f"{NAME} (seed {seed}): squared errors of the clients' models"
    table = {"title": title, "head": HEAD, "rows": rows}
    return StudyData(arrays, {"tables": [table]})


def forgetting_study(seed: int = 0) -> StudyData:
    """What the first update forgets against what the scores gain, and what rounds add up to."""
    data = records(seed)
    score = data.run("tilt", 0.0, 1, 0.0).mean_scores[0]
    start = data.generator

    def gain(generator: Array) -> Array:
        return np.asarray(((generator - start) * score).sum(axis=-1))

    etas = np.geomspace(0.05, 20.0, 25)
    tilts, kept = [tilt(start, score, eta) for eta in etas], filtered(start, score)
    gains = np.array([gain(g).mean() for g in tilts])
    steady, strict = (data.run(update, SMALL, ROUNDS, WEIGHT) for update in ("tilt", "filter"))
    divergence = [[interval(data.forgotten(g)) for g in run.generators[1:]] for run in (steady, strict)]
    spans = np.array([(s.max(-1) - s.min(-1)).mean() for s in steady.mean_scores])
    sums = np.cumsum(steady.mean_scores, axis=0)
    paid = [((g - start) * s).sum(axis=-1).mean() for g, s in zip(steady.generators[1:], sums)]
    arrays = {
        "gain": gains,
        "tilt": np.array([data.forgotten(g).mean() for g in tilts]),
        "budget": etas * gains,
        "filter": np.array([gain(kept).mean(), *interval(data.forgotten(kept))]),
        "rounds": np.arange(1, ROUNDS + 1),
        **_bands(divergence, "divergence"),
        "paid": SMALL * np.array(paid),
        "spans": SMALL * np.cumsum(spans),
        "name": np.array(f"{NAME}; right: tilt with eta = {SMALL}"),
    }
    alike = float(np.interp(arrays["filter"][0], gains, arrays["tilt"]))
    last, most = arrays["divergence"][:, -1], arrays["spans"][-1]
    summary = {
        "first update, filter": f"KL {arrays['filter'][1]:.3f}; of a tilt that gains as much {alike:.3f}",
        f"after {ROUNDS} rounds": f"KL {last[0]:.3f} of {most:.3f} allowed (tilt), {last[1]:.3f} (filter)",
    }
    return StudyData(arrays, summary)


def _bands(table: list[list[tuple[float, float, float]]], name: str) -> dict[str, Array]:
    mean, low, high = np.moveaxis(np.array(table), -1, 0)
    return {name: mean, f"{name}_low": low, f"{name}_high": high}


def _row(data: Records, setting: Setting, weight: float) -> tuple[Any, ...]:
    label, update, eta, rounds = setting
    run = data.run(update, eta, rounds, weight)
    mean, low, high = interval(data.relative_error(run))
    own = ((run.models[0] - data.laws) ** 2).sum(axis=-1)
    helped = ((run.models[-1] - data.laws) ** 2).sum(axis=-1) < own
    generator = run.generators[-1]
    return (
        label,
        str(rounds),
        f"{weight:g}",
        f"{mean:.3f}",
        f"{low:.3f} to {high:.3f}",
        f"{data.predicted(generator, weight):.3f}",
        f"{helped.mean():.1%}",
        f"{data.distance(generator).mean() / data.distance(data.generator).mean():.3f}",
        f"{data.forgotten(generator).mean():.3f}",
        f"{effective(generator).mean():.1f}",
    )
