"""Curves of the rates: every row of the atlas has one, it lies below its bound, and fits find known rates."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

from figures.rates import CURVES
from tabular_fedrl.claims import theorems
from tabular_fedrl.claims.curves import Curve, Panel, linear_study, power_study, profile_study
from tabular_fedrl.claims.slopes import factor, slope
from tabular_fedrl.claims.verdict import Mark
from tabular_fedrl.measured import Measured
from tabular_fedrl.plots import PLOTS

PANEL = Panel("a problem", "gap (units of value)")


def above(arrays) -> set[str]:
    """The curves that exceed their bound somewhere."""
    over = arrays["measured"] > arrays["bound"] * (1 + 1e-9)
    return {str(label) for label, row in zip(arrays["labels"], over) if row.any()}


def test_every_row_of_the_atlas_has_a_curve():
    rows = {name for name in theorems() if name.startswith("rates.")} | {"npg-pd.published"}
    assert {theorem for theorem, _ in CURVES.values()} == rows


@pytest.mark.parametrize("name", sorted(CURVES))
def test_a_curve_lies_below_its_bound_and_is_drawn(name):
    theorem, plot = theorems()[CURVES[name][0]], CURVES[name][1]
    (part,) = (s for s in theorem.studies() if s.name == "curve")
    assert part.plot == plot
    study = part.function(theorem())
    arrays = study.arrays
    assert f"(mark: {theorem.mark})" in str(arrays["name"])
    assert theorem.mark is not Mark.RECALLED or "*recalled*" in (inspect.getdoc(part.function) or "")
    # Averaged from k = 0 PMD-PD's bound is false, and the figure shows it.
    assert above(arrays) == ({"three-state, eta=0.01"} if name == "pmd-pd" else set())
    shown = np.isfinite(arrays["measured"])
    assert shown.any()
    if plot != "profile":
        assert (arrays["error"][shown] <= 0.01 * np.abs(arrays["measured"][shown])).all()
        assert np.isfinite(arrays["fit"]).all(axis=1).any()
        assert len(study.summary["tables"][0]["rows"]) == shown.any(axis=1).sum()
    figure = PLOTS[plot](arrays)
    figure.draw_without_rendering()
    assert len(figure.axes) == len(set(arrays["panel"]))


def test_a_bound_that_is_too_small_shows():
    x = np.array([1.0, 2.0, 3.0])
    curve = Curve(PANEL, "c", x, Measured(1 / x), Measured(np.array([2.0, 0.4, 1.0])))
    assert above(power_study("n", "ours", "T", [curve]).arrays) == {"c"}


def test_known_rates_are_found():
    """By hand: 3/sqrt T, and 5 times 0.9 to the t; the fitted lines run through the points."""
    T, t = np.geomspace(10, 1000, 9), np.arange(20.0)
    power = power_study("n", "ours", "T", [Curve(PANEL, "c", T, Measured(3 / np.sqrt(T)))])
    linear = linear_study("n", "ours", "t", [Curve(PANEL, "c", t, Measured(5 * 0.9**t))])
    for study, number in ((power, -0.5), (linear, 0.9)):
        np.testing.assert_allclose(study.arrays["fit"][0, 0], number, rtol=1e-12)
        # Residuals are rounding, and so is the interval: its root.
        np.testing.assert_allclose(study.arrays["fit"], number, rtol=1e-7)
        line, y = study.arrays["fitted"], study.arrays["measured"]
        fitted = np.isfinite(line)
        assert 0 < fitted.sum() < y.size
        np.testing.assert_allclose(line[fitted], y[fitted], rtol=1e-12)
    assert not np.isfinite(power.arrays["fitted"][0, T < 100]).any()
    assert not np.isfinite(linear.arrays["fitted"][0, t < 9.5]).any()


def test_the_interval_of_a_factor_covers_it_about_as_often_as_it_says():
    rng, t = np.random.default_rng(0), np.arange(40.0)
    fits = [factor(t, 0.8**t * np.exp(rng.normal(size=40))) for _ in range(400)]
    covered = np.mean([fit["low"] <= 0.8 <= fit["high"] for fit in fits])
    assert 0.91 < covered < 0.98


@pytest.mark.parametrize(("fit", "name"), [(slope, "slope"), (factor, "factor")])
def test_nothing_is_fitted_to_two_points_or_to_what_is_not_positive(fit, name):
    T = np.array([1.0, 2.0, 3.0])
    assert fit(T, np.array([1.0, 0.5, -0.1])) == {name: None, "reason": "n/a: zero or negative"}
    assert fit(T[:2], np.array([1.0, 0.5]))[name] is None


def test_rounding_is_left_out_and_what_is_negative_stays():
    x = np.arange(1.0, 5.0)
    y = Measured(np.array([1.0, 1e-3, -0.5, 1e-9]), np.array([1e-6, 1e-4, 1e-6, 1e-12]))
    shown = power_study("n", "ours", "T", [Curve(PANEL, "c", x, y)]).arrays["measured"]
    np.testing.assert_array_equal(shown, [[1.0, np.nan, -0.5, 1e-9]])
    profile = profile_study("n", "ours", "T", [Curve(PANEL, "c", x, y)])
    np.testing.assert_array_equal(profile.arrays["measured"], [y.value])
    assert not profile.summary


def test_curves_of_different_length_and_bounds_alone_share_a_table():
    x = np.arange(1.0, 5.0)
    curves = [
        Curve(PANEL, "long", x, Measured(1 / x), Measured(2 / x)),
        Curve(PANEL, "short", x[:2], Measured(1 / x[:2])),
        Curve(PANEL, "bound", x, None, Measured(3 / x)),
    ]
    study = power_study("n", "recalled", "T", curves)
    assert study.arrays["x"].shape == study.arrays["measured"].shape == (3, 4)
    assert np.isnan(study.arrays["measured"][1, 2:]).all()
    assert np.isnan(study.arrays["measured"][2]).all()
    rows = study.summary["tables"][0]["rows"]
    assert [row[0] for row in rows] == ["a problem; long", "a problem; short"]
    assert [row[-1] for row in rows] == ["0.5", "–"]
