"""Who can see what, and what crosses the wire."""

import gc
import types

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular_fedrl.algorithms.local import primal_dual_step
from tabular_fedrl.algorithms.rounds import local_steps
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.federation import Ledger, PublicSteps, federate
from tabular_fedrl.policies import log_softmax, uniform
from tabular_fedrl.runner import run

VISIBLE = [[0], [1, 2], [0, 2]]


def random_problem(seed=0, S=4, A=3, m=3, gamma=0.8, visible=VISIBLE):
    rng = np.random.default_rng(seed)
    P, r, c = rng.dirichlet(np.ones(S), (S, A)), rng.random((S, A)), rng.random((m, S, A))
    rho, anchor = rng.dirichlet(np.ones(S)), log_softmax(3 * rng.normal(size=(S, A)))
    free = CMDP(P, r, c, np.full(m, 1 / (1 - gamma)), rho, gamma)
    slack = 0.02 / (1 - gamma)  # of the anchor policy: the problem is strictly feasible
    return FederatedCMDP(free.replace(d=evaluate(free, anchor).at_rho.value[1:] + slack), visible)


def steps(m=3):
    return PublicSteps(0.05, np.full(m, 0.1), np.full(m, 5.0))


def reachable(start):
    """Every object that can be reached from ``start`` by references, code and types apart."""
    seen, todo = {}, [start]
    while todo:
        x = todo.pop()
        if id(x) in seen or isinstance(
            x, type | types.ModuleType | types.FunctionType | types.BuiltinFunctionType
        ):
            continue
        seen[id(x)] = x
        todo.extend(gc.get_referents(x))
        if isinstance(x, np.ndarray) and x.base is not None:
            todo.append(x.base)
    return list(seen.values())


def holds(objects, secret):
    """Whether one of ``objects`` is, contains or shares memory with the array ``secret``."""
    numbers = {float(x) for x in secret.ravel()}
    for x in objects:
        if isinstance(x, np.ndarray) and x.dtype == np.float64:
            if np.shares_memory(x, secret) or numbers & {float(y) for y in x.ravel()}:
                return True
        elif isinstance(x, float) and x in numbers:
            return True
    return False


@pytest.mark.parametrize("agent", range(3))
def test_an_agent_cannot_reach_a_hidden_cost(agent):
    problem = random_problem()
    federation = federate(problem, steps())
    me = federation.agents[agent]
    local_steps(me, uniform(4, 3), 2, primal_dual_step)
    mine = reachable(me)
    assert not any(x is problem or x is problem.cmdp or x is federation for x in mine)
    for j in range(3):
        assert holds(mine, problem.cmdp.c[j]) == (j in VISIBLE[agent])
    # The walk does find what is there.
    assert all(holds(reachable(federation.agents), problem.cmdp.c[j]) for j in range(3))


@pytest.mark.parametrize("agent", range(3))
def test_a_hidden_cost_changes_nothing_an_agent_does(agent):
    problem = random_problem()
    c = problem.cmdp.c.copy()
    d = problem.cmdp.d.copy()
    hidden = [j for j in range(3) if j not in VISIBLE[agent]]
    c[hidden] = 1 - c[hidden]
    d[hidden] *= 0.9
    other = FederatedCMDP(problem.cmdp.replace(c=c, d=d), VISIBLE)
    start = np.ones((3, 3))
    before, after = (
        [
            local_steps(one, uniform(4, 3), 20, primal_dual_step)
            for one in federate(p, steps(), initial_multipliers=start).agents
        ]
        for p in (problem, other)
    )
    assert np.array_equal(before[agent].log_policies, after[agent].log_policies)
    assert np.array_equal(before[agent].multipliers, after[agent].multipliers)
    # Whoever does see the changed costs acts on them.
    for i, seen in enumerate(VISIBLE):
        changed = bool(set(seen) & set(hidden))
        assert np.array_equal(before[i].log_policies, after[i].log_policies) != changed


@given(
    N=st.integers(1, 4), K=st.integers(1, 7), E=st.integers(1, 3), S=st.integers(1, 3), A=st.integers(1, 3)
)
def test_ledger_counts_policies_each_way_and_nothing_else(N, K, E, S, A):
    problem = random_problem(S=S, A=A, m=1, visible=[[0]] * N)
    result = run("fednpg", problem, K, local_steps=E, eta=0.1, eta_dual=0.1, dual_cap=1, compare=False)
    assert result.bytes_up == result.bytes_down == 8 * K * N * S * A
    assert result.ledger.kinds == ("policy",)
    for direction in ("up", "down"):
        assert result.ledger.per_round(direction).tolist() == [8 * N * S * A] * K
    assert result.ledger.setup["eta"] == 0.1
    assert Ledger.from_dict(result.ledger.to_dict()) == result.ledger
    assert len(result.ledger.stretches) <= 2


@pytest.mark.parametrize("name", ["npg-pd", "omniscient", "isolated"])
def test_without_communication_nothing_crosses(name):
    result = run(name, random_problem(), 5, eta=0.1, eta_dual=0.1, dual_cap=1, compare=False)
    assert result.bytes_up == result.bytes_down == 0


def test_what_arrives_is_a_copy():
    ledger, message = Ledger(), np.zeros((2, 2))
    arrived = ledger.carry(0, "up", 0, "policy", message)
    assert not np.shares_memory(arrived, message)
    assert ledger.bytes_up == 32
    assert ledger.bytes_down == 0


def test_traffic_that_changes_is_kept_round_by_round():
    ledger = Ledger()
    for k, size in enumerate([1, 1, 1, 2, 2, 1]):
        ledger.carry(k, "down", 0, "policy", np.zeros(size))
    assert ledger.per_round("down").tolist() == [8, 8, 8, 16, 16, 8]


def test_a_federation_continues_from_its_state():
    a, b = (federate(random_problem(), steps(), seed=3) for _ in range(2))
    local_steps(a.agents[1], uniform(4, 3), 3, primal_dual_step)
    a.agents[2].rng.random(5)
    a.server.aggregate([uniform(4, 3)] * 3)
    b.restore(a.state())
    assert b.server.round == 1
    assert np.array_equal(a.multipliers(), b.multipliers(), equal_nan=True)
    assert a.agents[2].rng.random() == b.agents[2].rng.random()
    assert a.agents[0].rng.random() != a.agents[1].rng.random()


def test_unknown_aggregation_is_refused():
    with pytest.raises(InvalidProblem, match="'median': expected 'arithmetic' or 'geometric'"):
        federate(random_problem(), steps(), aggregation="median")
