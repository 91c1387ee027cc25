"""Sweeps: which cells there are, and the same rows from every executor."""

from __future__ import annotations

import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from itertools import product
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tabular_fedrl.sweeps
from tabular_fedrl.algorithms import ALGORITHMS
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem, SolverFailure, TabularFedRLError
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.instances import load, save
from tabular_fedrl.loops.variants import SINGLE
from tabular_fedrl.runner import run
from tabular_fedrl.solvers import solve
from tabular_fedrl.sweeps import drive, lockstep, sweep, work
from tabular_fedrl.sweeps.axes import expand
from tabular_fedrl.sweeps.drive import ranges
from tabular_fedrl.sweeps.plan import plan

SOURCES = ("garnet:S=4,A=3,b=2,m=2,seed=0..1", "textbook:two-budgets")
WHAT = {
    "rounds": (2, 3),
    "seeds": range(2),
    "grid": {"eta": [None, 0.5], "local_steps": [1, 2], "gamma": [0.5, 0.9]},
}
CELLS = 3 * 2 * 2 * 2 * 2 * 2


def identical(a, b):
    """Column by column, bit for bit."""
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].dtype == b[name].dtype
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)
    return True


@pytest.fixture(scope="module")
def rows():
    return sweep("fednpg", SOURCES, **WHAT)


def test_rows_are_what_run_gives(rows):
    """Cell by cell against ``run``, the policies evaluated apart."""
    assert len(rows["cell"]) == CELLS
    assert set(rows["status"]) == {"ok"}
    for i in (0, 17, 43, CELLS - 1):
        problem = load(rows["source"][i])
        assert rows["digest"][i] == problem.cmdp.digest
        assert (rows["S"][i], rows["A"][i]) == problem.cmdp.r.shape
        assert (rows["m"][i], rows["agents"][i], rows["gamma"][i]) == (
            problem.cmdp.m,
            problem.N,
            problem.cmdp.gamma,
        )
        K, E, seed = (int(rows[name][i]) for name in ("rounds", "local_steps", "seed"))
        result = run(
            "fednpg", problem, K, seed=seed, local_steps=E, eta=rows["eta"][i], record="iterates"
        )  # the theory's eta is in the row
        assert rows["gap"][i] == pytest.approx(float(result.gap), abs=1e-12)
        assert 0 < rows["gap_error"][i] < 1e-10
        assert rows["violations"][i, : problem.cmdp.m] == pytest.approx(result.violations.value, abs=1e-12)
        assert rows["violation"][i] == rows["violations"][i].max()
        last = evaluate(problem.cmdp, result.iterates.log_policies[K - 1]).at_rho.value
        assert rows["last_gap"][i] == pytest.approx(float(solve(problem.cmdp).value) - last[0], abs=1e-11)
        assert rows["last_violation"][i] == pytest.approx(max(0, *(last[1:] - problem.cmdp.d)), abs=1e-11)
        assert rows["kl_last"][i] == pytest.approx(result.kl.value[-1], abs=1e-12)
        assert rows["bytes_up"][i] == result.bytes_up
        assert rows["thresholds"][i] == pytest.approx(problem.cmdp.d)


def test_rows_hold_all_combinations_in_order(rows):
    names = ("source", "rounds", "eta", "local_steps", "seed")
    given = rows["eta"] == 0.5
    seen = set(zip(*(rows[n].tolist() for n in names if n != "eta"), given.tolist(), rows["gamma"].tolist()))
    assert len(seen) == CELLS
    assert rows["cell"].tolist() == list(range(CELLS))
    # The theory's step depends on E, rounds and the problem.
    assert len(set(rows["eta"][~given])) > 6
    assert rows["source"][0] == "garnet:S=4,A=3,b=2,m=2,seed=0,gamma=0.5"


def test_compiled_loops_give_the_same_rows(rows):
    compiled = sweep("fednpg", SOURCES, backend="numba", **WHAT)
    assert compiled["status"].tolist() == rows["status"].tolist()
    for name, column in rows.items():
        if column.dtype != np.float64 or name.endswith("_error"):
            continue
        np.testing.assert_allclose(compiled[name], column, atol=1e-10, rtol=0, err_msg=name)
        radius = rows[f"{name}_error"] + compiled[f"{name}_error"] if f"{name}_error" in rows else 1e-9
        assert (np.isnan(column) | (np.abs(compiled[name] - column) <= radius + 1e-12)).all()
    # The step of theory is the same number, the run's rounding is not.
    assert not np.array_equal(compiled["gap"], rows["gap"])


