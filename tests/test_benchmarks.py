"""The benchmark's harness: arithmetic of ratios and exponents, independent checks, peers that misbehave."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import linregress

import benchmarks.__main__ as command
from benchmarks import checks, machine, million
from benchmarks.bandwidth import markdown
from benchmarks.contenders import ENTRIES, Entry, behaviour, rounds
from benchmarks.contest import Limits
from benchmarks.exponents import exponent
from benchmarks.machine import facts
from benchmarks.measure import measure_row, measure_series
from benchmarks.plan import RELATIVES, Row, Series, rows, series
from benchmarks.ratios import ratio, spread
from benchmarks.results import markdown as tables
from benchmarks.results import merged, read, write
from figures import growth
from tabular_fedrl.algorithms import step_sizes, unconstrained
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import garnet, load
from tabular_fedrl.loops.variants import SINGLE
from tabular_fedrl.policies import softmax
from tabular_fedrl.solvers import optimise, solve

TINY = "garnet:S=12,A=3,b=3,m=0,seed=2,sparse=true"
TINY_CMDP = "garnet:S=12,A=3,b=3,m=2,seed=2,sparse=true"
ROUNDS = "garnet:S=4,A=3,b=2,m=2,seed=2,agents=2"
QUICK = Limits(seconds=20.0, budget=1.0, rounds=2)


def fake(name: str) -> Entry:
    return Entry(name.lower(), f"bench_methods:{name}")


# ---- arithmetic -----------------------------------------------------------------------------------------
def test_ratio_and_quartiles_by_hand():
    """Round by round the ratios are 2, 3, 4, 5, 6."""
    found = ratio([2.0, 6.0, 4.0, 10.0, 12.0], [1.0, 2.0, 1.0, 2.0, 2.0])
    assert (found.low, found.median, found.high, found.rounds) == (3.0, 4.0, 5.0, 5)


def test_a_single_time_is_compared_with_our_median():
    found = ratio([9.0], [1.0, 3.0, 100.0])
    assert (found.low, found.median, found.high, found.rounds) == (3.0, 3.0, 3.0, 1)
    assert ratio([], [1.0]) is None
    assert ratio([1.0], []) is None


def test_spread_by_hand():
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(1 / 3)


def test_exponent_of_an_exact_power():
    x = np.array([10.0, 30.0, 100.0, 1000.0])
    found = exponent(x, 3e-6 * x**1.7)
    np.testing.assert_allclose([found.value, found.low, found.high], 1.7, rtol=1e-9)
    assert found.constant == pytest.approx(3e-6)


def test_exponent_and_interval_agree_with_linear_regression_and_cover_the_truth():
    draw = np.random.default_rng(0)
    x = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])
    covered = 0
    for _ in range(400):
        t = x**1.3 * np.exp(0.1 * draw.normal(size=x.size))
        found, oracle = exponent(x, t), linregress(np.log(x), np.log(t))
        assert found.value == pytest.approx(oracle.slope)
        # 2.7764: the 97.5 % point of Student's law with 4 degrees of freedom, from a table.
        assert found.high - found.value == pytest.approx(2.7764 * oracle.stderr, rel=1e-4)
        covered += found.low <= 1.3 <= found.high
    assert 0.91 <= covered / 400 <= 0.98


@pytest.mark.parametrize("x, t", [([1, 2], [1, 2]), ([2, 2, 2], [1, 2, 3]), ([1, 2, 3], [1, 0, 2])])
def test_exponent_refuses_too_little(x, t):
    with pytest.raises(InvalidProblem, match="three sizes"):
        exponent(np.array(x), np.array(t))


# ---- checks ---------------------------------------------------------------------------------------------
def test_errors_of_values_bound_the_distance():
    cmdp = load(TINY).cmdp
    best = optimise(cmdp).values.V.value[0]
    assert checks.optimality_error(cmdp, best) < 1e-10
    assert checks.optimality_error(cmdp, best + 0.01) >= 0.01
    pi = np.exp(behaviour(cmdp))
    P = cmdp.rows.toarray().reshape(cmdp.S, cmdp.A, cmdp.S)
    kernel, gain = np.einsum("sa,sat->st", pi, P), (pi * cmdp.r).sum(axis=1)
    values = np.linalg.solve(np.eye(cmdp.S) - cmdp.gamma * kernel, gain)
    assert checks.evaluation_error(cmdp, behaviour(cmdp), values) < 1e-10
    assert checks.evaluation_error(cmdp, behaviour(cmdp), values + 0.01) >= 0.01
    found, error = checks.values_of(cmdp, pi, cmdp.r)
    assert np.abs(found - values).max() <= error + 1e-12
    assert error <= 1e-9


def test_a_constrained_answer_is_judged_by_its_own_values():
    cmdp = load(TINY_CMDP).cmdp
    solution = solve(cmdp)
    upper = checks.lagrangian_bound(cmdp, solution.multipliers)
    assert abs(upper - float(solution.value.value)) < 1e-7
    assert checks.lagrangian_bound(cmdp, solution.multipliers * 1.5) >= upper - 1e-9  # weak duality
    error = checks.constrained_error(
        cmdp, {"policy": softmax(solution.log_policy)}, solution.multipliers, upper
    )
    assert error < 1e-7
    greedy = softmax(optimise(cmdp).log_policy)  # violates, so that more reward is no merit
    assert checks.constrained_error(cmdp, {"policy": greedy}, solution.multipliers, upper) > 1e-3
    claim = {"value": upper + 0.5}
    assert checks.constrained_error(cmdp, claim, solution.multipliers, upper) == pytest.approx(0.5)


def test_an_answer_above_the_bound_discredits_the_bound():
    cmdp = load(TINY_CMDP).cmdp
    solution = solve(cmdp)
    answer = {"policy": softmax(solution.log_policy)}
    with pytest.raises(checks.WrongReference, match="above the bound"):
        checks.constrained_error(cmdp, answer, solution.multipliers, float(solution.value.lower) - 1e-3)


def test_evaluation_is_checked_where_a_krylov_method_has_nothing_to_do():
    cmdp = garnet(5, 2, 2, 0, 0, 0.0, True)
    found, error = checks.values_of(cmdp, np.full((5, 2), 0.5), cmdp.r)
    np.testing.assert_allclose(found, cmdp.r.mean(axis=1), atol=error + 1e-15)


# ---- methods that misbehave -----------------------------------------------------------------------------
def test_every_way_to_fail_is_a_row_that_says_so(monkeypatch):
    names = ("HONEST", "LIAR", "REFUSING", "DYING", "GREEDY", "ABSENT")
    for name in names:
        monkeypatch.setitem(ENTRIES, name, fake(name))
    monkeypatch.setitem(ENTRIES, "ABSENT", Entry("absent", "nowhere:X", "no_such_library"))
    entry = measure_row(Row("optimum", TINY, names, 1e-8), QUICK)
    honest, liar, refusing, dying, greedy, absent = entry["methods"]
    assert honest["accurate"] is True
    assert len(honest["seconds"]) == 2
    assert liar["accurate"] is False
    assert liar["error"] == pytest.approx(0.1, rel=1e-6)
    assert liar["ratio"]["rounds"] == 2
    assert refusing["failure"] == "failed: ValueError: no model of mine"
    assert "died (exit code 3)" in dying["failure"]
    assert "MemoryError" in greedy["failure"]
    assert absent["failure"] == "not installed"
    assert [m["ratio"] for m in (refusing, dying, greedy, absent)] == [None] * 4


def test_a_method_out_of_time_is_stopped_and_the_ratio_bounded(monkeypatch):
    for name in ("HONEST", "SLOW"):
        monkeypatch.setitem(ENTRIES, name, fake(name))
    limits = Limits(seconds=2.0, budget=1.0, rounds=1)
    honest, slow = measure_row(Row("optimum", TINY, ("HONEST", "SLOW"), 1e-8), limits)["methods"]
    assert slow["failure"] == "did not finish in 2 s"
    assert slow["at_least"] == pytest.approx(2.0 / honest["seconds"][0])


# ---- results --------------------------------------------------------------------------------------------
def method_entry(**changes):
    blank = {"method": "x", "label": "X", "seconds": [], "spread": None, "ratio": None, "at_least": None}
    return blank | {"error": None, "accurate": None, "failure": None} | changes


def row_entry(name: str, **changes):
    ours = method_entry(label="ours", seconds=[1.0], error=1e-9, accurate=True)
    return {"row": f"optimum/{name}", "job": "optimum", "problem": name, "methods": [ours]} | changes


def test_tables_show_ratios_flags_and_time_limits_and_no_bare_time(tmp_path):
    fast = {"median": 2.5, "low": 2.0, "high": 3.0, "rounds": 5}
    others = [
        method_entry(label="liar", seconds=[2.5], ratio=fast, error=0.1, accurate=False),
        method_entry(label="slow", at_least=40.0, failure="did not finish in 20 s"),
    ]
    entry = row_entry("P")
    entry["methods"] += others
    one = {"row": "growth/S/a", "title": "a", "parameter": "S", "problem": "P", "values": [1, 2, 4]}
    one |= {"seconds": [1.0, 2.0, 4.0], "failures": [], "job": "optimum"}
    one["exponent"] = {"value": 1.0, "low": 0.9, "high": 1.1, "constant": 1.0}
    path = tmp_path / "results" / "quick.json"
    write(path, {"format": 1, "rows": [entry], "series": [one]})
    text = path.with_suffix(".md").read_text()
    assert "| `P` | ours | 1 | 1.0e-09 |" in text
    assert "| liar | 2.5 (2 to 3) | 1.0e-01 ! |" in text
    assert "| slow | over 40 | – | did not finish in 20 s |" in text
    assert "1.00 (0.90 to 1.10)" in text
    assert read(path)["rows"] == [entry]


def test_the_head_names_the_commit_that_all_rows_share():
    one = {"row": "growth/S/a", "title": "a", "parameter": "S", "problem": "P", "values": [1]}
    one |= {"seconds": [1.0], "failures": [], "job": "optimum", "exponent": None}
    same = [row_entry("P", commit="abc1234"), row_entry("Q", commit="abc1234")]
    text = tables({"format": 1, "rows": same, "series": [one | {"commit": "abc1234"}]})
    assert "Commit abc1234." in text
    assert "at abc1234" not in text
    mixed = [row_entry("P", commit="abc1234"), row_entry("Q", commit="def5678"), row_entry("R")]
    mixed[0]["methods"].append(method_entry(label="theirs", error=1e-9))
    text = tables({"format": 1, "rows": mixed, "series": [one | {"commit": "def5678"}]})
    assert "Commit " not in text
    assert "| `P` | ours | 1 | 1.0e-09 | at abc1234 |" in text
    assert "|  | theirs | – | 1.0e-09 |  |" in text
    assert "| `Q` | ours | 1 | 1.0e-09 | at def5678 |" in text
    assert "| `R` | ours | 1 | 1.0e-09 |  |" in text
    assert "1 to 1 | –; at def5678 |" in text
    assert "ommit" not in tables({"format": 1, "rows": [row_entry("P")], "series": [one]})


def test_the_commit_is_that_of_the_checkout_if_there_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "machine.py"))
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert machine.commit() is None
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "a"], check=True)
    full = subprocess.run([*git, "log", "--format=%H"], check=True, capture_output=True, text=True).stdout
    assert len(machine.commit()) >= 4
    assert full.startswith(machine.commit())


def test_the_figure_of_growth_draws_the_series_that_were_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "RESULTS", tmp_path)
    assert growth.figures(tmp_path) == {}
    one = {"row": "growth/S/a", "title": "a", "parameter": "S", "problem": "P", "failures": [], "job": "a"}
    fit = {"value": 1.5, "low": 1.4, "high": 1.6, "constant": 1.0}
    long = one | {"values": [1, 4, 16], "seconds": [1.0, 8.0, 64.0], "exponent": fit}
    short = one | {"title": "b", "values": [1, 2], "seconds": [3.0, 4.0], "exponent": None}
    none = one | {"title": "c", "values": [], "seconds": [], "exponent": None}
    write(tmp_path / "full.json", {"format": 1, "rows": [], "series": [long, short, none]})
    (ax,) = growth.figures(tmp_path)["growth"].axes
    drawn = [line.get_ydata().tolist() for line in ax.lines if line.get_linestyle() == "None"]
    assert drawn == [[1.0, 8.0, 64.0], [1.0, pytest.approx(4 / 3)]]


def test_shares_of_the_bandwidth_name_the_machine():
    share = {"median": 0.5, "low": 0.25, "high": 0.75}
    row = {"states": 7, "successors": "near", "storage": "even", "sweep": "greedy", "share": share}
    row["fetching"] = share | {"median": 0.625}
    text = markdown({"machine": facts(), "read_bytes_per_second": {"1": 4e10}, "rows": [row]})
    assert "| 7 | near | even | greedy | 0.50 (0.25 to 0.75) | 0.62 (0.25 to 0.75) |" in text
    assert f"{facts()['cores']} cores" in text
    assert "40.0 GB/s on 1 thread(s)" in text


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="the most memory held is read from /proc")
def test_large_problems_are_measured_in_their_own_units():
    (row,) = million.rows(["ring"], 4000)
    assert row["solver"] == "columns"
    assert row["duality_gap"] <= 1e-8
    assert row["solve_seconds"] > row["product_seconds"] > 0
    assert row["solve_memory"] >= 1
    assert 0 < row["gap"][1] < 1e-6 < row["gap"][0]
    row |= {
        "read_bytes_per_second": {"1": 4e10, "2": 5e10},
        "product_seconds": 0.5,
        "solve_seconds": 600.0,
        "run_memory": 1.25,
        "violation": [0.5, 1e-9],
    }
    text = million.markdown({"machine": facts(), "rows": [row]})
    assert "(columns) | 1,200 |" in text
    assert "| 1.25 |" in text
    assert "| 0.5 ± 1e-09 | 40, 50 |" in text


def test_settings_tell_rows_of_one_problem_apart():
    row = Row("batch", "P", ("batch",), None, {"local_steps": 5})
    assert row.name == "batch/P local_steps=5"
    assert replace(row, settings={}).name == "batch/P"


def test_a_row_measured_again_replaces_itself_and_keeps_the_others():
    content = {"format": 1, "rows": [row_entry("P"), row_entry("Q")], "series": []}
    again = merged(content, "rows", row_entry("P", problem="new"))
    assert [row["problem"] for row in again["rows"]] == ["new", "Q"]
    assert len(merged(content, "rows", row_entry("R"))["rows"]) == 3
    assert [row["problem"] for row in content["rows"]] == ["P", "Q"]


def test_results_appear_whole_or_not_at_all(tmp_path):
    path = tmp_path / "quick.json"
    write(path, {"format": 1, "rows": [row_entry("P")], "series": []})
    before = path.read_bytes()
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(path, {"format": 1, "rows": [row_entry("P", tolerance=np.nan)], "series": []})
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["quick.json", "quick.md"]


@pytest.mark.parametrize("text", ["", "{}", '{"format": 99, "rows": [], "series": []}', "[1]"])
def test_a_foreign_results_file_is_refused(tmp_path, text):
    path = tmp_path / "quick.json"
    path.write_text(text)
    with pytest.raises(InvalidProblem, match="not a results file"):
        read(path)
    assert command.main(["--only", "optimum/*", "--out", str(path)]) == 2


# ---- plan and peers -------------------------------------------------------------------------------------
@pytest.mark.parametrize("full", [False, True])
def test_the_plan_names_known_methods_once_and_ours_first(full):
    planned = [*rows(full), *series()]
    assert len({x.name for x in planned}) == len(planned)
    for row in rows(full):
        assert set(row.methods) <= set(ENTRIES)
        assert ENTRIES[row.methods[0]].label.startswith("ours")
    assert {one.parameter for one in series()} == set("SAmNE")
    assert {one.job for one in series()} <= set(ENTRIES)


def test_every_compiled_loop_has_its_rows():
    for job in ("rounds", "batch"):
        of = {row.settings.get("algorithm", "fednpg") for row in rows(True) if row.job == job}
        assert of == {*SINGLE, "drpo"}
    assert "constrained/grid:rows=100,columns=100,A=5,b=5,m=10,seed=1,gamma=0.99" in {
        row.name for row in rows(True)
    }


@pytest.mark.parametrize("name", ["fednpg", *RELATIVES])
def test_rounds_are_timed_without_a_solver(name, monkeypatch):
    for module, solver in ((step_sizes, "solve"), (step_sizes, "value_range"), (unconstrained, "solve")):
        monkeypatch.setattr(module, solver, None)
    work = rounds.SPECIFICATION.fresh(load(ROUNDS), algorithm=name, rounds=2)
    answer = rounds.SPECIFICATION.answer(rounds.SPECIFICATION.solve(work))
    assert np.isfinite(answer["value"])


@pytest.mark.parametrize("name", ["fednpg", "npg-pd", "mirror-descent", "drpo"])
def test_one_problem_and_many_are_the_specification(name, monkeypatch):
    monkeypatch.setattr(rounds, "BATCH_SIZE", 3)
    settings = {"algorithm": name, "rounds": 7}
    spec, one, many = (
        method.answer(method.solve(method.fresh(load(ROUNDS), **settings)))
        for method in (rounds.SPECIFICATION, rounds.COMPILED, rounds.BATCH)
    )
    for answer in (one, many):
        assert np.shape(answer["costs"]) == np.shape(spec["costs"])
        assert checks.error_of("rounds", load(ROUNDS).cmdp, answer, spec) <= 1e-10


PEERS = {
    TINY: ["optimum", "quantecon-mpi", "quantecon-pi", "mdpsolver", "storm"],
    TINY_CMDP: ["constrained", "lp-highs", "lp-clarabel", "lp-scs", "storm-multi"],
}


@pytest.mark.parametrize("source, name", [(s, n) for s, names in PEERS.items() for n in names])
def test_a_peer_answers_a_small_problem_within_its_tolerance(source, name):
    pytest.importorskip(ENTRIES[name].needs)
    problem, method = load(source), ENTRIES[name].load()
    answer = method.answer(method.solve(method.fresh(problem)))
    solution = solve(problem.cmdp)
    reference = {"multipliers": solution.multipliers, "upper": float(solution.value.upper)}
    job = "optimum" if source == TINY else "constrained"
    assert checks.error_of(job, problem.cmdp, answer, reference) <= (1e-8 if job == "optimum" else 1e-5)


@pytest.mark.parametrize("name", ["evaluation", "evaluation-values", "scipy-splu", "scipy-bicgstab"])
def test_evaluations_agree(name):
    problem, method = load(TINY), ENTRIES[name].load()
    answer = method.answer(method.solve(method.fresh(problem)))
    assert checks.error_of("evaluation", problem.cmdp, answer, {}) <= 1e-8


def test_a_small_measurement_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        command, "rows", lambda full: [Row("evaluation", TINY, ("evaluation", "scipy-splu"), 1e-8)]
    )
    out = tmp_path / "results" / "tiny.json"
    arguments = ["--out", str(out), "--rounds", "2", "--budget", "1"]
    assert command.main([*arguments, "--only", "evaluation/*"]) == 0
    assert "evaluation/garnet" in capsys.readouterr().err
    (entry,) = json.loads(out.read_text())["rows"]
    assert [m["accurate"] for m in entry["methods"]] == [True, True]
    assert entry["methods"][1]["ratio"]["median"] > 0
    assert command.main([*arguments, "--only", "no-such-row"]) == 2


@pytest.mark.parametrize("commit", ["abc1234", None])
def test_the_measurement_in_full_draws_how_cost_grows_and_keeps_the_commit(tmp_path, monkeypatch, commit):
    monkeypatch.setitem(ENTRIES, "HONEST", fake("HONEST"))
    one = Series("test", "HONEST", "S", "garnet:S={x},A=2,b=2,m=0,sparse=true", (4, 8, 16))
    monkeypatch.setattr(command, "rows", lambda full: [])
    monkeypatch.setattr(command, "series", lambda: [one])
    monkeypatch.setattr(command, "commit", lambda: commit)
    out = tmp_path / "results" / "full.json"
    assert command.main(["--full", "--out", str(out), "--rounds", "1", "--budget", "1"]) == 0
    (entry,) = json.loads(out.read_text())["series"]
    assert entry.get("commit", "absent") == (commit or "absent")
    assert "<svg" in (out.parent / "growth.svg").read_text()
    assert "](growth.svg)" in out.with_suffix(".md").read_text()


def test_a_series_is_measured_and_fitted(monkeypatch):
    monkeypatch.setitem(ENTRIES, "HONEST", fake("HONEST"))
    one = Series("test", "HONEST", "S", "garnet:S={x},A=2,b=2,m=0,sparse=true", (4, 8, 16))
    said = []
    entry = measure_series(one, QUICK, said.append)
    assert entry["values"] == [4, 8, 16]
    assert entry["exponent"]["low"] <= entry["exponent"]["value"] <= entry["exponent"]["high"]
    assert len(said) == 3
