"""FedNPG and its relatives on sparse problems: the compiled loop against the algorithms."""

from __future__ import annotations

import ctypes
import os
import sys
import tracemalloc
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tabular_fedrl import methods
from tabular_fedrl.cmdp import federated
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load
from tabular_fedrl.kernels import band
from tabular_fedrl.kernels.memory import make_room
from tabular_fedrl.kernels.threads import CHUNK
from tabular_fedrl.policies import random_log_policy
from tabular_fedrl.runner import run
from tabular_fedrl.runner.measure import Comparator
from tabular_fedrl.solvers import solve
from tests.exact import ExactValues, policy, rational

ROUNDS = 12
STEPS = {"eta": 0.02, "eta_dual": 0.03, "dual_cap": [5.0, 6.0], "initial_multipliers": 0.2}
CASES = [
    ("fednpg", {}),
    ("fednpg", {"local_steps": 3, "weights": [0.3, 0.7]}),
    ("fednpg", {"local_steps": 2, "weights": [0.3, 0.7], "aggregation": "geometric"}),
    ("npg-pd", {}),
    ("omniscient", {"local_steps": 3}),
    ("isolated", {"local_steps": 2}),
    ("sequential-shared", {"local_steps": 2}),
    ("round-dual", {"local_steps": 3}),
    ("fedpg", {"local_steps": 2}),
    ("regularised-fednpg", {"tau": 0.3, "weights": [0.3, 0.7]}),
]
PLAIN = ("multipliers", "final_multipliers", "drift", "final_log_policy")
ENCLOSED = ("value", "costs", "local_value", "local_costs", "kl", "kl_local_end")
AVERAGES = ("average_value", "average_costs", "gap", "violations", "local_average_value")


@pytest.fixture(scope="module", params=["ring", "garnet"])
def problem(request):
    rest = {"ring": "S=600,A=5,b=5,m=2,gamma=0.95", "garnet": "S=500,A=5,b=4,m=2,sparse=true,gamma=0.95"}
    return federated(load(f"{request.param}:{rest[request.param]}"))


def parameters(algorithm, more):
    steps = {k: v for k, v in STEPS.items() if algorithm != "regularised-fednpg" or k != "eta_dual"}
    return {**steps, **more}


def differences(a, b):
    """The largest differences of everything two runs measured, relative to its size where that is above 1."""
    out = {}
    for name in PLAIN:
        x, y = getattr(a, name), getattr(b, name)
        assert (np.isnan(x) == np.isnan(y)).all()
        out[name] = np.nanmax(np.abs(x - y)) / max(1.0, np.nanmax(np.abs(x)))
    for name in (*ENCLOSED, *AVERAGES):
        x, y = getattr(a, name), getattr(b, name)
        out[name] = np.abs(x.value - y.value).max() / max(1.0, np.abs(x.value).max())
    return out


@pytest.mark.parametrize("algorithm, more", CASES)
def test_the_loop_is_the_algorithm(problem, algorithm, more):
    given = parameters(algorithm, more)
    a = run(algorithm, problem, ROUNDS, **given)
    b = run(algorithm, problem, ROUNDS, backend="numba", **given)
    far = differences(a, b)
    assert max(far.values()) < 1e-10, far
    for name in (*ENCLOSED, *AVERAGES):
        x, y = getattr(a, name), getattr(b, name)
        assert (np.abs(x.value - y.value) <= x.error + y.error).all(), name
        assert (y.error < 1e-8).all(), name
    assert a.ledger.to_dict() == b.ledger.to_dict()


@pytest.mark.parametrize("elimination", [300, 0.0])
@pytest.mark.parametrize("source", ["ring:S=8,A=2,b=2,m=1", "garnet:S=9,A=2,b=3,m=1,sparse=true"])
def test_values_found_from_a_warm_start_are_enclosed_in_exact_arithmetic(source, elimination, monkeypatch):
    """The policy after K rounds is the last one of K, and the next to last of K + 1; its values lie inside
    what was recorded, and those of the policy before outside."""
    monkeypatch.setattr(methods, "ELIMINATION", elimination)
    problem = federated(load(f"{source},gamma=0.99"))
    steps = {"eta": 0.02, "eta_dual": 0.03, "dual_cap": 5.0, "local_steps": 2, "compare": False}
    runs = [run("fednpg", problem, K, backend="numba", **steps) for K in (1, 2, 3)]
    before = None
    for K, (shorter, longer) in enumerate(pairwise(runs), 1):
        exact = ExactValues(problem.cmdp, policy(shorter.final_log_policy)).at_rho
        found = [longer.value[K], longer.costs[K, 0]]
        for x, true in zip(found, exact, strict=True):
            assert abs(rational(float(x.value)) - true) <= rational(float(x.error))
            assert float(x.error) < 1e-9
        if before is not None:
            assert abs(rational(float(found[0].value)) - before) > rational(1e3 * float(found[0].error))
        before = exact[0]


@pytest.mark.parametrize(
    "change", [{"weights": [0.7, 0.3]}, {"aggregation": "geometric"}, {"local_steps": 2}, {"eta": 0.0201}]
)
def test_another_iteration_is_told_apart(problem, change):
    given = parameters("fednpg", {"local_steps": 3, "weights": [0.3, 0.7]})
    a = run("fednpg", problem, ROUNDS, **given)
    b = run("fednpg", problem, ROUNDS, backend="numba", **{**given, **change})
    assert np.abs(a.final_log_policy - b.final_log_policy).max() > 1e-6
    assert np.abs(a.average_value.value - b.average_value.value) > 1e-6


