"""RandomMDP, WindyCliff and Garnet against the numbers and properties the theory notes state."""

import numpy as np
import pytest

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InfeasibleCMDP, InvalidProblem
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.instances import families, garnet, grid, load, random_mdp, ring, windy_cliff
from tabular_fedrl.instances.draws import subsets
from tabular_fedrl.instances.thresholds import binding_thresholds, halfway_thresholds
from tabular_fedrl.solvers import optimise, solve, value_range


def test_windy_cliff_has_the_published_optima():
    one, two = solve(windy_cliff(1)), solve(windy_cliff(2))
    assert float(one.value) == pytest.approx(11.415338, abs=1e-6)
    assert one.multipliers == pytest.approx([3.4969], abs=5e-5)
    assert float(two.value) == pytest.approx(14.925548, abs=1e-6)
    assert two.multipliers == pytest.approx([0.5415, 2.2630], abs=5e-5)
    assert float(optimise(windy_cliff()).value) == pytest.approx(42.563236, abs=1e-6)
    assert one.slater_slack == pytest.approx(2, abs=1e-9)


def test_windy_cliff_moves():
    problem = windy_cliff(wind=0.25)
    right, left, down, up = range(4)
    middle = 10 * 1 + 4
    assert problem.P[middle, right, middle + 1] == 0.75
    assert problem.P[middle, right, middle + 10] == 0.25
    assert problem.P[middle, down, middle + 10] == 1
    assert problem.P[0, up, 0] == 0.75
    assert problem.P[0, left, 10] == 0.25
    assert problem.P[39, right, 39] == 1
    assert np.flatnonzero(problem.rho).tolist() == [30]


