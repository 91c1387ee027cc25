"""The compiled rounds of DRPO and the offline baselines against the specification."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem, SolverFailure
from tabular_fedrl.loops.batch import Batch
from tabular_fedrl.loops.clients import Clients
from tabular_fedrl.loops.drpo import iterate
from tabular_fedrl.loops.drpo_blocks import LEAST_LANES, Weights
from tabular_fedrl.loops.drpo_reading import ARITHMETIC, PLAIN, REVERSE, Reading
from tabular_fedrl.runner import improve_batch, run

READINGS = (
    {},
    {"step": "forward"},
    {"step": "forward", "entropy": 0.2},
    {"critic": "regularised"},
    {"critic": "cql", "cql": 0.5},
    {"local": "optimum"},
    {"local": "optimum", "critic": "cql", "cql": 0.3},
    {"local": "optimum", "critic": "cql", "cql": 0.0},
    {"balance": "theorem-c"},
)
DATA = (
    {"data": "behaviours"},
    {"data": "simulated", "transitions": 40},
    {"data": "simulated", "transitions": 60, "smoothing": 0.1},
)
BASELINES = ("behaviour-cloning", "fedavg-cql", "spibb", "fedora")


def random_problem(g, S, A, m, N):
    """Sparse rows, signals of any sign; the uniform policy is feasible, barely; the first agents see one cost
    each, the last one all."""
    P = g.dirichlet(np.ones(S), size=(S, A)) * (g.random((S, A, S)) < 0.7)
    P[..., 0] += 1e-3
    P /= P.sum(axis=-1, keepdims=True)
    gamma, rho = float(g.choice([0.0, 0.5, 0.9])), g.dirichlet(np.ones(S))
    r, c = g.uniform(-1, 1, size=(S, A)), g.uniform(-1, 1, size=(m, S, A))
    d = np.linalg.solve(np.eye(S) - gamma * P.mean(axis=1), c.mean(axis=2).T).T @ rho + 0.05
    return FederatedCMDP(CMDP(P, r, c, d, rho, gamma), [(i % m,) for i in range(N - 1)] + [tuple(range(m))])


def choices(draw, names=("drpo", *BASELINES)):
    """An algorithm and its parameters."""
    name = draw(st.sampled_from(names))
    data = dict(draw(st.sampled_from(DATA[1:] if name == "spibb" else DATA)))
    common = {**data, "clients": draw(st.integers(1, 4)), "data_seed": draw(st.integers(0, 99))}
    if name != "drpo":
        own = {"spibb": {"least_count": 5}, "fedavg-cql": {"beta": 0.7, "cql": 0.4}}
        return name, common | own.get(name, {})
    reading = dict(draw(st.sampled_from(READINGS)))
    common["aggregation"] = draw(st.sampled_from(["arithmetic", "geometric", "mixture"]))
    if reading.get("balance") is None:
        common["local_steps"] = 1 if "local" in reading else draw(st.integers(1, 3))
        if draw(st.booleans()):
            # The problem's own agents with their constraints.
            common |= {"clients": 0, "eta_dual": 0.2, "dual_cap": 2.0, "initial_multipliers": 0.3}
    return name, common | reading | {"alpha": 0.1}


def outcome(name, problem, K, given):
    """A run, or what it says when it is refused."""
    try:
        return run(name, problem, K, record="iterates", **given)
    except (InvalidProblem, SolverFailure) as error:
        return str(error)


@settings(max_examples=40)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1), lanes=st.booleans())
def test_batches_are_the_specification(data, seed, lanes):
    name, common = choices(data.draw)
    g = np.random.default_rng(seed)
    S, A, m, K, B = (
        data.draw(st.integers(1, 5)),
        data.draw(st.integers(2, 4)),
        2,
        4,
        LEAST_LANES if lanes else 2,
    )
    problems = [random_problem(g, S, A, m, 3) for _ in range(3)]
    problems = [problems[b % 3] for b in range(B)]
    each = [dict(common) for _ in range(B)]
    if name == "drpo":
        for x in each:
            x |= {"alpha": list(g.uniform(0.05, 1, size=3)), "beta": float(g.uniform(0.05, 2))}
    ours = improve_batch(name, problems, K, each, recorded=range(K + 1))
    for i in data.draw(st.permutations(range(B)))[:3]:
        r = outcome(name, problems[i], K, {**each[i], "compare": False})
        if isinstance(r, str):
            assert np.isnan(ours.log_policy[i]).any()
            continue
        size = 1e-10 / (1 - problems[i].cmdp.gamma)
        assert np.abs(ours.value[i, :K] - r.value.value).max() <= size
        assert np.abs(ours.costs[i, :K] - r.costs.value).max(initial=0.0) <= size
        assert np.abs(np.exp(ours.log_policy[i]) - np.exp(r.final_log_policy)).max() <= 1e-10
        assert np.allclose(ours.multipliers[i], r.final_multipliers, rtol=0, atol=1e-10, equal_nan=True)


@settings(max_examples=40)
@given(data=st.data(), seed=st.integers(0, 2**32 - 1))
def test_runs_are_the_specification(data, seed):
    name, common = choices(data.draw)
    problem = random_problem(np.random.default_rng(seed), data.draw(st.integers(1, 5)), 3, 2, 3)
    K = 5
    r, ours = (outcome(name, problem, K, {**common, "backend": b}) for b in ("numpy", "numba"))
    if isinstance(r, str):
        assert ours == r
        return
    for field in ("value", "costs", "local_value", "local_costs"):
        one, other = getattr(ours, field), getattr(r, field)
        assert (np.abs(one.value - other.value) <= one.error + other.error).all()
        assert (one.error <= 10 * other.error).all()
        assert np.abs(one.value - other.value).max(initial=0.0) <= 1e-10 / (1 - problem.cmdp.gamma)
    for field in ("drift", "multipliers", "final_multipliers", "transitions"):
        assert np.allclose(getattr(ours, field), getattr(r, field), rtol=0, atol=1e-10, equal_nan=True)
    for field in ("kl", "kl_local_end"):
        one, other = getattr(ours, field), getattr(r, field)
        assert np.array_equal(np.isfinite(one.error), np.isfinite(other.error))
        assert (np.abs(one.value - other.value) <= one.error + other.error).all()
        assert np.allclose(one.value, other.value, rtol=1e-10, atol=1e-10)
    assert np.abs(np.exp(ours.iterates.local) - np.exp(r.iterates.local)).max() <= 1e-10
    assert np.abs(np.exp(ours.final_log_policy) - np.exp(r.final_log_policy)).max() <= 1e-10
    assert ours.ledger.to_dict() == r.ledger.to_dict()


def test_an_optimum_is_as_exact_as_its_values():
    """Here the last improvement is as small as rounding: the policy before it is off by 1e-8."""
    problem = random_problem(np.random.default_rng(4294967294), 2, 3, 2, 3)
    given = {"data": "behaviours", "data_seed": 0, "clients": 0, "local": "optimum", "critic": "cql"}
    given |= {"cql": 0.0, "alpha": 0.1, "eta_dual": 0.2, "dual_cap": 2.0, "initial_multipliers": 0.3}
    r, ours = (run("drpo", problem, 5, backend=b, **given) for b in ("numpy", "numba"))
    assert np.abs(np.exp(ours.final_log_policy) - np.exp(r.final_log_policy)).max() <= 1e-12
    assert np.abs(ours.value.value - r.value.value).max() <= 1e-12


@pytest.mark.parametrize("B", [2, LEAST_LANES])
@pytest.mark.parametrize(
    "other",
    [{"step": "forward"}, {"critic": "cql"}, {"local": "optimum"}, {"aggregation": "geometric"},
     {"aggregation": "mixture"}, {"balance": "theorem-c"}, {"beta": 0.31}],
)  # fmt: skip
def test_the_other_readings_are_told_apart(other, B):
    """A control: the agreement above is no accident of readings that do the same."""
    g = np.random.default_rng(1)
    problems = [random_problem(g, 4, 3, 1, 3) for _ in range(B)]
    one, two = (
        improve_batch("drpo", problems, 6, {"clients": 3, "alpha": 0.1, "beta": 0.3} | x) for x in ({}, other)
    )
    assert np.abs(one.value[:, -1] - two.value[:, -1]).max() > 1e-6


def test_a_problem_does_not_feel_its_neighbours():
    """Bit for bit, whatever the batch and the number of threads."""
    g = np.random.default_rng(2)
    problems = [random_problem(g, 3, 3, 1, 2) for _ in range(9)] * 8
    each = [{"clients": 3, "step": "forward", "entropy": 0.1, "beta": b} for b in g.uniform(0.1, 2, size=72)]
    together = improve_batch("drpo", problems, 5, each)
    some = [71, 0, 31, 32, 33, 2, 3, 4]
    apart = improve_batch("drpo", [problems[i] for i in some], 5, [each[i] for i in some])
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = improve_batch("drpo", problems, 5, each)
    finally:
        numba.set_num_threads(threads)
    for name in ("value", "log_policy"):
        assert np.array_equal(getattr(together, name)[some], getattr(apart, name))
        assert np.array_equal(getattr(together, name), getattr(alone, name))


def test_a_step_that_does_not_exist_stays_in_its_lane():
    """Clients whose actions have nothing in common have no geometric mean."""
    g = np.random.default_rng(3)
    problems = [random_problem(g, 3, 3, 1, 2)] * LEAST_LANES
    each = [
        {"clients": 3, "data": "simulated", "transitions": 200, "smoothing": 0.1, "aggregation": "geometric"}
    ] * LEAST_LANES
    clean = improve_batch("drpo", problems, 4, each)
    sparse = [each[5] | {"transitions": 3, "smoothing": 0.0, "beta": 0.0, "data_seed": k} for k in range(30)]
    each[5] = next(x for x in sparse if "share no action" in str(outcome("drpo", problems[5], 4, x)))
    ours = improve_batch("drpo", problems, 4, each)
    assert np.array_equal(np.isnan(ours.log_policy).any(axis=(1, 2)), np.arange(LEAST_LANES) == 5)
    assert np.array_equal(np.delete(ours.value, 5, axis=0), np.delete(clean.value, 5, axis=0))


@pytest.mark.parametrize("data", DATA)
def test_clients_on_their_own(data):
    g = np.random.default_rng(4)
    problems = [random_problem(g, 4, 3, 1, 2) for _ in range(3)]
    each = [{**data, "clients": 3, "alpha": alpha} for alpha in (0.05, 0.3, 2.0)]
    ours = improve_batch("local-only", problems, 5, each, recorded=[0, 1, 5])
    for i in range(3):
        r = run("local-only", problems[i], 5, compare=False, **each[i])
        assert np.abs(ours.value[i, :2] - r.value.value[:2]).max() <= 1e-10
        assert ours.value[i, 2] == ours.value[i, 1]
        assert np.abs(np.exp(ours.log_policy[i]) - np.exp(r.final_log_policy)).max() <= 1e-10


def test_a_resumed_run_is_the_same_bit_for_bit(tmp_path, monkeypatch):
    from tabular_fedrl.runner import engine_offline

    monkeypatch.setattr(engine_offline, "ENTRIES", 3 * 3 * 2 * 15)  # three rounds in a stretch
    problem = random_problem(np.random.default_rng(5), 4, 3, 1, 2)
    given = {"clients": 3, "local": "optimum", "backend": "numba", "data": "simulated", "alpha": 0.1}

    def stop(done, rounds):
        if done == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("drpo", problem, 11, out=tmp_path / "run.npz", progress=stop, **given)
    resumed = run("drpo", problem, 11, out=tmp_path / "run.npz", resume=True, **given)
    whole = run("drpo", problem, 11, **given)
    assert np.array_equal(resumed.final_log_policy, whole.final_log_policy)
    assert np.array_equal(resumed.value.value, whole.value.value)
    assert resumed.ledger.to_dict() == whole.ledger.to_dict()


@pytest.mark.parametrize(
    "name, given, message",
    [
        (
            "drpo",
            {"local": "optimum", "data": "simulated", "balance": "certificate"},
            "balance = 'certificate'",
        ),
        ("local-only", {}, "it solves once"),
        ("pooled-oracle", {}, "it solves once"),
    ],
)
def test_what_stays_uncompiled_is_named(name, given, message):
    problem = random_problem(np.random.default_rng(6), 3, 3, 1, 2)
    with pytest.raises(InvalidProblem, match=message):
        run(name, problem, 2, backend="numba", clients=2, **given)


def test_what_does_not_fit_is_refused():
    problems = [random_problem(np.random.default_rng(7), 3, 3, 1, 2)] * 2
    for each, message in (
        ([{}], "1 sets of parameters for 2 problems"),
        ([{}, {"step": "forward"}], "problem 1 and problem 0 differ in what a round does"),
        ([{}, {"local_steps": 2}], "problem 1 has local_steps = 2, problem 0 1"),
        ([{}, {"data": "simulated"}], "some of the problems' clients hold data"),
    ):
        with pytest.raises(InvalidProblem, match=message):
            improve_batch("drpo", problems, 2, each)
    with pytest.raises(InvalidProblem, match=r"recorded = \[2, 1\]"):
        improve_batch("drpo", problems, 2, recorded=[2, 1])
    with pytest.raises(InvalidProblem, match="batches of fednpg"):
        improve_batch("fednpg", problems, 2)
    batch = Batch.of([FederatedCMDP(problems[0].cmdp.only([]), [()] * 2)])
    clients = Clients(batch, np.full((1, 2, 3, 3), -np.log(3)))
    reading = Reading(REVERSE, PLAIN, ARITHMETIC, False, True)
    with pytest.raises(InvalidProblem, match=r"cql has shape \(3,\): expected \(1,\)"):
        iterate(clients, reading, Weights(clients.weights(), cql=[1, 2, 3]), 1)
    with pytest.raises(InvalidProblem, match="whether the clients plan in the true problems"):
        iterate(clients, reading._replace(shared=False), Weights(clients.weights()), 1)
    with pytest.raises(InvalidProblem, match=r"log_b has shape \(1, 2, 3, 2\): expected \(1, 2, 3, 3\)"):
        Clients(batch, clients.log_b[..., :2])
    with pytest.raises(InvalidProblem, match=r"weights must be numbers from 0 on that sum to 1"):
        clients.weights([0.5, 0.6])
    with pytest.raises(InvalidProblem, match=r"weights have shape \(3, 1\)"):
        clients.weights([0.5, 0.25, 0.25])