BOUNDLESS = (
    "average_value",
    "gap",
    "violation",
    "local_average_value",
    "drift",
    "average_costs",
    "violations",
)


def test_lockstep_gives_the_same_averages(rows, monkeypatch):
    """In whatever company a cell runs; what it does not know is null."""
    together = sweep("fednpg", SOURCES, backend="lockstep", **WHAT)
    for name in (
        *BOUNDLESS,
        "eta",
        "eta_dual",
        "dual_cap",
        "local_average_costs",
        "optimum",
        "optimum_error",
    ):
        np.testing.assert_allclose(together[name], rows[name], atol=1e-10, rtol=0, err_msg=name)
    for name in ("source", "digest", "local_steps", "seed", "status", "cell"):
        assert together[name].tolist() == rows[name].tolist()
    for name in ("gap_error", "violations_error", "last_gap", "kl_first", "bytes_up"):
        assert np.isnan(together[name]).all()
    monkeypatch.setattr(lockstep, "CELLS", 5)
    monkeypatch.setattr(work, "SECONDS", 0.0)
    assert identical(sweep("fednpg", SOURCES, backend="lockstep", **WHAT), together)


@pytest.mark.parametrize("name", sorted(set(SINGLE) - {"fednpg"}))
def test_lockstep_takes_whatever_is_compiled(name):
    """Cell by cell what compiled runs one after another give: problems of two shapes, some with steps of
    their own, some that the theory has no steps for."""
    own = ALGORITHMS[name].parameters
    grid = {"eta": [None, 0.2], "eta_dual": [None, 0.05], "tau": [0.2], "gamma": [0.5, 0.9]}
    kept = {key: values for key, values in grid.items() if key in own or key == "gamma"}
    one, together = (
        sweep(name, SOURCES, rounds=(2, 7), seeds=range(2), grid=kept, backend=backend)
        for backend in ("numba", "lockstep")
    )
    assert (one["status"] == "ok").sum() >= len(one["status"]) / 2
    for column in (*BOUNDLESS, "local_average_costs", "optimum"):
        np.testing.assert_allclose(together[column], one[column], atol=1e-10, rtol=0, err_msg=column)
    for column in ("cell", "status", "seed", "local_steps", "eta", "eta_dual", "dual_cap"):
        np.testing.assert_array_equal(together[column], one[column], err_msg=column)


@pytest.mark.parametrize("backend", ["numba", "lockstep"])
def test_a_cell_that_fails_leaves_its_neighbours(backend):
    """What is wrong with it may come out only as it runs."""
    cases = [
        ("mirror-descent", {"theta": [20, 0.5, 30, 40]}, "steps grow by theta/(theta - 1)"),
        ("fednpg", {"dual_cap": [2, 0.1, 3, 4], "initial_multipliers": [1]}, "between 0 and the dual cap"),
        (
            "crpo",
            {"eta": [0.1, 1e308, 0.2, 0.3]},
            "policy is not finite; the steps are too large (eta = 1e+308",
        ),
    ]
    for name, grid, why in cases:
        table = sweep(name, "textbook:two-budgets", rounds=5, grid=grid, backend=backend)
        assert table["status"].tolist() == ["ok", "invalid", "ok", "ok"]
        assert why in table["message"][1]
        assert np.isfinite(table["gap"][[0, 2, 3]]).all()


class Backwards(Executor):
    """Runs the newest task first, and counts the most that were ever waiting or running."""

    def __init__(self) -> None:
        self.tasks: list = []
        self.most = self.flying = 0
        self.ready = threading.Condition()
        threading.Thread(target=self._run, daemon=True).start()

    def submit(self, fn, /, *args):
        future: Future = Future()
        with self.ready:
            self.tasks.append((future, fn, args))
            self.flying += 1
            self.most = max(self.most, self.flying)
            self.ready.notify()
        return future

    def _run(self) -> None:
        while True:
            with self.ready:
                self.ready.wait_for(lambda: self.tasks)
                future, fn, args = self.tasks.pop()
            result = fn(*args)
            with self.ready:
                self.flying -= 1
            future.set_result(result)


def test_same_rows_from_threads(rows):
    with ThreadPoolExecutor(3) as executor:
        assert identical(sweep("fednpg", SOURCES, executor=executor, **WHAT), rows)


def test_same_rows_from_processes(rows):
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        assert identical(sweep("fednpg", SOURCES, executor=executor, **WHAT), rows)