@pytest.mark.parametrize("ncost", range(7))
def test_windy_cliff_segments_are_disjoint_and_of_equal_length(ncost):
    cells = windy_cliff(ncost).c[:, :, 0] > 0
    assert cells.sum(axis=1).tolist() == [6 // max(ncost, 1)] * ncost
    assert (cells.sum(axis=0) <= 1).all()
    assert not cells[:, [30, 31, 38, 39]].any()


def test_random_mdp_draws_in_the_published_order():
    draw = np.random.RandomState(11)
    kernel = draw.rand(3, 5, 3)
    mask = draw.rand(3, 5, 3) < 0.5
    r = draw.rand(3, 5)
    costs = []
    for _ in range(4):
        seen = draw.rand(3, 5) < 0.5
        costs.append(np.where(seen, draw.rand(3, 5), 0))
    logits = 2 * draw.rand(3, 5) - 1
    problem = random_mdp(seed=11)
    expected = np.where(mask, kernel, 0)
    filled = expected.sum(axis=2) > 0
    assert problem.P[filled] == pytest.approx(
        expected[filled] / expected[filled].sum(axis=1, keepdims=True), abs=1e-15
    )
    assert (problem.P[~filled] == pytest.approx(1 / 3)) or filled.all()
    assert np.array_equal(problem.r, r)
    assert np.array_equal(problem.c, costs)
    anchor = np.log(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    assert problem.d == pytest.approx(0.7 * evaluate(problem, anchor).at_rho.value[1:], abs=1e-12)
    assert problem.rho == pytest.approx(1 / 3)


def test_random_mdp_fills_empty_rows_uniformly():
    problem = random_mdp(seed=0, nS=2, nA=50, ncost=0)
    assert any((row == 0.5).all() for row in problem.P.reshape(-1, 2))


def test_about_two_percent_of_random_mdps_are_infeasible():
    """The notes say about 98 % feasible: of 150 seeds, more than 10 infeasible ones would be a 4-sigma
    surprise."""
    infeasible = 0
    for seed in range(150):
        try:
            solve(random_mdp(seed=seed))
        except InfeasibleCMDP:
            infeasible += 1
    assert 1 <= infeasible <= 10


@pytest.mark.parametrize("m", [1, 2, 3, 6])
@pytest.mark.parametrize("seed", range(6))
def test_garnet_constraints_bind_and_slater_holds(seed, m):
    problem = garnet(S=12, A=3, b=3, m=m, seed=seed)
    solution = solve(problem)
    greedy = optimise(problem)
    costs = evaluate(problem, greedy.log_policy).at_rho[1:]
    assert (costs.lower > problem.d).all(), "the unconstrained optimum must violate every constraint"
    assert solution.slater_slack is not None
    assert solution.slater_slack > 1e-3
    assert solution.active
    for j in range(m):
        least, _ = value_range(problem, problem.c[j])
        assert least.upper < problem.d[j]


def test_garnet_dense_and_sparse_are_one_problem():
    dense, sparse = garnet(S=30, seed=4), garnet(S=30, seed=4, sparse=True)
    assert sparse.is_sparse
    assert not dense.is_sparse
    assert np.array_equal(sparse.rows.toarray(), dense.rows)
    assert np.array_equal(sparse.signals, dense.signals)
    assert sparse.d == pytest.approx(dense.d, abs=1e-9)
    assert sparse.max_row == 3


def test_large_sparse_garnet():
    problem = garnet(S=20_000, A=4, b=5, m=1, seed=1, sparse=True)
    assert problem.P.nnz == 20_000 * 4 * 5
    greedy = evaluate(problem, optimise(problem).log_policy).at_rho
    assert greedy.lower[1] > problem.d[0] > float(-optimise(problem, -problem.c[0]).value.value)


def test_subsets_are_uniform():
    """All 10 two-element subsets of 5 are equally likely: chi-squared with 9 degrees of freedom, 1e-6
    quantile 45."""
    drawn = np.sort(subsets(np.random.default_rng(0), 20_000, 5, 2), axis=1)
    assert (drawn[:, 0] < drawn[:, 1]).all()
    _, counts = np.unique(drawn, axis=0, return_counts=True)
    assert len(counts) == 10
    assert ((counts - 2000) ** 2 / 2000).sum() < 45


def test_subsets_may_be_everything():
    drawn = np.sort(subsets(np.random.default_rng(0), 50, 4, 4), axis=1)
    assert (drawn == np.arange(4)).all()


def test_thresholds_where_the_optimum_is_the_cheapest_policy():
    """One state, reward aligned against the cost: nothing undercuts the optimum, and d must still be met with
    slack."""
    problem = CMDP(np.ones((1, 2, 1)), [[1.0, 0.0]], [[[0.25, 0.75]]], [0.0], [1.0], 0.0)
    d = binding_thresholds(problem)
    assert 0.25 < d[0] < 0.75
    assert solve(problem.replace(d=d)).slater_slack > 0
    halfway, least, greedy = halfway_thresholds(problem)
    assert halfway == least == greedy == [0.25]


def test_thresholds_of_a_constant_cost_leave_slack():
    problem = CMDP(np.ones((1, 2, 1)), [[1.0, 0.0]], [[[0.5, 0.5]]], [0.0], [1.0], 0.0)
    assert binding_thresholds(problem)[0] > 0.5


def test_halfway_thresholds():
    """Costs 1 at the optimum, 0.25 at best: halfway is 0.625, by hand."""
    problem = CMDP(np.ones((1, 3, 1)), [[1.0, 0.0, 0.5]], [[[1.0, 0.25, 0.5]]], [0.0], [1.0], 0.0)
    assert halfway_thresholds(problem)[0] == pytest.approx([0.625], abs=1e-15)


@pytest.mark.parametrize(
    "build, arguments, message",
    [
        (random_mdp, {"seed": -1}, "seed = -1 is below 0"),
        (random_mdp, {"seed": 2**32}, "not below 2\\*\\*32"),
        (random_mdp, {"nS": 0}, "nS = 0 is below 1"),
        (random_mdp, {"nS": 10**5}, "over the limit"),
        (random_mdp, {"gamma": 1.0}, "outside \\[0, 1\\)"),
        (windy_cliff, {"ncost": 7}, "do not fit"),
        (windy_cliff, {"ncost": -1}, "below 0"),
        (windy_cliff, {"wind": 1.5}, "not a probability"),
        (windy_cliff, {"wind": float("nan")}, "not a probability"),
        (garnet, {"b": 21}, "distinct successors"),
        (garnet, {"b": 0}, "b = 0 is below 1"),
        (garnet, {"m": -1}, "below 0"),
        (garnet, {"S": 10**6}, "sparse=true"),
        (garnet, {"S": 10**8, "sparse": True}, "over the limit"),
        (ring, {"S": 6}, "7 nearest states"),
        (ring, {"S": 10**8}, "over the limit"),
        (grid, {"rows": 2}, "rows = 2 is below 3"),
        (grid, {"b": 10}, "9 cells"),
    ],
)
def test_bad_parameters(build, arguments, message):
    with pytest.raises(InvalidProblem, match=message):
        build(**arguments)


@pytest.mark.parametrize("family", families.values(), ids=lambda f: f.name)
def test_registry_defaults_are_the_builders_defaults(family):
    assert family.build() == family.build(**family.parameters)
    assert family.summary
    assert family.notes


def largest_eigenvalues(problem, pi):
    kernel = np.einsum("sa,sat->st", pi, problem.P.toarray().reshape(problem.S, problem.A, problem.S))
    return np.sort(np.abs(np.linalg.eigvals(kernel)))[::-1]


@pytest.mark.parametrize("name, side", [("ring", {"S": 144}), ("grid", {"rows": 12, "columns": 12})])
@pytest.mark.parametrize("seed", range(3))
def test_neighbours_are_near_even_and_mix_slowly(name, side, seed):
    problem = families[name].build(**side, A=3, b=3, m=2, seed=seed)
    assert problem.S == 144
    assert problem.P.indices.dtype == np.int32
    assert (np.diff(problem.P.indptr) == 3).all()
    state, there = np.repeat(np.arange(144), 9), problem.P.indices
    if name == "ring":
        away = np.abs(there - state)
        assert np.minimum(away, 144 - away).max() == 3
    else:
        down, right = np.abs(np.array(divmod(state, 12)) - divmod(there, 12))
        inside = (np.abs(np.array(divmod(state, 12)) - 5.5) < 5).all(axis=0)
        assert down[inside].max() == right[inside].max() == 1
        assert down.max() == right.max() == 2
    pi = np.full((144, 3), 1 / 3)
    assert largest_eigenvalues(problem, pi)[1] > 0.9
    mixing = garnet(S=144, A=3, b=3, m=0, seed=seed, sparse=True)
    assert largest_eigenvalues(mixing, pi)[1] < 0.6


@pytest.mark.parametrize("source", ["ring:S=60,m=3", "grid:rows=7,columns=9,m=3", "ring:S=7,b=3,A=2,m=4"])
@pytest.mark.parametrize("seed", range(4))
def test_swept_thresholds_bind_and_leave_slack(source, seed):
    problem = load(f"{source},seed={seed}").cmdp
    assert solve(problem).slater_slack > 0
    costs = evaluate(problem, optimise(problem).log_policy).at_rho[1:]
    assert (costs.lower > problem.d).all()
