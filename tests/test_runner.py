"""What a run measures, how it is interrupted and resumed, and what it refuses."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
from test_algorithms import FREE
from test_federation import random_problem

from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate, visitation
from tabular_fedrl.policies import kl
from tabular_fedrl.runner import Run, drive, engine_numpy, run
from tabular_fedrl.solvers import solve

STEPS = {"eta": 0.3, "eta_dual": 0.1, "dual_cap": 3.0}
NATURAL = ["fednpg", "npg-pd", "isolated", "omniscient", "sequential-shared"]


def options(name: str) -> dict:
    return STEPS if name == "npg-pd" else {**STEPS, "local_steps": 3}


@pytest.fixture(params=NATURAL)
def result(request) -> Run:
    return run(request.param, random_problem(), 7, record="iterates", **options(request.param))


def test_metrics_are_those_of_the_recorded_policies(result):
    cmdp, K, N, E = result.problem.cmdp, 7, result.problem.N, result.local_steps
    pibar, local = result.iterates.log_policies, result.iterates.local
    assert local.shape == (K, N, E + 1, cmdp.S, cmdp.A)
    shared = result.algorithm != "isolated"
    mean = (lambda x: x) if shared else (lambda x: x.mean(axis=1))
    values = mean(evaluate(cmdp, pibar[:-1]).at_rho.value)
    assert result.value.value == pytest.approx(values[:, 0])
    assert result.costs.value == pytest.approx(values[:, 1:])
    values = evaluate(cmdp, local[:, :, :-1]).at_rho.value
    assert result.local_value.value == pytest.approx(values[..., 0])
    assert result.local_costs.value == pytest.approx(values[..., 1:])
    solution = solve(cmdp)
    d = visitation(cmdp, solution.log_policy).value
    assert result.kl.value == pytest.approx(mean(kl(solution.log_policy, pibar) @ d))
    assert result.kl_local_end.value == pytest.approx(kl(solution.log_policy, local[:, :, -1]) @ d)
    start = pibar[:-1, None] if shared else pibar[:-1]
    moved = np.abs(np.exp(local[:, :, -1]) - np.exp(start)).sum(axis=-1)
    assert result.drift == pytest.approx(moved.max(axis=(1, 2)))
    assert result.gap.value == pytest.approx(float(solution.value.value) - result.value.value.mean())
    assert result.violations.value == pytest.approx(np.maximum(result.costs.value.mean(axis=0) - cmdp.d, 0))
    assert np.array_equal(result.final_log_policy, pibar[-1])
    for j in range(cmdp.m):
        observers = [i for i in range(N) if j in result.problem.visible[i]]
        assert result.local_average_costs.value[j] == pytest.approx(
            result.local_costs.value[:, observers, :, j].mean()
        )
        unseen = [i for i in range(N) if i not in observers]
        assert np.isnan(result.multipliers[:, unseen, :, j]).all()
        assert not np.isnan(result.multipliers[:, observers, :, j]).any()


def test_log_normaliser_closes_the_one_step_identity(result):
    """L1: E_{d*}[KL(pi*||pi') - KL(pi*||pi)] = -eta (V_f(pi*) - V_f(pi)) + E_{d*} log Z, for every local
    step."""
    cmdp, eta = result.problem.cmdp, result.parameters["eta"]
    solution = result.solution
    d = visitation(cmdp, solution.log_policy).value
    distance = kl(solution.log_policy, result.iterates.local) @ d
    best = evaluate(cmdp, solution.log_policy).at_rho.value
    lam = np.nan_to_num(result.multipliers)
    factor = 1.0 if result.algorithm == "isolated" else 1 / result.problem.N
    gained = factor * (best[0] - result.local_value.value)
    gained -= (lam * (best[1:] - result.local_costs.value)).sum(axis=-1)
    missed = np.diff(distance, axis=2) + eta * gained - result.log_normaliser.value
    assert np.abs(missed).max() < 1e-10
    assert result.log_normaliser.error.max() < 1e-10
    assert (result.log_normaliser.value >= 0).all()


def test_summary_is_strict_json(result):
    text = json.dumps(result.to_dict(), allow_nan=False)
    data = json.loads(text)
    wanted = (
        "average_value average_costs gap violations local_average_value final_multipliers bytes_up bytes_down"
    )
    assert set(wanted.split()) <= set(data)
    seen = [[x is not None for x in row] for row in data["final_multipliers"]]
    assert seen == result.problem.mask.tolist()


def test_averages_leave_the_last_policy_out():
    result = run("fednpg", random_problem(), 1, **STEPS, compare=False)
    uniform_value = evaluate(random_problem().cmdp, np.zeros((4, 3))).at_rho.value[0]
    assert result.average_value.value == pytest.approx(uniform_value)
    assert result.solution is None
    assert result.kl is None
    assert result.to_dict()["gap"] is None
    with pytest.raises(InvalidProblem, match="compare"):
        _ = result.gap


def test_a_comparator_can_be_given():
    problem = random_problem()
    other = solve(problem.cmdp, "clarabel")
    assert run("fednpg", problem, 2, solution=other).solution is other


def test_plain_cmdp_means_one_agent_per_constraint():
    cmdp = random_problem().cmdp
    assert run("fednpg", cmdp, 2, **STEPS).problem == FederatedCMDP(cmdp)
    assert run("npg-pd", cmdp, 2, **STEPS).problem.visible == ((0, 1, 2),)


def identical(a: Run, b: Run) -> bool:
    names = ("multipliers", "final_multipliers", "drift", "transitions", "final_log_policy")
    tracks = ("value", "costs", "local_value", "local_costs", "kl", "kl_local_end", "log_normaliser")
    pairs = [(getattr(a, n), getattr(b, n)) for n in names]
    for n in tracks:
        x, y = getattr(a, n), getattr(b, n)
        if x is not None:
            pairs += [(x.value, y.value), (x.error, y.error)]
    if a.iterates is not None:
        pairs += [(a.iterates.local, b.iterates.local), (a.iterates.log_policies, b.iterates.log_policies)]
    return all(np.array_equal(x, y, equal_nan=True) for x, y in pairs) and a.to_dict() == b.to_dict()


class Killed(BaseException):
    """Stands for a process that dies: nothing in the package catches it."""


def stop_at(k, error):
    def progress(done, total):
        if done >= k:
            raise error

    return progress


@pytest.mark.parametrize("record", ["metrics", "iterates"])
@pytest.mark.parametrize("name", ["fednpg", "sampled-fednpg", "isolated", "regularised-fednpg"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, Killed])
def test_resumed_is_bit_for_bit_uninterrupted(tmp_path, monkeypatch, name, record, error):
    monkeypatch.setattr(drive, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(engine_numpy, "CHUNK", 16)  # several batches even here
    problem, out = random_problem(), tmp_path / "run.npz"
    kwargs = {"eta": 0.05, "dual_cap": 2.0} if name == "regularised-fednpg" else {**STEPS, "local_steps": 2}
    whole = run(name, problem, 40, seed=5, record=record, **kwargs)
    with pytest.raises(error):
        run(name, problem, 40, seed=5, record=record, out=out, progress=stop_at(17, error), **kwargs)
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]
    calls = []
    rest = run(
        name,
        problem,
        40,
        seed=5,
        record=record,
        out=out,
        resume=True,
        progress=lambda done, total: calls.append(done),
        **kwargs,
    )
    assert 17 < calls[0] <= 40
    assert identical(whole, rest)
    again = run(
        name, problem, 40, seed=5, record=record, out=out, resume=True, progress=stop_at(0, error), **kwargs
    )
    assert identical(whole, again)  # a finished run is read, not run


def test_resuming_something_else_is_refused(tmp_path):
    problem, out = random_problem(), tmp_path / "run.npz"
    run("fednpg", problem, 10, out=out, **STEPS)
    cases = [
        ("fednpg", problem, {"eta": 0.4}, "eta = 0.3, not 0.4"),
        ("fednpg", problem, {"rounds": 11}, "rounds = 10, not 11"),
        ("fednpg", problem, {"seed": 1}, "seed = 0, not 1"),
        ("fednpg", problem, {"record": "iterates"}, "record"),
        ("fednpg", problem, {"compare": False}, "another comparator"),
        ("sequential-shared", problem, {}, "algorithm"),
        ("fednpg", random_problem(1), {}, "another problem"),
        ("fednpg", random_problem(visible=[[0], [1], [2]]), {}, "visible"),
    ]
    for name, other, change, message in cases:
        with pytest.raises(InvalidProblem, match=message) as caught:
            run(name, other, **{"rounds": 10, **STEPS, **change}, out=out, resume=True)
        assert "\n" not in str(caught.value)


def test_damaged_files_are_refused(tmp_path):
    problem, out = random_problem(), tmp_path / "run.npz"
    run("fednpg", problem, 10, out=out, **STEPS)
    content = out.read_bytes()
    for bad in (b"", b"not a run", content[: len(content) // 2], content[:-40]):
        out.write_bytes(bad)
        with pytest.raises(InvalidProblem, match=r"run\.npz"):
            run("fednpg", problem, 10, out=out, resume=True, **STEPS)
    np.savez(out, x=np.zeros(3))
    with pytest.raises(InvalidProblem, match=r"run\.npz"):
        run("fednpg", problem, 10, out=out, resume=True, **STEPS)


def test_a_place_that_cannot_be_written_is_refused_at_once(tmp_path):
    with pytest.raises(InvalidProblem, match="does not exist"):
        run("fednpg", random_problem(), 10**6, out=tmp_path / "nowhere" / "run.npz", **STEPS)
    with pytest.raises(InvalidProblem, match="regular file"):
        run("fednpg", random_problem(), 10**6, out=tmp_path, **STEPS)


def test_resume_without_a_file_starts(tmp_path):
    out = tmp_path / "new.npz"
    assert identical(
        run("fednpg", random_problem(), 3, out=out, resume=True, **STEPS),
        run("fednpg", random_problem(), 3, **STEPS),
    )


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("name", ["fednpg", "fedpg", "sampled-fednpg", "regularised-fednpg", "opg-pd"])
def test_absurd_steps_are_named(name, sparse):
    problem = random_problem()
    if sparse:
        rows = sp.csr_array(problem.cmdp.P.reshape(12, 4))
        problem = FederatedCMDP(problem.cmdp.replace(P=rows), problem.visible)
    free = {} if name in ("regularised-fednpg", "opg-pd") else {"eta_dual": 1.0, "local_steps": 3}
    kwargs = {"eta": 1e308, "dual_cap": 1e300, "initial_multipliers": 1e250, "compare": False}
    with pytest.raises(InvalidProblem, match="round 0: a policy is not finite; the steps are too large"):
        run(name, problem, 30, **free, **kwargs)


@pytest.mark.parametrize(
    "name, kwargs, message",
    [
        ("fednpgg", {}, "did you mean 'fednpg'"),
        ("npg_pd", {}, "did you mean 'npg-pd'"),
        ("fednpg", {"local_step": 2}, "did you mean 'local_steps'"),
        ("fednpg", {"tau": 2}, "fednpg has no parameter 'tau'; known: local_steps"),
        ("npg-pd", {"local_steps": 2}, "no parameter"),
        ("fednpg", {"backend": "fortran"}, "backend 'fortran'"),
        ("fednpg", {"record": "all"}, "'metrics' or 'iterates'"),
        ("fednpg", {"rounds": 0}, "rounds = 0"),
        ("fednpg", {"rounds": 1.5}, "rounds = 1.5"),
        ("fednpg", {"rounds": 10**14}, "do not fit in memory"),
        ("fednpg", {"seed": -1}, "seed = -1"),
    ],
)
def test_bad_input_is_refused(name, kwargs, message):
    with pytest.raises(InvalidProblem, match=message):
        run(name, random_problem(), **{**STEPS, **kwargs})


def test_progress_reaches_the_end():
    calls = []
    run("fednpg", random_problem(), 1200, progress=lambda *x: calls.append(x), **STEPS, **FREE)
    assert [total for _, total in calls] == [1200] * len(calls)
    done = [k for k, _ in calls]
    assert done == sorted(set(done))
    assert done[-1] == 1200
    assert len(done) > 1