def test_same_rows_in_any_order_and_few_in_flight(rows, monkeypatch, tmp_path):
    monkeypatch.setattr(drive, "MOST_CELLS", 2)
    executor = Backwards()
    out = tmp_path / "s.arrow"
    told = []
    again = sweep(
        "fednpg", SOURCES, executor=executor, workers=3, out=out, progress=lambda *x: told.append(x), **WHAT
    )
    assert identical(again, rows)
    assert 3 <= executor.most <= 6
    assert told == [(n, CELLS) for n in range(0, CELLS + 1, 2)]


def test_tasks_out_of_time_hand_back_the_rest(rows, monkeypatch):
    monkeypatch.setattr(work, "SECONDS", 0.0)
    told = []
    assert identical(sweep("fednpg", SOURCES, progress=lambda *x: told.append(x), **WHAT), rows)
    assert told == [(n, CELLS) for n in range(CELLS + 1)]


def test_problems_as_objects_and_files(tmp_path):
    """Given as they are, with their own visible sets; a file's rows bear its name."""
    problem = load("textbook:two-budgets")
    pooled = FederatedCMDP(problem.cmdp, [[0, 1]])
    path = tmp_path / "problem.npz"
    save(path, problem)
    table = sweep("fednpg", [problem, pooled, path, "textbook:two-budgets"], rounds=3)
    assert table["source"].tolist() == ["given:0", "given:1", str(path), "textbook:two-budgets"]
    assert len(set(table["digest"])) == 1
    assert table["agents"].tolist() == [3, 1, 3, 3]
    assert len(set(table["gap"][[0, 2, 3]])) == 1
    assert table["gap"][1] != table["gap"][0]
    assert sweep("fednpg", problem.cmdp, rounds=3)["agents"].tolist() == [2]


def test_several_algorithms_and_grids():
    table = sweep(
        ["fednpg", "isolated"],
        "textbook:heterogeneous-bandit",
        rounds=4,
        grid=[{"eta": [0.1, 0.2]}, {"local_steps": [3], "dual_cap": [[1.0, 2.0], 4]}],
    )
    assert table["algorithm"].tolist() == ["fednpg", "fednpg", "isolated", "isolated"] * 2
    assert table["eta"][:4].tolist() == [0.1, 0.2, 0.1, 0.2]
    assert table["local_steps"].tolist() == [1] * 4 + [3] * 4
    # A step of several numbers has no place in its column.
    assert np.isnan(table["dual_cap"][[4, 6]]).all()
    assert (table["dual_cap"][[5, 7]] == 4).all()
    assert (table["bytes_up"][table["algorithm"] == "isolated"] == 0).all()


def test_columns_of_further_names():
    table = sweep(
        "fednpg", "textbook:heterogeneous-bandit", rounds=2, grid={"aggregation": ["arithmetic", "geometric"]}
    )
    assert table["aggregation"].tolist() == ["arithmetic", "geometric"]
    table = sweep("fednpg", "textbook:heterogeneous-bandit", rounds=2, grid={"weights": [None, [0.25, 0.75]]})
    assert table["weights"].tolist() == [None, "[0.25, 0.75]"]
    table = sweep("drpo", "textbook:three-state", rounds=2, grid={"alpha": [1, 0.5], "clients": [2, 3]})
    assert table["alpha"].tolist() == [1, 1, 0.5, 0.5]
    assert table["clients"].dtype == np.int64
    table = sweep("fednpg", "textbook:two-budgets", rounds=2, grid={"visible": ["0/1", "0+1"]})
    assert table["visible"].tolist() == ["0/1", "0+1"]
    assert table["agents"].tolist() == [2, 1]


@pytest.mark.parametrize("backend", ["numpy", "lockstep"])
def test_problems_that_fail_are_rows(backend):
    """``dual_cap`` of two numbers fits problems with two constraints only."""
    table = sweep(
        "fednpg",
        ["textbook:infeasible", "textbook:not-slater", "textbook:two-arm"],
        rounds=2,
        grid={"eta": [None, 0.1], "eta_dual": [0.1], "dual_cap": [None, 5, [5, 5]]},
        backend=backend,
    )
    expected = [*["infeasible"] * 6, *["not-slater"] * 2, *["ok"] * 8, *["invalid"] * 2]
    assert table["status"].tolist() == expected
    assert "dual_cap has shape (2,)" in table["message"][-1]
    assert "the costs are at least" in table["message"][0]
    assert np.isnan(table["gap"][table["status"] != "ok"]).all()
    assert table["eta"][[1, 3, 5]].tolist() == [0.1] * 3
    assert table["dual_cap"][2] == 5
    assert table["S"].tolist() == [1] * 18
    assert table["message"][-3] is None


