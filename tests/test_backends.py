"""Compiled runs against the specification: the same numbers, radii as rigorous, the same ledger."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_federation import random_problem
from test_loops import random_batch, random_steps
from test_runner import Killed, identical, stop_at

from tabular_fedrl import balls
from tabular_fedrl.algorithms import ALGORITHMS
from tabular_fedrl.cmdp import FederatedCMDP, exact
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate, visitation
from tabular_fedrl.kernels import single
from tabular_fedrl.loops.variants import NAMES, SINGLE
from tabular_fedrl.runner import drive, engine_numpy, engine_small, run, run_batch
from tabular_fedrl.runner.measure import Comparator
from tabular_fedrl.solvers import solve

ENCLOSED = ("value", "costs", "local_value", "local_costs", "kl", "kl_local_end", "log_normaliser")
PLAIN = ("multipliers", "final_multipliers", "drift", "transitions", "recorded")
OVERALL = ("value", "costs", "local_value", "local_costs")


def options(name, E=3):
    """Steps that move, for a problem of test_federation."""
    own = ALGORITHMS[name].parameters
    wanted = {"eta": 0.3, "eta_dual": 0.1, "dual_cap": 3.0, "initial_multipliers": 0.2, "local_steps": E}
    return {key: value for key, value in wanted.items() if key in own}


def both(name, problem, rounds, **kwargs):
    return (run(name, problem, rounds, backend=backend, **kwargs) for backend in ("numpy", "numba"))


def compare(spec, ours, size):
    """Values within 1e-10 of their size, radii of the same order; everything else alike."""
    for name in ENCLOSED:
        x, y = getattr(spec, name), getattr(ours, name)
        assert (x is None) == (y is None), name
        if x is None or not x.size:
            continue
        scale = size if "value" in name or "costs" in name else 1.0
        assert np.abs(x.value - y.value).max() <= 1e-10 * scale, name
        known = np.isfinite(x.error)  # all but divergences from policies with zeros
        assert (known == np.isfinite(y.error)).all(), name
        assert known.all() or (name in ("kl", "kl_local_end") and spec.algorithm == "opg-pd")
        assert y.error[known].max(initial=0) <= 4 * x.error[known].max(initial=0) + 1e-14, name
    for name in PLAIN:
        assert np.allclose(getattr(spec, name), getattr(ours, name), rtol=0, atol=1e-9, equal_nan=True), name
    for name in OVERALL:
        x, y = getattr(spec.overall, name), getattr(ours.overall, name)
        assert np.abs(x.value - y.value).max(initial=0.0) <= 1e-10 * size, name
    assert abs(spec.overall.drift - ours.overall.drift) <= 1e-10
    policies = (np.exp(r.final_log_policy) for r in (spec, ours))
    assert np.abs(np.subtract(*policies)).max() <= 1e-10
    assert spec.ledger.to_dict() == ours.ledger.to_dict()


@settings(max_examples=60)
@given(
    seed=st.integers(0, 2**32 - 1),
    S=st.integers(1, 6),
    A=st.integers(2, 4),
    m=st.integers(1, 3),
    N=st.integers(1, 4),
    E=st.integers(1, 4),
    name=st.sampled_from(sorted(SINGLE)),
    geometric=st.booleans(),
    every=st.sampled_from([1, 1, 3, 100]),
    compared=st.booleans(),
)
def test_compiled_runs_are_the_specification(seed, S, A, m, N, E, name, geometric, every, compared):
    batch = random_batch(seed, 1, S, A, m, N)
    eta, eta_dual, cap = (x[0] for x in random_steps(seed + 1, batch))
    own = ALGORITHMS[name].parameters
    wanted = {
        "eta": eta,
        "eta_dual": eta_dual,
        "dual_cap": cap,
        "local_steps": E,
        "aggregation": "geometric" if geometric else "arithmetic",
        "weights": np.random.default_rng(seed).dirichlet(np.full(N, 5.0)) if seed % 2 else None,
        "tau": 0.3,
        "initial_multipliers": cap / 3,
        "tolerance": 0.0 if seed % 3 else None,
        "theta": 5.0,
    }
    if name in ("pmd-pd", "entropy-dual"):  # one step for all constraints
        wanted["eta_dual"] = float(eta_dual.mean())
    given = {key: value for key, value in wanted.items() if key in own}
    if "dual_cap" not in own:
        given["initial_multipliers"] = 0.0
    problem = batch.problem(0)
    # A comparator need not be optimal: any policy serves, and no program has to be solved.
    solution = solve(problem.cmdp.replace(d=np.full(m, 1e3))) if compared else None
    further = {"every": every, "solution": solution, "compare": compared}
    spec, ours = both(name, problem, 8, **further, **given)
    compare(spec, ours, np.abs(batch.signals).max() / (1 - batch.gamma[0]))


@pytest.mark.parametrize("name", sorted(set(SINGLE) - {"fednpg"}))
def test_variants_are_told_apart(name):
    """A control: the agreement is no accident of short runs, every variant is another algorithm."""
    problem = random_problem()
    own = ALGORITHMS[name].parameters
    spec = run("fednpg", problem, 8, compare=False, **options("fednpg", 3 if "local_steps" in own else 1))
    ours = run(name, problem, 8, compare=False, backend="numba", **options(name))
    policies = [np.broadcast_to(np.exp(r.final_log_policy), (3, 4, 3)) for r in (spec, ours)]
    assert np.abs(policies[0] - policies[1]).max() > 1e-3


@pytest.mark.parametrize("name", sorted(set(SINGLE) - set(NAMES)))
def test_long_runs_are_the_specification(name):
    """Whole runs with the theory's parameters."""
    problem = random_problem(4)
    given = {"theta": 20.0} if name == "mirror-descent" else {}
    spec, ours = both(name, problem, 60, **given)
    compare(spec, ours, np.abs(problem.cmdp.signals).max() / (1 - problem.cmdp.gamma))


