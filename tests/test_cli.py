"""The commands on good input: what they print, as tables and as JSON."""

import numpy as np
import pytest

from tabular_fedrl import __version__
from tabular_fedrl.algorithms import ALGORITHMS
from tabular_fedrl.algorithms.preference_registry import PREFERENCE_ALGORITHMS
from tabular_fedrl.cli.settings import parse_settings
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import TEXTBOOK, families, load, save
from tabular_fedrl.runner import run
from tabular_fedrl.runner.evolution import FED_SE
from tests.commandline import call, start

SOLVE_KEYS = {"status", "value", "multipliers", "costs", "slater_slack", "duality_gap"}
RUN_KEYS = {
    "average_value",
    "average_costs",
    "gap",
    "violations",
    "local_average_value",
    "final_multipliers",
    "bytes_up",
    "bytes_down",
}


def test_version(capsys):
    assert call(capsys, "--version").out == f"tabular-fedrl {__version__}\n"
    assert call(capsys, "--version", "--json").data["version"] == __version__


def test_no_command_shows_help(capsys):
    said = call(capsys)
    assert said.code == 0
    assert all(name in said.out for name in ("verify", "solve", "run", "list", "show"))


@pytest.mark.parametrize("name", [n for n, e in TEXTBOOK.items() if e.answer.value is not None])
def test_solve_textbook(capsys, name):
    """The answers by hand, through the command line."""
    said = call(capsys, "solve", f"textbook:{name}", "--json")
    answer = TEXTBOOK[name].answer
    assert said.code == 0
    assert said.data.keys() >= SOLVE_KEYS
    assert said.data["status"] == "optimal"
    assert said.data["value"] == pytest.approx(answer.value, abs=1e-7)
    if answer.multipliers is not None:
        assert said.data["multipliers"] == pytest.approx(answer.multipliers, abs=1e-6)
    assert said.data["slater_slack"] == pytest.approx(answer.slack, abs=1e-7)
    assert np.sum(said.data["policy"], axis=1) == pytest.approx(1)


def test_solve_says_what_is_proved_without_slack(capsys, monkeypatch):
    assert "feasible, strictly by next to nothing" in call(capsys, "solve", "textbook:not-slater").out
    monkeypatch.setattr("tabular_fedrl.solvers.exact.MOST_ENTRIES", 0)
    other = ("textbook:not-slater", "--solver", "clarabel")
    assert "feasibility not proved" in call(capsys, "solve", *other).out


def test_solve_without_constraints(capsys):
    said = call(capsys, "solve", "windy-cliff:ncost=0", "--json")
    assert said.code == 0
    assert said.data["slater_slack"] is None
    assert said.data["multipliers"] == said.data["costs"] == said.data["thresholds"] == []


def test_solve_names_states(capsys):
    said = call(capsys, "solve", "textbook:three-state")
    assert said.code == 0
    assert "V* = 1.25" in said.out
    assert all(name in said.out for name in ("valley", "ridge", "summit", "climb"))


def test_solve_clarabel_agrees(capsys):
    values = [
        call(capsys, "solve", "garnet", "--json", "--solver", s).data["value"] for s in ("highs", "clarabel")
    ]
    assert values[0] == pytest.approx(values[1], abs=1e-7)


def test_run_is_the_runner(capsys):
    source = "textbook:two-budgets"
    said = call(capsys, "run", "fednpg", source, "--rounds", 20, "--local-steps", 3, "--json")
    assert said.code == 0
    assert said.data.keys() >= RUN_KEYS
    direct = run("fednpg", load(source), 20, local_steps=3)
    assert said.data["average_value"] == float(direct.average_value)
    assert said.data["average_costs"] == direct.average_costs.value.tolist()
    assert said.data["gap"] == float(direct.gap)
    assert said.data["violations"] == direct.violations.value.tolist()
    assert said.data["bytes_up"] == direct.bytes_up
    multipliers = said.data["final_multipliers"]
    assert np.shape(multipliers) == (3, 2)
    assert multipliers[0][1] is None
    assert multipliers[1][0] is None
    assert None not in multipliers[2]


def test_run_options(capsys):
    words = ["--rounds", 5, "--eta", 0.1, "--eta-dual", 0.2, "--dual-cap", 3, "--aggregation", "geometric"]
    said = call(capsys, "run", "fednpg", "textbook:two-arm", *words, "--set", "weights=none", "--json")
    parameters = said.data["parameters"]
    assert (parameters["eta"], parameters["eta_dual"], parameters["dual_cap"]) == (0.1, 0.2, 3)
    assert parameters["aggregation"] == "geometric"
    assert (said.data["rounds"], said.data["local_steps"], said.data["seed"]) == (5, 1, 0)


