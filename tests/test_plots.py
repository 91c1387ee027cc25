"""Plots: everything drawn lies on the page, whatever the data lack; the same data give the same bytes."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.plots import PLOTS, logarithmic, save

T = np.array([100.0, 1000.0, 10000.0])


def data() -> dict[str, dict[str, np.ndarray]]:
    """Well-behaved data for every plot, with names as long as sources are."""
    E = np.array([1, 10, 100, 1000])
    angle = np.linspace(0, 2 * np.pi, 30)
    return {
        "convergence": {
            "T": T,
            "gap": np.array([[3.0, 1.0, 0.2], [2.0, 0.7, 0.3]]),
            "violation": np.array([[0.3, 0.0, -0.1], [0.4, 0.1, 0.02]]),
            "gap_bound": 900 / np.sqrt(T),
            "violation_bound": 400 / np.sqrt(T),
            "trivial": np.array([10.0, 20.0]),
            "name": np.array("random-mdp:seed=1,gamma=0.5,agents=4"),
        },
        "local_steps": {
            "E": E,
            "violation": np.array([[0.001, 0.01, 0.09, 0.3], [0.0, 0.008, 0.06, 0.2]]),
            "gap": np.array([[0.02, 0.0, -0.1, -0.3], [0.02, 0.01, -0.05, -0.2]]),
            "gap_fixed_rounds": np.array([[0.1, 0.11, 0.12, 0.12], [0.1, 0.1, 0.1, 0.1]]),
            "name": np.array("textbook:heterogeneous-bandit"),
        },
        "plane": {
            "region": np.stack([5 + 5 * np.cos(angle), 5 * np.sin(angle)], axis=1),
            "threshold": np.array(4.0),
            "optimum": np.array([4.0, 4.9]),
            "path_small": np.array([[6.0, 0.0], [5.0, 3.0], [4.1, 4.7]]),
            "label_small": np.array("E = 1"),
            "path_large": np.array([[6.0, 0.0], [7.0, 2.0]]),
            "label_large": np.array("E = 1000"),
        },
        "transfer": {
            "heterogeneity": np.array([0.0, 0.5, 1.0]),
            "labels": np.array(["factors", "by successes", "products", "weighted", "cut", "cut, weighted"]),
            "loss": np.array([[0.0, 0.05, 0.2]] * 6),
            "low": np.array([[-0.01, 0.02, 0.1]] * 6),
            "high": np.array([[0.01, 0.08, 0.3]] * 6),
            "saved": np.array([[0.0, 0.01, 0.02]] * 6),
            "saved_low": np.array([[0.0, -0.01, 0.01]] * 6),
            "saved_high": np.array([[0.0, 0.02, 0.03]] * 6),
            "conflict": np.array([1.0, 0.3, 0.0]),
            "ranks": np.array(["rank 1", "rank 2"]),
            "harmed": np.array([[0.0, 0.1, 0.2], [0.0, 0.0, 0.1]]),
            "harmed_low": np.array([[0.0, 0.02, 0.1], [0.0, 0.0, 0.02]]),
            "harmed_high": np.array([[0.1, 0.3, 0.4], [0.1, 0.1, 0.3]]),
        },
        "evolution": {
            "labels": np.array(["exact", "40 episodes a round", "exact, no filter", "no filter"]),
            "value": np.linspace(0.1, 0.4, 36).reshape(4, 9),
            "low": np.linspace(0.09, 0.38, 36).reshape(4, 9),
            "high": np.linspace(0.12, 0.45, 36).reshape(4, 9),
            "ranks": np.array(["1", "2", "full"]),
            "rank_labels": np.array(["alone, 0.25", "together, 0.25", "alone, 1", "together, 1"]),
            "by_rank": np.linspace(0.2, 0.5, 12).reshape(4, 3),
        },
        "drift": {
            "rounds": np.arange(5),
            "drift": np.array([[0.01, 0.02, 0.03, 0.02, 0.01], [0.1, 0.2, 0.3, 0.2, 0.1]]),
            "E": np.array([2, 20]),
            "bound": np.array([0.5, 5.0]),
        },
        "slack": {
            "labels": np.array(["left side", "weak duality", "drift of the local policies", "uniform start"]),
            "values": np.array([[0.1, 0.1, 0.4, 1.0], [-2.0, -1.0, 3.0, 5.0], [0.0, 1.0, 0.9999999, 2.0]]),
            "names": np.array(["textbook:two-arm", "garnet:S=50,A=4,b=5,m=3,seed=1, E=10, geometric", "c"]),
        },
        "ratios": {
            "labels": np.array(
                ["fednpg.heterogeneous-duals: own_constraint", "fednpg.l1: step", "f1: gap", "z"]
            ),
            "ratio": np.array([0.02, 0.9, 1.3, 1.0 + 1e-12]),
        },
        "looseness": {
            "names": np.array(["gap", "local_gap", "violation"]),
            "axes": np.array(["gamma", "m", "N", "local_steps"]),
            "values_gamma": np.array([0.0, 0.5, 0.95]),
            "ratio_gamma": np.array([[0.4, 0.3, 0.1], [0.4, 0.4, 0.2], [0.3, -0.1, 0.01]]),
            "values_m": np.array([1, 2]),
            "ratio_m": np.array([[0.4, 0.3], [0.4, 0.35], [0.2, 0.1]]),
            "values_N": np.array([1, 2, 5]),
            "ratio_N": np.array([[0.4, 0.2, 0.1], [0.4, 0.3, 0.2], [0.9, 1.1, 0.8]]),
            "values_local_steps": np.array([1, 10]),
            "ratio_local_steps": np.array([[0.4, 0.5], [0.4, 0.8], [0.2, 0.2]]),
            "name": np.array("fednpg.f1 on cmdp:S=1..2,A=2..3,m=1,N=1,gamma=0..0.95"),
        },
        "improvement": {
            "labels": np.array(["both regularisers", "towards the data alone", "none"]),
            "value": np.array([[1.0, 2.0, 2.5], [1.0, 2.2, 2.1], [1.0, 3.0, 1.5]]),
            "low": np.array([[1.0, 1.8, 2.2], [1.0, 1.9, 1.7], [1.0, 2.0, 0.5]]),
            "high": np.array([[1.0, 2.1, 2.7], [1.0, 2.5, 2.3], [1.0, 3.3, 2.5]]),
            "typical": np.array([[1.0, 0.5], [1.2, -0.1], [2.0, -1.5]]),
            "worst": np.array([[0.8, 0.001], [0.9, -0.3], [1.0, -2.5]]),
        },
        "comparison": {
            "names": np.array(["gym:FrozenLake8x8-v1", "gym:Taxi-v4"]),
            "labels": np.array(["DRPO, R-step, behaviour only", "pooled data (oracle)", "SPIBB"]),
            "proposed": np.array([1, 0, 0]),
            "lacking": np.array(
                [[[1.0, 0.5], [1.0, 0.01], [1.0, 1.2]], [[1.0, 0.3], [1.0, 0.0], [1.0, 0.1]]]
            ),
            "name": np.array("10 clients"),
        },
        "false_certificates": {
            "delta": np.array([0.01, 0.1, 0.5]),
            "rate": np.array([[0.0, 0.001, 0.02], [0.2, 0.4, 0.9]]),
            "low": np.array([[0.0, 0.0004, 0.01], [0.18, 0.37, 0.88]]),
            "high": np.array([[0.0005, 0.002, 0.03], [0.22, 0.43, 0.92]]),
            "names": np.array(["some guarantee, with half of the sampling term", "outside the event"]),
            "records": np.array([100.0, 1e4, 1e6]),
            "certified": np.array([[0.0, 0.5, 1.0], [0.0, 0.0, 0.9]]),
            "certificates": np.array(["D1", "D2 in counts"]),
            "name": np.array("textbook:three-state, trajectories of 10000 transitions"),
        },
        "balance_map": {
            "names": np.array(["two arms, one client", "garnet:S=30,A=4,b=4,seed=3, three clients"]),
            "alpha": np.array([0.01, 0.1, 1.0, 10.0]),
            "beta": np.array([0.01, 1.0, 100.0]),
            "gain": np.array([np.outer([1.0, 0.1, 0.01], [3.0, 1.0, -1.0, -9.0]), np.full((3, 4), 0.2)]),
            "critical": np.array([0.4, np.nan]),
            "fine": np.array([0.01, 0.05, 0.3, 5.0]),
            "assured": np.array([[1.0, 2.0, 30.0, np.nan], [0.5, -0.2, 0.3, 40.0]]),
            "name": np.array("one round"),
        },
        "heterogeneity": {
            "spread": np.array([0.0, 0.5, 1.0]),
            "between": np.array([0.0, 0.1, 0.4]),
            "to_server": np.array([0.2, 0.2, 0.1]),
            "labels": np.array(["A1, arithmetic", "A2, geometric", "A3, episodes"]),
            "gain": np.array([[0.3, 0.2, 0.1], [0.3, 0.4, 0.9], [0.3, 0.25, 0.2]]),
            "alpha": np.array([0.01, 0.1, 1.0, 10.0]),
            "beta": np.array([0.01, 1.0, 100.0]),
            "map": np.array([np.outer([1.0, 0.1, 0.01], [3.0, 1.0, -1.0, x]) for x in (-9.0, 1.0, -2.0)]),
            "critical": np.array([0.4, 0.6, np.nan]),
            "at": np.array([0.0, 0.5, 1.0]),
            "name": np.array("garnet:S=30,A=4,b=4,seed=3; above: alpha = 0.5, beta = 0.25"),
        },
        "drift_scaling": {
            "tau": np.array([1.0, 10.0, 100.0]),
            "fixed": np.array([1e-2, 1e-4, 1e-6]),
            "tied": np.array([0.005, 0.01, 0.0]),
            "fixed_bound": np.array([4.0, 0.04, 4e-4]),
            "tied_bound": np.array([3.0, 3.0, 3.0]),
            "second": np.array(0.01),
            "limit": np.array(0.01),
            "name": np.array("garnet:S=30,A=4,b=4,seed=3, three clients, exact critics"),
        },
        "ablations": {
            "statements": np.array(["large weight: the drift falls by the square (D3)", "E2"]),
            "settings": np.array(["both", "server only (alpha = 0)", "data only (beta = 0)"]),
            "share": np.array([[1.0, 0.998, 0.0], [0.6, 0.004, np.nan]]),
            "name": np.array("60 random rounds"),
        },
        "enhancement": {
            "weight": np.array([0.1, 1.0, 10.0]),
            "labels": np.array(["generator as it was", "tilt, eta = 1"]),
            "error": np.array([[0.9, 0.6, 1.2], [0.9, 0.5, 0.8]]),
            "error_low": np.array([[0.88, 0.57, 1.1], [0.89, 0.45, 0.7]]),
            "error_high": np.array([[0.92, 0.63, 1.3], [0.91, 0.55, 0.9]]),
            "paths": np.array(["tilt, one round, eta from 0.1 to 10", "filter, 1 to 10 rounds"]),
            "forgotten": np.array([[0.0, 0.1, 0.4], [0.6, 1.5, 2.5]]),
            "path": np.array([[0.7, 0.7, 0.9], [0.75, 1.2, 2.0]]),
            "path_low": np.array([[0.65, 0.68, 0.8], [0.7, 1.1, 1.9]]),
            "path_high": np.array([[0.75, 0.72, 1.0], [0.8, 1.3, 2.1]]),
            "name": np.array("5 clients with 30 records each"),
        },
        "forgetting": {
            "gain": np.array([0.01, 0.1, 0.4]),
            "tilt": np.array([1e-3, 0.1, 1.0]),
            "budget": np.array([2e-3, 0.2, 4.0]),
            "filter": np.array([0.2, 0.6, 0.5, 0.7]),
            "rounds": np.array([1.0, 2.0, 3.0]),
            "divergence": np.array([[0.01, 0.03, 0.07], [0.6, 1.1, 1.5]]),
            "divergence_low": np.array([[0.01, 0.02, 0.06], [0.5, 1.0, 1.4]]),
            "divergence_high": np.array([[0.01, 0.04, 0.08], [0.7, 1.2, 1.6]]),
            "paid": np.array([0.02, 0.06, 0.15]),
            "spans": np.array([0.4, 0.8, 1.2]),
            "name": np.array("5 clients with 30 records each; right: tilt with eta = 0.5"),
        },
        "growth": {
            "parameter": np.array(["S", "S", "A", "m", "N", "E"]),
            "work": np.array(["optimum, garnet", "optimum, ring", *["FedNPG rounds, dense"] * 4]),
            "size": np.array([[1e3, 1e4, 1e5], [1e3, 1e4, np.nan], *[[1.0, 2.0, 4.0]] * 4]),
            "cost": np.array([[1e-3, 1e-2, 0.2], [1e-3, 3e-2, np.nan], *[[0.1, 0.2, 0.5]] * 4]),
            "exponent": np.array([[1.15, 0.9, 1.4], [np.nan] * 3, *[[1.16, 1.0, 1.3]] * 4]),
            "name": np.array("two cores"),
        },
        "relatives": {
            "labels": np.array(["fednpg:local_steps=5,aggregation=geometric", "pmd-pd"]),
            "rounds": np.array([1.0, 10.0, 100.0]),
            "bytes": np.array([[1e2, 1e3, 1e4], [0.0, 0.0, 0.0]]),
            "gap": np.array([[[1.0, 0.5, 0.1], [1.0, 0.3, -0.2]], [[2.0, 0.2, 0.02], [1.0, 0.1, 1e-4]]]),
            "violation": np.array([[[0.4, 0.1, 0.0], [0.4, 0.0, 0.0]], [[0.2, 0.1, 0.01], [0.3, 0.1, 0.0]]]),
            "bounds": np.array([[5.0, 0.5], [np.nan, np.nan]]),
            "slopes": np.array([[[[-0.5, -0.6, -0.4]] * 2, [[np.nan] * 3] * 2]] * 2),
            "name": np.array("windy-cliff:ncost=2"),
        },
        **{plot: rates(plot) for plot in ("power_rate", "linear_rate", "profile", "log_profile")},
    }


def rates(plot: str) -> dict[str, np.ndarray]:
    """Two panels, one with a curve that ends early and a bound of its own."""
    x = np.array([1.0, 10.0, 100.0])
    return {
        "panel": np.array(["random-mdp:seed=1,nS=1,nA=200,gamma=0", "violation", "violation"]),
        "ylabel": np.array(["gap (units of value)", *["$f_j$ (units of value)"] * 2]),
        "labels": np.array(["textbook:heterogeneous-bandit", "eta=0.1", "4 in place of 7"]),
        "xlabel": np.array(["rounds T"]),
        "x": np.tile(x, (3, 1)),
        "measured": np.array([[0.9, 0.1, np.nan], [0.5, -0.1, 0.01], [np.nan] * 3]),
        "bound": np.stack([2 / x, 3 / x, 4 / x]),
        "fitted": np.array([[0.9, 0.09, np.nan], [np.nan] * 3, [np.nan] * 3]),
        "fit": np.array([[-1.0, -1.1, -0.9], [np.nan] * 3, [np.nan] * 3]),
        "name": np.array(f"{plot} (mark: recalled)"),
    }


def spoilt(value: float) -> dict[str, dict[str, np.ndarray]]:
    """The same with every number replaced, except the ones an axis needs."""
    keep = ("T", "E", "rounds", "region", "threshold", "optimum", "delta", "records", "alpha", "beta", "tau")
    return {
        plot: {
            key: np.full(x.shape, value) if x.dtype.kind == "f" and key not in keep else x
            for key, x in fields.items()
        }
        for plot, fields in data().items()
    }


def assert_inside(figure) -> None:
    """Nothing is drawn beyond the page: the tight bounding box lies in the figure, up to half a pixel."""
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    box, half = figure.get_tightbbox(), 0.5 / figure.dpi
    assert min(box.x0, box.y0) >= -half
    assert box.x1 <= width + half
    assert box.y1 <= height + half


def test_the_samples_cover_every_plot():
    assert set(data()) == set(PLOTS)


@pytest.mark.parametrize("plot", sorted(PLOTS))
def test_nothing_is_clipped_and_the_page_is_used(plot):
    figure = PLOTS[plot](data()[plot])
    assert_inside(figure)
    width, height = figure.get_size_inches()
    assert width in (3.4, 7.0)
    box = figure.get_tightbbox()
    assert box.width > 0.9 * width
    assert box.height > 0.9 * height


@pytest.mark.parametrize("plot", sorted(PLOTS))
def test_axes_carry_labels_with_units(plot):
    for ax in PLOTS[plot](data()[plot]).axes:
        labels = ax.get_xlabel() + ax.get_ylabel()
        assert labels
        assert any(unit in labels for unit in ("value", "probability", "fraction", "dimensionless", "nats"))


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf, 1e-300])
@pytest.mark.parametrize("plot", sorted(PLOTS))
def test_zero_negative_or_missing_numbers_are_drawn(plot, value):
    assert_inside(PLOTS[plot](spoilt(value)[plot]))


@pytest.mark.parametrize("plot", sorted(PLOTS))
def test_one_missing_number_is_left_out(plot):
    fields = data()[plot]
    for key, x in fields.items():
        if x.dtype.kind == "f" and x.ndim == 2:
            hole = x.copy()
            hole[-1, -1] = np.nan
            assert_inside(PLOTS[plot](fields | {key: hole}))


@pytest.mark.parametrize("plot", sorted(PLOTS))
def test_what_is_wrong_with_the_data_is_named(plot):
    fields = data()[plot]
    for key, x in fields.items():
        if key in ("name", "label_small", "label_large"):
            continue
        with pytest.raises(InvalidProblem, match=f"lacks '{key}'"):
            PLOTS[plot]({k: v for k, v in fields.items() if k != key})
        with pytest.raises(InvalidProblem, match="has shape"):
            PLOTS[plot](fields | {key: np.zeros((1, 2, 3))})
        if x.dtype.kind == "f":
            with pytest.raises(InvalidProblem, match=f"'{key}' holds .*, not numbers"):
                PLOTS[plot](fields | {key: np.full(x.shape, "text")})


def test_positive_parts_that_vanish_stand_at_the_bottom_edge_and_in_the_legend():
    fields = data()["convergence"]
    figure = PLOTS["convergence"](fields | {"gap": np.array([[1.0, 0.5, -0.3]])})
    ax = figure.axes[0]
    marked = [line for line in ax.lines if line.get_marker() == "v"]
    assert [line.get_xdata().tolist() for line in marked] == [[10000.0]]
    assert marked[0].get_transform() == ax.get_xaxis_transform()
    assert "zero or negative" in [t.get_text() for t in figure.legends[0].get_texts()]


def test_the_convergence_guide_has_slope_minus_one_half():
    ax = PLOTS["convergence"](data()["convergence"]).axes[0]
    (guide,) = (line for line in ax.lines if line.get_linestyle() == ":")
    x, y = np.log(guide.get_xdata()), np.log(guide.get_ydata())
    np.testing.assert_allclose(np.diff(y) / np.diff(x), -0.5, rtol=1e-12)


def test_slack_bars_end_at_the_bound():
    """By hand: the second chain is (-2, -1, 3, 5)/5, so its segments begin at -.4, -.2, .6."""
    ax = PLOTS["slack"](data()["slack"]).axes[0]
    second = [p for p in ax.patches if abs(p.get_y() + p.get_height() / 2 - 1) < 1e-9]
    ends = [(p.get_x(), p.get_x() + p.get_width()) for p in second]
    np.testing.assert_allclose(ends, [(0, 0), (-0.4, -0.2), (-0.2, 0.6), (0.6, 1.0)], atol=1e-12)


def test_a_ratio_that_differs_from_one_by_rounding_is_no_failure():
    ax = PLOTS["ratios"](data()["ratios"]).axes[0]
    (failing,) = (line for line in ax.lines if line.get_marker() == "X")
    assert failing.get_xdata().tolist() == [1.3]


def test_the_line_of_gain_zero_lies_between_the_signs():
    """By hand: the gain is 1 at alpha = 0.1 and -1 at 1, so the contour is at the mean, 0.55."""
    ax = PLOTS["balance_map"](data()["balance_map"]).axes[0]
    (lines,) = (c for c in ax.collections if type(c).__name__ == "QuadContourSet")
    places = np.concatenate([path.vertices for path in lines.get_paths()])
    np.testing.assert_allclose(places[:, 0], 0.55, rtol=1e-12)


def test_colours_of_a_map_are_symmetric_about_zero():
    figure = PLOTS["heterogeneity"](data()["heterogeneity"])
    norms = {id(c.norm): c.norm for ax in figure.axes for c in ax.collections if hasattr(c, "cmap")}
    limits = {(norm.vmin, norm.vmax) for norm in norms.values() if norm.vmax != norm.vmin}
    assert (-9.0, 9.0) in limits


def test_a_share_is_rounded_to_all_or_none_only_if_it_is():
    texts = [t.get_text() for t in PLOTS["ablations"](data()["ablations"]).axes[0].texts]
    assert texts == ["100 %", "> 99 %", "0 %", "60 %", "< 1 %", "n/a"]


def test_paths_that_fill_little_of_the_region_are_enlarged():
    fields = data()["plane"]
    assert len(PLOTS["plane"](fields).axes) == 2
    far = {"path_small": np.array([[0.5, -4.0], [9.0, 1.0]])}
    assert len(PLOTS["plane"](fields | far).axes) == 1


@given(arrays(np.float64, (3, 4), elements=st.floats(allow_nan=True, allow_infinity=False, width=32)))
def test_logarithmic_limits_hold_every_number_that_is_not_rounding(x):
    low, high = logarithmic.limits(x)
    assert 0 < low < high < np.inf
    positive = x[x > 0]
    if positive.size:
        shown = positive[positive > positive.max() * 1e-12]
        assert low < shown.min()
        assert shown.max() < high
        assert high / low >= 10


@settings(max_examples=15)
@given(arrays(np.float64, (2, 3), elements=st.floats(-1e30, 1e30) | st.just(np.nan)))
def test_convergence_draws_any_numbers(gap):
    assert_inside(PLOTS["convergence"](data()["convergence"] | {"gap": gap}))


def test_the_users_settings_neither_matter_nor_change(tmp_path):
    drawn = []
    for size, family in ((8, "serif"), (31, "monospace")):
        with mpl.rc_context({"font.size": size, "font.family": family, "axes.grid": size > 8}):
            before = dict(mpl.rcParams)
            path = tmp_path / f"{size}.svg"
            save(PLOTS["drift"](data()["drift"]), path)
            assert dict(mpl.rcParams) == before
            drawn.append(path.read_bytes())
    assert drawn[0] == drawn[1]


def test_saving_twice_gives_the_same_bytes_in_every_process(tmp_path):
    """All plots, both formats, under three hash seeds, one of them this process's."""
    here = draw_all(tmp_path)
    script = "import sys, pathlib, test_plots\nprint(test_plots.draw_all(pathlib.Path(sys.argv[1])))"
    for seed in ("1", "2"):
        environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": os.path.dirname(__file__)}
        folder = tmp_path / seed
        folder.mkdir()
        command = [sys.executable, "-c", script, folder]
        told = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
        assert told.stdout.strip() == here