# ---- radii ------------------------------------------------------------------------------------------------
def policies_and_values(gamma=0.9):
    """A run and, apart from it, the enclosures of its policies' values and divergences."""
    problem = random_problem()
    cmdp = problem.cmdp.replace(gamma=gamma)
    uniform = evaluate(cmdp, np.zeros((cmdp.S, cmdp.A))).at_rho.value
    problem = FederatedCMDP(cmdp.replace(d=uniform[1:] - 0.01), problem.visible)
    ours = run("fednpg", problem, 30, backend="numba", record="iterates", **options("fednpg"))
    spec = evaluate(problem.cmdp, ours.iterates.log_policies[:-1]).at_rho
    against = Comparator(problem.cmdp, ours.solution.log_policy).kl(ours.iterates.log_policies)
    return ours, spec, against


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.999])
def test_enclosures_of_the_same_policies_overlap(gamma):
    ours, spec, kl = policies_and_values(gamma)
    assert (np.abs(ours.value.value - spec.value[:, 0]) <= ours.value.error + spec.error[:, 0]).all()
    assert (np.abs(ours.costs.value - spec.value[:, 1:]) <= ours.costs.error + spec.error[:, 1:]).all()
    assert (np.abs(ours.kl.value - kl.value) <= ours.kl.error + kl.error).all()


def test_without_radii_they_would_not():
    """A control: the radii are needed."""
    ours, spec, kl = policies_and_values()
    assert (ours.value.value != spec.value[:, 0]).any()
    assert (ours.kl.value != kl.value).any()
    assert ours.value.error.max() < 1e-10


def test_values_are_enclosed_in_exact_arithmetic():
    """The radii against balls: the exact values of the recorded policies lie inside."""
    problem = random_problem()
    ours = run("fednpg", problem, 4, backend="numba", record="iterates", **options("fednpg"))
    with balls.precision(256):
        rational = exact(problem)
        for k, log_pi in enumerate(ours.iterates.log_policies[:-1]):
            value = evaluate(rational.cmdp, balls.Balls(log_pi)).at_rho
            assert abs(value.value[0] - ours.value.value[k]) <= ours.value.error[k]
            assert (abs(value.value[1:] - ours.costs.value[k]) <= ours.costs.error[k]).all()


def test_the_identity_of_one_step_lies_within_the_radii():
    """L1 on every step: E[KL(pi*||pi') - KL(pi*||pi)] + eta (V_f(pi*) - V_f(pi)) = E log Z."""
    r = run("isolated", random_problem(), 30, backend="numba", record="iterates", **options("isolated"))
    comparator = Comparator(r.problem.cmdp, r.solution.log_policy)
    best = evaluate(r.problem.cmdp, r.solution.log_policy).at_rho
    distance = comparator.kl(r.iterates.local)
    lam = np.nan_to_num(r.multipliers)
    gained = (best[0] - r.local_value) - ((best[1:] - r.local_costs) * lam).sum(-1)
    missed = (distance[:, :, 1:] - distance[:, :, :-1]) + gained * r.parameters["eta"] - r.log_normaliser
    assert (np.abs(missed.value) <= missed.error).all()
    assert missed.error.max() < 1e-10