@pytest.mark.parametrize("backend", ["numpy", "numba", "lockstep"])
def test_steps_that_are_too_large(backend):
    table = sweep(
        "fednpg",
        "textbook:two-budgets",
        rounds=20,
        grid={"eta": [1e308, 0.1], "dual_cap": [1e9]},
        backend=backend,
    )
    assert table["status"].tolist() == ["invalid", "ok"]
    assert "policy is not finite; the steps are too large (eta = 1e+308" in table["message"][0]


def test_solver_trouble_is_a_row_and_a_defect_is_not(monkeypatch, tmp_path):
    """The others are done, the error names the run, and resuming runs it again."""
    true = work.run

    def broken(algorithm, problem, rounds, *, seed, **settings):
        if seed == 1:
            raise ZeroDivisionError("a slip")
        if seed == 2:
            raise SolverFailure("it stopped")
        return true(algorithm, problem, rounds, seed=seed, **settings)

    words = ("fednpg", "textbook:two-arm")
    what = {"rounds": 2, "seeds": range(4), "out": tmp_path / "s.arrow"}
    monkeypatch.setattr(work, "run", broken)
    with pytest.raises(TabularFedRLError, match=r"1 of 4 runs .* fednpg on textbook:two-arm.*a slip"):
        sweep(*words, **what)
    assert tabular_fedrl.sweeps.read_sweep(what["out"])["seed"].tolist() == [0, 2, 3]
    monkeypatch.setattr(work, "run", true)
    table = sweep(*words, resume=True, **what)
    assert table["seed"].tolist() == [0, 1, 2, 3]
    assert table["status"].tolist() == ["ok", "ok", "solver", "ok"]


def test_an_executor_that_breaks(tmp_path):
    class Broken(Executor):
        def submit(self, fn, /, *args):
            future: Future = Future()
            future.set_exception(BrokenProcessPool("killed"))
            return future

    from concurrent.futures.process import BrokenProcessPool

    with pytest.raises(TabularFedRLError, match="0 of 1 cells are done, and resuming goes on"):
        sweep("fednpg", "textbook:two-arm", rounds=2, executor=Broken(), out=tmp_path / "s.arrow")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"algorithms": "fednpgg"}, "no algorithm 'fednpgg'; did you mean 'fednpg'"),
        ({"algorithms": []}, "algorithms has no values"),
        ({"sources": []}, "a sweep of 0 cells"),
        ({"sources": ["textbook:two-arm"] * 2}, "textbook:two-arm is given twice"),
        ({"sources": "textbook:two-arms"}, "no textbook example"),
        ({"sources": "no/such.npz"}, "no file 'no/such.npz'"),
        ({"sources": "garnet:S=5,seed=3..1"}, "seed=3..1 is a range of 0 values"),
        ({"sources": "garnet:S=5,seed=0..999999999"}, "make at most"),
        ({"rounds": 0}, "rounds = 0: expected whole numbers from 1 on"),
        ({"rounds": []}, "rounds has no values"),
        ({"seeds": [1, 1.5]}, "seeds = 1.5: expected whole numbers from 0 on"),
        ({"seeds": [1, 1]}, "seeds = 1 is given twice"),
        ({"grid": {"eta": 0.1}}, "grid: eta = 0.1: expected a sequence of values"),
        ({"grid": {"eta": [1, 1.0]}}, "grid: eta = 1.0 is given twice"),
        ({"grid": {"eta": [float("nan")]}}, "grid: eta = nan: expected numbers"),
        ({"grid": {"etaa": [1]}}, "no parameter of fednpg and no key of a SOURCE; did you mean 'eta'"),
        ({"grid": {"seed": [1]}}, "grid: seed is given apart"),
        ({"grid": {"wind": [1]}}, "unknown key 'wind'"),
        ({"algorithms": ["fednpg", "npg-pd"], "grid": {"local_steps": [1]}}, "npg-pd has none"),
        ({"grid": {"aggregation": ["mean"]}}, "aggregation 'mean': expected 'arithmetic' or 'geometric'"),
        ({"grid": {"local_steps": [1, 0]}}, "local_steps = 0: expected a whole number from 1 on"),
        ({"grid": {"local_steps": ["many"]}}, "local_steps = 'many' is not a number"),
        ({"grid": {"eta": [0.1, -1]}}, "eta = -1 is negative"),
        ({"grid": {"dual_cap": ["high"]}}, "dual_cap = 'high' is not a number"),
        ({"algorithms": "drpo", "backend": "lockstep"}, "drpo does not run in lockstep; these do: fednpg"),
        ({"backend": "numpyy"}, "backend 'numpyy': expected 'numpy', 'numba'"),
        ({"resume": True}, "name it with out"),
        ({"workers": 0}, "workers = 0: expected whole numbers from 1 on"),
    ],
)
def test_bad_input(change, message):
    what = {"algorithms": "fednpg", "sources": "textbook:two-arm", "rounds": 2, **change}
    with pytest.raises(InvalidProblem) as caught:
        sweep(**what)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_objects_take_no_keys():
    with pytest.raises(InvalidProblem, match="gamma changes the problem, which needs a SOURCE"):
        sweep("fednpg", load("textbook:two-arm"), grid={"gamma": [0.5]})


