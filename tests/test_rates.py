"""Slopes against T: the bounds' own, and a measured one on a kept instance; bounds that say something."""

from __future__ import annotations

import numpy as np
import pytest

from proofs_check.fednpg.f1 import F1
from proofs_check.fednpg.f2 import F2
from proofs_check.fednpg.l3 import DriftBound
from proofs_check.rates.decentralised_entropy import DecentralisedEntropy
from tabular_fedrl.claims import Case
from tabular_fedrl.claims.check import check_case
from tabular_fedrl.claims.slopes import slope


@pytest.fixture(scope="module")
def bandit():
    study = next(s for s in F1.studies() if s.name == "convergence_bandit")
    return study.function(F1())


def test_gap_of_the_kept_instance_falls_at_the_announced_rate(bandit):
    fitted = {s["curve"]: s for s in bandit.summary["slopes"]}
    assert fitted["gap"]["high"] <= -0.45
    assert fitted["violation"] == fitted["violation"] | {"slope": None, "reason": "n/a: zero or negative"}


def drawn(theorem):
    (study,) = theorem.studies()
    return study.function(theorem()).arrays


def test_the_drift_is_a_part_of_its_bound_as_the_figure_says():
    figure = drawn(DriftBound)
    share = figure["drift"].max(axis=1) / figure["bound"]
    assert (share > 0.25).all()
    assert (share < 0.6).all()
    assert (np.diff(share) < 0).all()


def test_graphs_differ_no_more_than_the_figure_says():
    figure = drawn(DecentralisedEntropy)
    for problem in np.unique(figure["panel"]):
        curves = figure["measured"][figure["panel"] == problem]
        assert (curves.max(axis=0) < 1.25 * curves.min(axis=0)).all()


def test_bounds_have_slope_minus_one_half(bandit):
    T = bandit.arrays["T"]
    for curve in ("gap_bound", "violation_bound"):
        assert slope(T, bandit.arrays[curve])["slope"] == pytest.approx(-0.5, abs=1e-9)


def test_bounds_lie_above_the_curves(bandit):
    assert (bandit.arrays["gap"] < bandit.arrays["gap_bound"]).all()
    assert (bandit.arrays["violation"] < bandit.arrays["violation_bound"]).all()


@pytest.mark.parametrize(
    ("theorem", "case"),
    [
        (F1, Case("textbook:two-arm", rounds=2000)),
        (F1, Case("textbook:heterogeneous-bandit", rounds=20000, dual_cap=0.2)),
        (F2, Case("textbook:two-arm", rounds=2000)),
        (F2, Case("textbook:running-b", rounds=2000)),
    ],
)
def test_bounds_are_not_vacuous_where_the_suite_says_so(theorem, case):
    verdicts = {v.claim: v for v in check_case(theorem, case)}
    for claim in ("gap", "violation"):
        assert verdicts[claim].status == "holds"
        assert verdicts[claim].vacuous is False


def test_with_tuned_steps_the_bound_is_vacuous_at_discount_nine_tenths():
    verdict = next(v for v in check_case(F1, Case("windy-cliff:ncost=2")) if v.claim == "gap")
    assert verdict.vacuous is True


@pytest.mark.parametrize("power", [-0.5, -1.0, 0.3])
def test_slope_recovers_a_power_law(power):
    T = np.geomspace(10, 10000, 13)
    fit = slope(T, np.stack([2 * T**power, 5 * T**power]))
    # five points of the last decade from each of two curves: their levels differ and widen the interval
    assert fit["points"] == 10
    assert fit["low"] <= power <= fit["high"]


def test_slope_of_something_not_positive_is_not_a_number():
    T = np.geomspace(10, 1000, 9)
    assert slope(T, np.where(T > 500, 0.0, 1 / T)) == {"slope": None, "reason": "n/a: zero or negative"}
    assert slope(T[:2], 1 / T[:2])["slope"] is None