class Fake:
    """Any policy in the place of an optimal one."""

    def __init__(self, problem, log_policy):
        self.log_policy, self.value = log_policy, evaluate(problem.cmdp, log_policy).at_rho[0]


def test_a_policy_with_zeros_as_comparator():
    problem = random_problem()
    fake = Fake(problem, np.where(np.arange(3) == 1, 0.0, -np.inf) + np.zeros((4, 3)))
    compare(*both("fednpg", problem, 5, solution=fake, **options("fednpg")), 100.0)


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_divergence_from_a_policy_with_zeros(backend):
    """Known where it takes every action of the comparator; else of infinite radius."""
    problem = random_problem(4)
    best = solve(problem.cmdp)
    given = {"backend": backend, "eta": 1.0, "record": "iterates"}
    r = run("opg-pd", problem, 200, solution=best, **given)
    q, pi = np.exp(r.iterates.log_policies), np.exp(best.log_policy)
    known = ~((q == 0) & (pi > 0)).any(axis=(1, 2))
    assert (q[known] == 0).any()
    assert 0 < known.sum() < len(known)
    assert np.array_equal(np.isfinite(r.kl.error), known)
    d = visitation(problem.cmdp, best.log_policy).value
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(pi > 0, pi * (np.log(pi) - np.log(q)), 0.0).sum(axis=-1) @ d
    assert r.kl.value[known] == pytest.approx(terms[known], abs=1e-12)


# ---- fewer rounds recorded --------------------------------------------------------------------------------
@pytest.mark.parametrize("backend", ["numpy", "numba"])
@pytest.mark.parametrize(
    "rounds, every, recorded", [(10, 3, [0, 3, 6, 9]), (9, 4, [0, 4, 8]), (8, 50, [0, 7]), (1, 7, [0])]
)
def test_every_n_th_round(monkeypatch, backend, rounds, every, recorded):
    monkeypatch.setattr(engine_numpy, "CHUNK", 16)
    monkeypatch.setattr(engine_small, "WORK", 10_000)  # several stretches even here
    kwargs = {"backend": backend, "record": "iterates", **options("fednpg")}
    whole = run("fednpg", random_problem(), rounds, **kwargs)
    some = run("fednpg", random_problem(), rounds, every=every, **kwargs)
    assert some.recorded.tolist() == recorded
    for name in ENCLOSED:
        rows = [*recorded, rounds] if name == "kl" else recorded
        assert np.array_equal(getattr(some, name).value, getattr(whole, name).value[rows])
        assert np.array_equal(getattr(some, name).error, getattr(whole, name).error[rows])
    assert np.array_equal(some.iterates.local, whole.iterates.local[recorded])
    assert np.array_equal(some.drift, whole.drift[recorded])
    assert some.to_dict() == whole.to_dict()
    assert np.abs(whole.value.value.mean() - some.average_value.value) <= 1e-13
    assert np.abs(whole.local_costs.value.mean(axis=(0, 2)) - some.overall.local_costs.value).max() <= 1e-13


def test_averages_are_of_all_rounds():
    """A control: those of the recorded rounds are others."""
    some = run("fednpg", random_problem(), 40, every=13, backend="numba", **options("fednpg"))
    assert abs(some.value.value.mean() - some.average_value.value) > 1e-3