def test_run_defaults(capsys):
    said = call(capsys, "run", "npg-pd", "textbook:two-arm", "--json")
    assert (said.data["rounds"], said.data["local_steps"], said.data["seed"]) == (1000, 1, 0)


def test_run_without_slater_takes_a_cap(capsys):
    said = call(capsys, "run", "fednpg", "textbook:not-slater", "--dual-cap", 2, "--rounds", 3, "--json")
    assert said.code == 0
    assert call(capsys, "solve", "textbook:not-slater", "--json").data["slater_slack"] == 0


def test_run_out_and_resume(capsys, tmp_path):
    words = ("run", "fednpg", "textbook:two-arm", "--rounds", 30, "--json", "--out", tmp_path / "run.npz")
    first = call(capsys, *words)
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]
    again = call(capsys, *words, "--resume")
    assert (first.code, first.data) == (again.code, again.data)
    with np.load(tmp_path / "run.npz", allow_pickle=False) as file:
        assert file.files


def test_run_compiled(capsys):
    words = ["run", "fednpg", "textbook:two-budgets", "--rounds", 20, "--json"]
    said = call(capsys, *words, "--backend", "numba", "--every", 7)
    plain = call(capsys, *words)
    assert (said.code, said.data["backend"], plain.data["backend"]) == (0, "numba", "numpy")
    assert said.data["gap"] == pytest.approx(plain.data["gap"], abs=1e-10)
    assert said.data["ledger"] == plain.data["ledger"]
    refused = call(capsys, "run", "crpo", "ring:S=300", "--backend", "numba")
    assert refused.code == 2
    assert "backend 'numba' cannot run crpo" in refused.err
    for wrong in (["--backend", "fortran"], ["--every", 0]):
        assert call(capsys, *words, *wrong).code == 2


def test_run_on_a_terminal_or_not_says_the_same(capsys):
    said = call(capsys, "run", "fednpg", "textbook:two-budgets", "--rounds", 5)
    assert "average value" in said.out
    assert "violation" in said.out
    assert "\x1b" not in said.out


def test_list(capsys):
    said = call(capsys, "list", "--json")
    assert {a["name"] for a in said.data["algorithms"]} == {*ALGORITHMS, *PREFERENCE_ALGORITHMS, FED_SE}
    names = {i["name"] for i in said.data["instances"]}
    assert names >= {*families, *(f"textbook:{n}" for n in TEXTBOOK), "gym:Taxi-v4"}
    assert all(t["mark"] in ("paper", "code", "ours", "recalled") for t in said.data["theorems"])
    only = call(capsys, "list", "instances", "--json")
    assert set(only.data) == {"status", "instances"}
    assert "windy-cliff" in call(capsys, "list", "instances").out


def test_show_problem(capsys, tmp_path):
    said = call(capsys, "show", "gym:FrozenLake-v1", "--json")
    assert (said.data["states"], said.data["actions"], said.data["gamma"]) == (16, 4, 0.99)
    assert any("halfway" in note for note in said.data["notes"])
    path = tmp_path / "problem.npz"
    save(path, load("textbook:two-budgets"))
    said = call(capsys, "show", path, "--json")
    assert said.data["visible"] == [[0], [1], [0, 1]]
    # Resting always is free.
    assert said.data["least_costs"] == pytest.approx([0, 0], abs=1e-12)
    assert "agent 2" in call(capsys, "show", path).out


def test_show_theorem(capsys):
    said = call(capsys, "show", "lemmas.performance-difference", "--json")
    assert said.data["mark"] == "recalled"
    assert [c["name"] for c in said.data["claims"]] == ["difference"]
    assert "difference" in call(capsys, "show", "lemmas.performance-difference").out


def test_flags_before_the_command(capsys):
    assert call(capsys, "--json", "solve", "textbook:two-arm").data["status"] == "optimal"
    assert call(capsys, "--quiet", "solve", "textbook:two-arm").out == "0.5\n"


def test_no_color(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in call(capsys, "list", "algorithms").out


def test_settings():
    read = parse_settings(["a=1", "b-c=0.5", "d=1/4", "e=true", "f=none", "g=1e+3+2", "h=geometric", "i=1+x"])
    assert read == {
        "a": 1, "b_c": 0.5, "d": 0.25, "e": True, "f": None, "g": [1000.0, 2.0], "h": "geometric", "i": "1+x",
    }  # fmt: skip
    for bad in (["a"], ["=1"], ["a b=1"], ["a=1", "a=2"]):
        with pytest.raises(InvalidProblem):
            parse_settings(bad)


def test_a_reader_that_leaves(tmp_path):
    """``tabular-fedrl list | true``: no traceback, and no success claimed."""
    process = start("list", "instances")
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == ""
    process.stderr.close()
