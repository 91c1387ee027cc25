"""Agents in kernels of their own and agents on a graph, in lanes, against the specification problem by
problem, with parameters of each problem's own."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import federations
from test_loops import drifts, random_batch

from tabular_fedrl.algorithms.averaging import kernels_alone, mean_kernel, own_kernels
from tabular_fedrl.algorithms.decentralised import GRAPHS
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.loops import Batch
from tabular_fedrl.loops import lanes as width
from tabular_fedrl.loops.graph_lanes import on_graph
from tabular_fedrl.runner import run, run_batch

SEEDS = st.integers(0, 2**32 - 1)


def averaging(g, B, gamma):
    """Steps, spreads and kernels of B problems."""
    eta = 10.0 ** g.uniform(-2, 0.3, size=B) * (1 - gamma) ** 2
    return [
        {"eta": float(x), "spread": float(y), "kernel_seed": int(z)}
        for x, y, z in zip(eta, g.choice([0.0, 0.3, 1.0], size=B), g.integers(3, size=B))
    ]


def decentralised(g, B, gamma):
    """Steps, graphs and entropy weights of B problems, some of them 0."""
    eta = 10.0 ** g.uniform(-2, 0.3, size=B) * (1 - gamma) ** 2
    return [
        {"eta": float(x), "graph": str(y), "graph_seed": int(z), "tau": float(tau)}
        for x, y, z, tau in zip(
            *(eta, g.choice(GRAPHS, size=B), g.integers(3, size=B), g.choice([0.0, 0.05, 0.5], size=B))
        )
    ]


def check(name, problems, each, K=12):
    """Every field of a batch against single runs in NumPy; what is not a probability in units of the largest
    value."""
    ours = run_batch(name, problems, K, each)
    for i, problem in enumerate(problems):
        spec = run(name, problem, K, backend="numpy", compare=False, record="iterates", **each[i])
        cmdp = problem.cmdp
        size = 1e-10 * max(1.0, np.abs(cmdp.signals).max() * cmdp.horizon)
        moves, away = drifts(spec)
        for x, y in (
            (ours.value[i], spec.average_value.value),
            (ours.costs[i], spec.average_costs.value),
            (ours.local_value[i], spec.local_average_value.value),
            (ours.local_costs[i], spec.local_average_costs.value),
            (ours.value_drift[i], away),
        ):
            assert np.abs(x - y).max(initial=0.0) <= size
        assert np.abs(np.exp(ours.log_policy[i]) - np.exp(spec.final_log_policy)).max() <= 1e-10
        assert np.abs(ours.step[i] - moves).max() <= 1e-10
        assert abs(ours.drift[i] - spec.overall.drift) <= 1e-10
        assert np.allclose(ours.multipliers[i], spec.final_multipliers, rtol=0, atol=0, equal_nan=True)


@settings(max_examples=40)
@given(
    seed=SEEDS,
    B=st.integers(1, 4),
    S=st.integers(1, 5),
    A=st.integers(2, 4),
    m=st.integers(1, 3),
    N=st.integers(1, 4),
    E=st.integers(1, 4),
    geometric=st.booleans(),
    even=st.booleans(),
)
def test_policy_averaging(seed, B, S, A, m, N, E, geometric, even):
    batch, g = random_batch(seed, B, S, A, m, N), np.random.default_rng(seed)
    common = {"local_steps": E, "aggregation": "geometric" if geometric else "arithmetic"}
    common["weights"] = None if even else g.dirichlet(np.ones(N)).tolist()
    each = [x | common for x in averaging(g, B, batch.gamma)]
    check("policy-averaging", [batch.problem(i) for i in range(B)], each)


@settings(max_examples=40)
@given(
    seed=SEEDS,
    B=st.integers(1, 4),
    S=st.integers(1, 5),
    A=st.integers(2, 4),
    m=st.integers(1, 3),
    N=st.integers(1, 5),
)
def test_decentralised_fednpg(seed, B, S, A, m, N):
    batch, g = random_batch(seed, B, S, A, m, N), np.random.default_rng(seed)
    each = [x | {"initial_multipliers": 0.1} for x in decentralised(g, B, batch.gamma)]
    check("decentralised-fednpg", [batch.problem(i) for i in range(B)], each)


@pytest.mark.parametrize(
    "name, parameters", [("policy-averaging", averaging), ("decentralised-fednpg", decentralised)]
)
@settings(max_examples=20)
@given(problem=federations(), seed=SEEDS)
def test_one_problem_with_several_parameters(name, parameters, problem, seed):
    g = np.random.default_rng(seed)
    check(name, [problem] * 3, parameters(g, 3, np.full(3, problem.cmdp.gamma)))


@pytest.mark.parametrize(
    "name, parameters", [("policy-averaging", averaging), ("decentralised-fednpg", decentralised)]
)
def test_more_problems_than_a_pack_and_a_block_hold(monkeypatch, name, parameters):
    monkeypatch.setattr(width, "LANES", 16)
    # Agents who saw the same would agree on any graph.
    batch = replace(random_batch(7, 40, 3, 2, 2, 3), mask=np.array([[1, 0], [0, 1], [1, 1]]))
    each = parameters(np.random.default_rng(8), 40, batch.gamma)
    check(name, [batch.problem(i) for i in range(40)], each, K=4)


@pytest.mark.parametrize(
    "name, parameters", [("policy-averaging", averaging), ("decentralised-fednpg", decentralised)]
)
def test_an_overflow_stays_in_its_lane(name, parameters):
    batch = replace(random_batch(8, 40, 3, 2, 2, 2), mask=np.eye(2))
    problems = [batch.problem(i) for i in range(40)]
    each = parameters(np.random.default_rng(9), 40, batch.gamma)
    calm = run_batch(name, problems, 20, each)
    each[17]["eta"] = 1e308
    ours = run_batch(name, problems, 20, each)
    lost = np.isnan(ours.log_policy).reshape(40, -1)
    assert lost[17].all()
    assert not np.delete(lost, 17, axis=0).any()
    for field, x in vars(calm).items():
        mine = np.delete(getattr(ours, field), 17, axis=0)
        assert np.array_equal(mine, np.delete(x, 17, axis=0), equal_nan=True)


def test_agents_without_entropy_do_not_feel_their_neighbours_entropy():
    """Bit for bit: for them its signal is not there."""
    batch = replace(random_batch(3, 5, 4, 3, 2, 3), mask=np.array([[1, 0], [0, 1], [1, 1]]))
    problems = [batch.problem(i) for i in range(5)]
    each = decentralised(np.random.default_rng(4), 5, batch.gamma)
    tau = [0.0, 0.2, 0.0, 0.0, 0.1]
    mixed = run_batch("decentralised-fednpg", problems, 15, [x | {"tau": y} for x, y in zip(each, tau)])
    none = run_batch("decentralised-fednpg", problems, 15, [x | {"tau": 0.0} for x in each])
    for field, x in vars(none).items():
        assert np.array_equal(getattr(mixed, field)[[0, 2, 3]], x[[0, 2, 3]], equal_nan=True), field
    assert (mixed.value[[1, 4]] != none.value[[1, 4]]).all()


def test_own_kernels_are_those_of_the_agents_problems():
    problem = mean_kernel(random_batch(5, 1, 4, 3, 1, 2).problem(0), {"spread": 0.4, "kernel_seed": 7})
    alone, own = (of(problem.cmdp, 2, 0.4, 7) for of in (kernels_alone, own_kernels))
    assert np.abs(np.stack(alone) - [x.P for x in own]).max() < 1e-15
    assert np.abs(alone[0] - alone[1]).max() > 0.01


@pytest.mark.parametrize("tau", [-0.1, np.inf])
def test_an_entropy_weight_is_refused(tau):
    problem = random_batch(5, 1, 4, 3, 1, 2).problem(0)
    for act in (run, lambda name, x, rounds, **given: run_batch(name, [x], rounds, given)):
        with pytest.raises(InvalidProblem, match=f"tau = {tau}: expected a number from 0 on"):
            act("decentralised-fednpg", problem, 3, tau=tau)


def test_a_graph_is_refused():
    batch = Batch.of([random_batch(5, 1, 4, 3, 1, 2).problem(0)] * 2)
    with pytest.raises(InvalidProblem, match=r"mixing has shape \(3, 3\): expected \(2, 2, 2\)"):
        on_graph(batch, 3, 0.1, np.eye(3))
    with pytest.raises(InvalidProblem, match=r"tau\[0\] = -1: expected numbers from 0 on"):
        on_graph(batch, 3, 0.1, np.eye(2), tau=-1)
    with pytest.raises(InvalidProblem, match=r"rounds = 0"):
        on_graph(batch, 0, 0.1, np.eye(2))