axis = st.lists(st.integers(0, 50), min_size=1, max_size=3, unique=True)


@settings(max_examples=25)
@given(
    axis.map(lambda xs: [x + 1 for x in xs]),
    axis,
    st.lists(st.fixed_dictionaries({"eta": axis, "gamma": axis}), min_size=1, max_size=2),
    st.sampled_from(["random-mdp:nS=2,nA=2,ncost=1", "random-mdp:nS=2,nA=2,ncost=1..2,seed=4..5"]),
)
def test_cells_are_all_combinations_once(rounds, seeds, grid, source):
    grid = [{"eta": g["eta"], "gamma": [1 / (2 + x) for x in g["gamma"]]} for g in grid]
    p = plan(["fednpg", "omniscient"], source, rounds, seeds, grid, "numpy")
    cells = [p.cell(i) for i in range(len(p))]
    assert [cell.number for cell in cells] == list(range(len(p)))
    found = [
        (c.instance.source, c.algorithm, c.rounds, c.settings["eta"], c.seed, c.instance.axes["gamma"])
        for c in cells
    ]
    wanted = [
        (f"{text},gamma={gamma}", a, k, eta, seed, gamma)
        for g in grid
        for text in expand(source)
        for gamma in g["gamma"]
        for a in ("fednpg", "omniscient")
        for k in rounds
        for eta in g["eta"]
        for seed in seeds
    ]
    assert found == wanted
    # Neither the order of names nor the kind of sequence makes another sweep; every value does.
    turned = [dict(reversed(g.items())) for g in grid]
    same = plan(("fednpg", "omniscient"), [source], np.array(rounds), tuple(seeds), turned, "numpy")
    assert same.identity == p.identity
    for other in (
        plan("fednpg", source, rounds, seeds, grid, "numpy"),
        plan(["fednpg", "omniscient"], source + ",rho=0", rounds, seeds, grid, "numpy"),
        plan(["fednpg", "omniscient"], source, [k + 1 for k in rounds], seeds, grid, "numpy"),
        plan(["fednpg", "omniscient"], source, rounds, [*seeds, 99], grid, "numpy"),
        plan(["fednpg", "omniscient"], source, rounds, seeds, [*grid, {"eta": [77]}], "numpy"),
        plan(["fednpg", "omniscient"], source, rounds, seeds, grid, "numba"),
    ):
        assert other.identity != p.identity


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 7))
def test_tasks_cover_what_is_wanted(wanted, size):
    spans = list(ranges(np.array(wanted, dtype=bool), size))
    assert all(0 < end - first <= size for first, end in spans)
    assert [i for span in spans for i in range(*span)] == np.flatnonzero(wanted).tolist()


def test_ranges_in_sources(tmp_path):
    low, high = expand("garnet:S=5..6,b=2,seed=-1..0")[::3]
    assert (low, high) == ("garnet:S=5,b=2,seed=-1", "garnet:S=6,b=2,seed=0")
    assert expand("gym:FrozenLake-v1,gamma=0.9..1") == ["gym:FrozenLake-v1,gamma=0.9..1"]
    path = tmp_path / "a,seed=0..9"
    path.write_text("")
    assert expand(str(path)) == [str(path)]
    assert len(list(product(*[range(3)] * 2))) == len(expand("garnet:S=1..3,A=1..3"))


def test_the_example_in_the_docstring():
    import doctest

    assert doctest.testmod(tabular_fedrl.sweeps).failed == 0
