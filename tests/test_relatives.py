"""``compare``: curves of several algorithms, their guarantees, the figure and bad input."""

import numpy as np
import pytest

from tabular_fedrl.algorithms.unit_form import unit_form
from tabular_fedrl.claims import verify
from tabular_fedrl.claims.discovery import theorems
from tabular_fedrl.claims.relatives import Contender, guarantees, relatives
from tabular_fedrl.cli.compare import contender
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load
from tabular_fedrl.plots import PLOTS, save
from tabular_fedrl.runner import run
from tests.commandline import call

THEOREMS = theorems()


def test_curves_are_the_runs():
    problem = load("random-mdp:seed=1")
    names = ["fednpg:local_steps=3", "pmd-pd", "isolated"]
    data = relatives([contender(x) for x in names], problem, 40).arrays
    at = data["rounds"].astype(int)
    assert at[0] == 1
    assert at[-1] == 40
    result = run("fednpg", problem, 40, local_steps=3)
    for k, t in enumerate(at):
        mean = result.value.value[:t].mean()
        assert data["gap"][0, 0, k] == pytest.approx(float(result.solution.value.value) - mean, abs=1e-12)
        costs = result.costs.value[:t].mean(axis=0) - problem.cmdp.d
        assert data["violation"][0, 0, k] == pytest.approx(max(costs.max(), 0.0), abs=1e-12)
        assert data["violation"][0, 1, k] == pytest.approx(
            max((result.costs.value[t - 1] - problem.cmdp.d).max(), 0.0), abs=1e-12
        )
    assert data["bytes"][0, -1] == result.bytes_up + result.bytes_down > 0
    assert (data["bytes"][1:] == 0).all()
    assert list(data["labels"]) == names


def test_guarantees_are_right_sides_of_theorems():
    problem = load("textbook:heterogeneous-bandit")
    promised = guarantees(Contender("fednpg", "fednpg", {}), problem, 100)
    assert promised["gap"][1] == "fednpg.f1"
    result = run("fednpg", problem, 100)
    assert float(result.gap.value) < promised["gap"][0]
    assert guarantees(Contender("fednpg", "fednpg", {"initial_multipliers": 0.1}), problem, 100) == {}
    assert guarantees(Contender("isolated", "isolated", {}), problem, 100) == {}


def test_averages_are_those_of_the_theory():
    """CRPO's over the steps along the reward, PMD-PD's without the start."""
    problem = load("textbook:three-state")
    data = relatives([contender(x) for x in ("crpo:tolerance=0", "pmd-pd")], problem, 60).arrays
    best = float(run("crpo", problem, 1).solution.value.value)
    rectified, proximal = run("crpo", problem, 60, tolerance=0.0), run("pmd-pd", problem, 61)
    after = np.concatenate([rectified.multipliers[1:, 0, 0], rectified.final_multipliers])
    up = after.sum(axis=1) == 0
    assert 0 < up.sum() < 60
    assert data["gap"][0, 0, -1] == pytest.approx(best - rectified.value.value[up].mean(), abs=1e-12)
    assert data["gap"][1, 0, -1] == pytest.approx(best - proximal.value.value[1:].mean(), abs=1e-12)
    assert data["gap"][1, 1, -1] == pytest.approx(best - proximal.value.value[60], abs=1e-12)


def test_guarantees_are_in_the_units_of_the_problem():
    """Theorems about rewards in [0, 1] promise 20 times as much where the reward is 20."""
    problem = load("textbook:scaled-arms")
    unit = unit_form(problem)
    assert unit.scale == 20
    one = Contender("npg-pd", "npg-pd", {})
    given, rescaled = guarantees(one, problem, 50), guarantees(one, unit.problem, 50)
    assert given["gap"][0] == pytest.approx(20 * rescaled["gap"][0])
    assert given["violation"][0] == pytest.approx(unit.cost_scales[0] * rescaled["violation"][0])
    # The least of what theorems promise.
    published = THEOREMS["npg-pd.published"]
    loose = {v.claim: v.rhs for v in verify(published, unit.problem, rounds=50)}
    assert all(rescaled[claim][0] <= loose[claim] for claim in rescaled)
    assert rescaled["gap"][1] == "fednpg.f2"


def test_the_figure_has_a_panel_for_bytes_only_where_something_is_sent(tmp_path):
    problem = load("textbook:two-arm")
    for names, panels in ((["npg-pd", "crpo"], 4), (["npg-pd", "fednpg"], 6)):
        study = relatives([contender(x) for x in names], problem, 20)
        figure = PLOTS["relatives"](study.arrays)
        assert len(figure.axes) == panels
        save(figure, tmp_path / "a.svg")
        save(PLOTS["relatives"](study.arrays), tmp_path / "b.svg")
        assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    with pytest.raises(InvalidProblem, match="at most 7"):
        PLOTS["relatives"]({**study.arrays, "labels": np.array(["x"] * 8)})


def test_command(capsys, tmp_path):
    words = ("compare", "npg-pd", "fednpg:local_steps=2", "--on", "textbook:two-arm", "--rounds", 30)
    said = call(capsys, *words, "--out", tmp_path / "c.svg", "--json")
    assert said.code == 0
    assert [row["algorithm"] for row in said.data["algorithms"]] == ["npg-pd", "fednpg:local_steps=2"]
    assert len(said.data["slopes"]) == 8
    assert (tmp_path / "c.svg").read_text().startswith("<?xml")
    shown = call(capsys, *words, "--out", tmp_path / "c.pdf")
    assert "gap, averaged" in shown.out


@pytest.mark.parametrize(
    "words, message",
    [
        (("npg", "--on", "textbook:two-arm"), "npg works on another problem"),
        (("crpo", "crpo", "--on", "textbook:two-arm"), "named twice"),
        (("crpo", "--on", "textbook:two-arm", "--out", "x.png"), "must end in .svg or .pdf"),
        (("crpo", "--on", "textbook:two-arm", "--out", "nowhere/x.svg"), "its folder does not exist"),
        (("nonsense", "--on", "textbook:two-arm"), "no algorithm 'nonsense'"),
        (("crpo:tolerance", "--on", "textbook:two-arm"), "expected KEY=VALUE"),
        (("crpo",), "--on"),
    ],
)
def test_bad_input(capsys, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    said = call(capsys, "compare", *words)
    assert said.code == 2
    assert message in said.err
    assert said.err.strip().count("\n") == 0
    assert not list(tmp_path.iterdir())