@pytest.mark.parametrize(
    "name",
    [
        "fednpg",
        "isolated",
        "sampled-fednpg",
        "opg-pd",
        "entropy-dual",
        "mirror-descent",
        "decentralised-fednpg",
    ],
)
@pytest.mark.parametrize("error", [KeyboardInterrupt, Killed])
def test_resumed_is_bit_for_bit_uninterrupted(tmp_path, monkeypatch, name, error):
    monkeypatch.setattr(drive, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(engine_small, "WORK", 1_000)
    problem, out = random_problem(), tmp_path / "run.npz"
    kwargs = {"record": "iterates", "every": 3, "backend": "numba", **options(name)}
    if name == "entropy-dual":  # so slow that the multipliers are still under way
        kwargs["eta_dual"] = 0.002
    whole = run(name, problem, 40, **kwargs)
    with pytest.raises(error):
        run(name, problem, 40, out=out, progress=stop_at(17, error), **kwargs)
    calls = []
    rest = run(name, problem, 40, out=out, resume=True, progress=lambda k, _: calls.append(k), **kwargs)
    assert 17 < calls[0] < calls[-1] == 40
    assert identical(whole, rest)
    for change in ({"backend": "numpy"}, {"every": 2}):
        with pytest.raises(InvalidProblem, match=f"was run with {next(iter(change))} = "):
            run(name, problem, 40, out=out, resume=True, **{**kwargs, **change})


@pytest.mark.parametrize("samples, stretches", [(1, 1), (20_000, 2)])
def test_rollouts_do_not_keep_anyone_waiting(samples, stretches):
    """The more there are, the fewer rounds between two signs of life."""
    calls = []
    given = {**options("sampled-fednpg", 1), "samples": samples, "compare": False, "backend": "numba"}
    run("sampled-fednpg", random_problem(), 4, progress=lambda k, _: calls.append(k), **given)
    assert len(calls) >= stretches
    assert samples > 1 or calls == [4]


# ---- what it cannot do ------------------------------------------------------------------------------------
def test_refusals_are_one_line(monkeypatch):
    with balls.precision(64), pytest.raises(InvalidProblem, match="floats, not balls"):
        run("fednpg", exact(random_problem()), 3, backend="numba", compare=False, **options("fednpg"))
    monkeypatch.setattr(engine_small, "MOST_STATES", 3)
    with pytest.raises(InvalidProblem, match=r"cannot run fednpg: .*S = 4 states, .* at most 3") as caught:
        run("fednpg", random_problem(), 3, backend="numba", **options("fednpg"))
    assert "\n" not in str(caught.value)
    with pytest.raises(InvalidProblem, match=r"problem 0 .*: S = 4 states, .* at most 3"):
        run_batch("pmd-pd", [random_problem()], 3)
    with pytest.raises(InvalidProblem, match=r"run_batch does not take drpo, but fednpg, .*improve_batch"):
        run_batch("drpo", [random_problem()], 3)
    with pytest.raises(InvalidProblem, match="'cuda' runs batches of fednpg"):
        run_batch("crpo", [random_problem()], 3, options("crpo"), backend="cuda")
    with pytest.raises(InvalidProblem, match="problem 1 of the batch has"):
        run_batch("crpo", [random_problem(), random_problem(S=3)], 3)
    for name in ("fednpg", "decentralised-fednpg", "opg-pd"):
        with pytest.raises(InvalidProblem, match="problem 1 of the batch has exact numbers"):
            run_batch(name, [random_problem(), exact(random_problem())], 3, options(name))
    with pytest.raises(InvalidProblem, match="at least one problem"):
        run_batch("crpo", [], 3)
    with pytest.raises(InvalidProblem, match="problem 1 has local_steps = 2, problem 0 1"):
        run_batch("fednpg", [random_problem()] * 2, 3, [{}, {"local_steps": 2}])
    with pytest.raises(InvalidProblem, match="1 sets of parameters for 2 problems"):
        run_batch("fednpg", [random_problem()] * 2, 3, [{}])
    with pytest.raises(InvalidProblem, match="3 seeds for 2 problems"):
        run_batch("fednpg", [random_problem()] * 2, 3, seeds=range(3))
    with pytest.raises(InvalidProblem, match="seed = -1"):
        run_batch("fednpg", [random_problem()] * 2, 3, seeds=[0, -1])
    with pytest.raises(InvalidProblem, match="from multipliers 0 and with equal weights"):
        run_batch("fedpg", [random_problem()], 3, options("fedpg"), backend="cuda")
    with pytest.raises(InvalidProblem, match="'numba' or 'cuda'"):
        run_batch("fednpg", [random_problem()], 3, backend="numpy")
    with pytest.raises(InvalidProblem, match="every = 0"):
        run("fednpg", random_problem(), 3, every=0)


@pytest.mark.parametrize(
    "name", ["fednpg", "isolated", "sequential-shared", "fedpg", "opg-pd", "sampled-fednpg"]
)
def test_absurd_steps_are_named(name):
    steps = {"eta": 1e308, "eta_dual": 1.0, "dual_cap": 1e300, "local_steps": 3, "initial_multipliers": 1e250}
    steps = {key: value for key, value in steps.items() if key in ALGORITHMS[name].parameters}
    with pytest.raises(InvalidProblem, match="round 0: a policy is not finite; the steps are too large"):
        run(name, random_problem(), 30, backend="numba", compare=False, **steps)


def test_sparse_problems_and_frozen_arrays_are_taken():
    import scipy.sparse as sp

    problem = random_problem()
    sparse = problem.cmdp.replace(P=sp.csr_array(problem.cmdp.P.reshape(12, 4)))
    dense, other = (
        run("fednpg", p, 5, backend="numba", compare=False, **options("fednpg"))
        for p in (problem, FederatedCMDP(sparse, problem.visible))
    )
    assert np.array_equal(dense.value.value, other.value.value)
    assert json.dumps(other.to_dict(), allow_nan=False)


@pytest.mark.parametrize("name", sorted(n for n, a in ALGORITHMS.items() if a.sends or n in NAMES))
def test_the_registry_says_who_sends(name):
    """What crosses the wire in a run of the specification is what a compiled run enters."""
    parameters = ALGORITHMS[name].parameters
    offline = {"data": "simulated", "transitions": 200} if "data" in parameters else {}
    problem = random_problem()
    r = run(name, problem, 3, compare=False, **options(name, 1), **offline)
    N, size = r.problem.N, problem.cmdp.S * problem.cmdp.A
    policies = [m["numbers"] for m in r.ledger.to_dict()["messages"] if m["kind"] == "policy"]
    assert policies == ([3 * size] * (2 * N) if ALGORITHMS[name].sends else [])


# ---- building blocks --------------------------------------------------------------------------------------
@pytest.mark.parametrize("place", range(3))
def test_the_largest_of_a_row_is_nan_where_one_is(place):
    row = np.array([3.0, -4.0, 1.0])
    assert single.largest(row) == 4.0
    row[place] = np.nan
    assert np.isnan(single.largest(row))


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.9999])
@pytest.mark.parametrize(("S", "k"), [(20, 4), (1, 1), (2, 9), (7, 3), (8, 8), (17, 17), (33, 2)])
def test_residuals_and_visitation(S, k, gamma):
    g = np.random.default_rng(3)
    A = 3
    P, f, pi = (
        g.dirichlet(np.full(S, 0.05), size=(S, A)),
        g.standard_normal((k, A, S)),
        g.dirichlet(np.ones(A), S),
    )
    pi = np.ascontiguousarray(pi.T)
    operator, V, residual, d = single.operator_room(S), np.empty((k, S)), np.empty(k), np.empty(S)
    single.policy_values(P, f, pi, gamma, operator, single.system_room(S, k), V, residual)
    P_pi, f_pi = np.einsum("as,sat->st", pi, P), (pi * f).sum(axis=1)
    missed = np.abs(f_pi + gamma * V @ P_pi.T - V).max(axis=1)
    assert missed.max() <= 1e-13 * np.abs(V).max()
    rounding = (S + A) * np.finfo(float).eps * np.abs(V).max()  # of sums in two orders
    assert np.allclose(missed, residual, rtol=0, atol=rounding)
    rho = g.dirichlet(np.ones(S))
    single.visitation(operator, rho, gamma, single.system_room(S, 1), d)
    assert np.allclose(V @ ((1 - gamma) * rho), f_pi @ d, rtol=1e-9)


def test_rooms_do_not_remember_a_failure():
    """Seven states: the system has an equation more."""
    g = np.random.default_rng(4)
    P, pi, f = g.dirichlet(np.ones(7), size=(7, 2)), np.full((2, 7), 0.5), g.random((1, 2, 7))
    operator, system, V, residual = (
        single.operator_room(7),
        single.system_room(7, 1),
        np.empty((1, 7)),
        np.empty(1),
    )
    single.policy_values(P, f * np.nan, pi, 0.9, operator, system, V, residual)
    assert np.isnan(V).all()
    assert np.isnan(residual).all()
    single.policy_values(P * np.inf, f, pi, 0.9, operator, system, V, residual)
    single.policy_values(P, f, pi, 0.9, operator, system, V, residual)
    assert residual[0] < 1e-14