def draw_all(folder) -> str:
    """A digest of all plots in both formats; each figure is saved twice, to the same bytes."""
    digest = hashlib.sha256()
    for plot, fields in data().items():
        for suffix in ("svg", "pdf"):
            figure = PLOTS[plot](fields)
            first, second = folder / f"{plot}.{suffix}", folder / f"again.{suffix}"
            save(figure, first)
            save(figure, second)
            assert first.read_bytes() == second.read_bytes(), plot
            digest.update(first.read_bytes())
    return digest.hexdigest()


def test_files_carry_their_fonts_and_no_date(tmp_path):
    for suffix in ("svg", "pdf"):
        save(PLOTS["drift"](data()["drift"]), tmp_path / f"a.{suffix}")
    svg = (tmp_path / "a.svg").read_text()
    assert "<text" not in svg
    assert "dc:date" not in svg
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert b"/FontFile2" in pdf
    assert b"STIX" in pdf
    assert b"CreationDate" not in pdf


@pytest.mark.parametrize("name", ["a.png", "a", "nowhere/a.svg"])
def test_a_name_that_cannot_be_written_is_refused_and_nothing_is_left(tmp_path, name):
    with pytest.raises(InvalidProblem, match=r"cannot (draw|write)"):
        save(PLOTS["drift"](data()["drift"]), tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_failed_drawing_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.svg"
    path.write_text("old")
    figure = PLOTS["drift"](data()["drift"])
    figure.axes[0].set_title("$\\nosuchmacro$")
    with pytest.raises(ValueError, match="nosuchmacro"):
        save(figure, path)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.svg"]


def test_no_pyplot():
    """A figure is a value: drawing leaves no global state, and needs no display."""
    script = "import sys, tabular_fedrl.plots\nsys.exit('matplotlib.pyplot' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_a_rate_stands_beside_its_bound_with_its_fit():
    """By hand: the first panel's curve ends at 10, its bound at 100; the second shows a point below zero at
    the edge, and a bound without a curve in the legend."""
    figure = PLOTS["power_rate"](data()["power_rate"])
    first, second = figure.axes
    solid, dashed, dotted = (
        [line for line in first.lines if line.get_linestyle() == style] for style in ("-", "--", ":")
    )
    assert np.isnan(solid[0].get_ydata()).tolist() == [False, False, True]
    np.testing.assert_allclose(dashed[0].get_ydata(), [2.0, 0.2, 0.02])
    assert np.isnan(dotted[0].get_ydata()).tolist() == [False, False, True]
    legends = [[t.get_text() for t in ax.get_legend().get_texts()] for ax in (first, second)]
    minus = "\N{MINUS SIGN}"
    assert legends[0] == [f"textbook:heterogeneous-bandit: slope {minus}1.00 ({minus}1.10 to {minus}0.90)"]
    assert legends[1] == ["eta=0.1", "4 in place of 7"]
    edge = [line.get_xdata().tolist() for line in second.lines if line.get_marker() == "v"]
    assert edge[0] == [10.0]
    assert "zero or negative" in [t.get_text() for t in figure.legends[0].get_texts()]


@pytest.mark.parametrize(
    ("plot", "scales"),
    [
        ("power_rate", ("log", "log")),
        ("linear_rate", ("linear", "log")),
        ("profile", ("linear", "linear")),
        ("log_profile", ("log", "log")),
    ],
)
def test_scales_of_the_rates(plot, scales):
    ax = PLOTS[plot](data()[plot]).axes[0]
    assert (ax.get_xscale(), ax.get_yscale()) == scales


def test_too_many_curves_in_a_panel_are_refused():
    fields = data()["power_rate"]
    many = {k: np.concatenate([v] * 4) if k not in ("name", "xlabel") else v for k, v in fields.items()}
    with pytest.raises(InvalidProblem, match="at most 7"):
        PLOTS["power_rate"](many)


def test_a_fitted_power_is_drawn_with_its_slope_through_the_points():
    """By hand: cost = 2 size^1.5, as a multiple of the first cost."""
    size = np.array([[1.0, 4.0, 16.0]])
    fields = {
        "parameter": np.array(["S"]),
        "work": np.array(["anything"]),
        "size": size,
        "cost": 2 * size**1.5,
        "exponent": np.array([[1.5, 1.4, 1.6]]),
    }
    ax = PLOTS["growth"](fields).axes[0]
    (points,) = (line for line in ax.lines if line.get_linestyle() == "None")
    np.testing.assert_allclose(points.get_ydata(), [1.0, 8.0, 64.0])
    (fit,) = (line for line in ax.lines if line.get_linestyle() == "-")
    np.testing.assert_allclose(fit.get_xdata(), [1.0, 16.0])
    np.testing.assert_allclose(fit.get_ydata(), [1.0, 64.0])
    assert [t.get_text() for t in ax.texts] == ["1.50 (1.40 to 1.60)"]