def test_signals_evaluated_one_after_the_other_are_the_same(problem, monkeypatch):
    given = parameters("fednpg", {"local_steps": 3, "backend": "numba"})
    runs = []
    for room in (1, 1 << 20):
        monkeypatch.setattr(methods, "SIDE_BY_SIDE", room)
        runs.append(run("fednpg", problem, 4, **given))
    far = differences(*runs)
    assert max(far.values()) < 1e-10, far


def test_fewer_recorded_rounds_have_the_same_averages(problem):
    given = parameters("fednpg", {"local_steps": 2})
    a = run("fednpg", problem, ROUNDS, backend="numba", **given)
    b = run("fednpg", problem, ROUNDS, backend="numba", every=5, **given)
    assert b.recorded.tolist() == [0, 5, 10, 11]
    assert (b.value.value == a.value.value[b.recorded]).all()
    assert (b.kl.value == a.kl.value[[*b.recorded, ROUNDS]]).all()
    assert abs(b.gap.value - a.gap.value) < 1e-12


def test_the_threads_change_nothing(monkeypatch):
    problem = federated(load(f"ring:S={9 * CHUNK},A=3,b=3,m=1"))
    runs = []
    monkeypatch.setattr("tabular_fedrl.kernels.threads.ENOUGH", 2)
    for threads in (1, 2):
        monkeypatch.setattr("numba.get_num_threads", lambda threads=threads: threads)
        runs.append(
            run("fednpg", problem, 3, backend="numba", compare=False, eta=0.1, eta_dual=0.1, dual_cap=9.0)
        )
    one, two = runs
    assert (one.final_log_policy == two.final_log_policy).all()
    assert (one.value.value == two.value.value).all()
    assert (one.value.error == two.value.error).all()


@pytest.mark.parametrize("algorithm", ["fednpg", "isolated"])
def test_an_interrupted_run_goes_on_bit_for_bit(problem, tmp_path, monkeypatch, algorithm):
    given = parameters(algorithm, {"local_steps": 2, "backend": "numba"})
    whole = run(algorithm, problem, ROUNDS, out=tmp_path / "whole.npz", **given)
    monkeypatch.setattr("tabular_fedrl.runner.engine_large.ENTRIES", 5 * 2 * 2 * 5 * problem.cmdp.S)

    def stop(done, _):
        if done >= 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(algorithm, problem, ROUNDS, out=tmp_path / "cut.npz", progress=stop, **given)
    rest = run(algorithm, problem, ROUNDS, out=tmp_path / "cut.npz", resume=True, **given)
    assert (whole.final_log_policy == rest.final_log_policy).all()
    assert (whole.value.value == rest.value.value).all()
    assert (whole.kl.value == rest.kl.value).all()


def test_absurd_steps_are_refused_with_the_round(problem):
    for backend in ("numpy", "numba"):
        with pytest.raises(InvalidProblem, match=r"round [01]: a policy is not finite"):
            run("fednpg", problem, 5, backend=backend, **{**STEPS, "eta": 1e307})


def test_it_says_what_it_cannot_do(problem):
    with pytest.raises(InvalidProblem, match="keeps no policies"):
        run("fednpg", problem, 2, backend="numba", record="iterates", **STEPS)


@pytest.mark.parametrize(
    "family, local_steps, most", [("garnet", 1, 0.4), ("garnet", 2, 0.45), ("ring", 2, 0.5)]
)
def test_no_table_too_many(monkeypatch, family, local_steps, most):
    """Everything but the problem, its optimum included, in half the problem's own memory (NumPy's arrays;
    compiled kernels allocate only blocks), and no room for one table more."""
    # As much side by side as with a million states.
    for module, name in ((methods, "SIDE_BY_SIDE"), (methods, "SMALL_FACTOR"), (band, "BLOCK")):
        monkeypatch.setattr(module, name, int(getattr(module, name)) // 20)
    source = family + ":S={},A=5,b=5,m=2,gamma=0.9" + (",sparse=true" if family == "garnet" else "")
    twin, problem = (federated(load(source.format(50_000))) for _ in range(2))
    # Whatever has to be compiled first takes memory too.
    run("fednpg", twin, 3, backend="numba", local_steps=local_steps)
    x = problem.cmdp
    own = sum(a.nbytes for a in (x.P.data, x.P.indices, x.P.indptr, x.r, x.c, x.d, x.rho))
    tracemalloc.start()
    try:
        solution = solve(x)
        tracemalloc.reset_peak()
        run("fednpg", problem, 3, backend="numba", solution=solution, local_steps=local_steps)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most * own - x.r.nbytes < peak <= most * own


def resident():
    """Bytes of this process that lie in memory."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_freed_arrays_go_back_to_the_system_before_a_table_that_needs_it():
    if sys.platform != "linux" or not hasattr(ctypes.CDLL(None), "malloc_trim"):
        pytest.skip("the C library here cannot")
    arrays = [np.ones(12_000) for _ in range(1000)]
    del arrays[::2]
    held = resident()
    make_room(1 << 20)
    assert resident() > held - (10 << 20)
    make_room(1 << 26)
    assert resident() < held - (40 << 20)


def test_a_divergence_in_blocks_of_states_is_the_same(problem, monkeypatch):
    rng = np.random.default_rng(0)
    S, A = problem.cmdp.S, problem.cmdp.A
    comparator = Comparator(problem.cmdp, random_log_policy(rng, S, A))
    log_q = random_log_policy(rng, S, A)[None]
    whole = comparator.kl(log_q)
    monkeypatch.setattr("tabular_fedrl.runner.measure.ROWS", 97)
    parts = comparator.kl(log_q)
    assert whole.value == parts.value
    assert whole.error == parts.error
