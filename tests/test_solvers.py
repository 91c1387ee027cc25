"""The constrained optimum: known answers, exact enumeration, the two solvers against each other."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InfeasibleCMDP, InvalidProblem, SolverFailure
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured
from tabular_fedrl.solvers import Solution, solve
from tabular_fedrl.solvers.constrained import solve_constrained
from tabular_fedrl.solvers.large import solve_large
from tabular_fedrl.solvers.lp import optimum_lp, slack_lp
from tests.exact import constrained_optimum, rational
from tests.problems import GAMMAS, bandit, random_cmdp


def contains(measured: Measured, x) -> bool:
    return abs(rational(float(measured.value)) - x) <= rational(float(measured.error))


def solved(cmdp: CMDP) -> Solution | None:
    """The solution, or None for a problem that is proved infeasible."""
    try:
        return solve(cmdp)
    except InfeasibleCMDP as error:
        proved = error.certificate.check(cmdp)
    assert proved
    return None


# Optimum, its tolerance and multipliers as the theory notes print them (to the digits printed).
WINDY_CLIFF = {1: (11.415338, [3.4969]), 2: (14.925548, [0.5415, 2.2630])}


@pytest.mark.parametrize("solver", ["highs", "clarabel"])
@pytest.mark.parametrize("ncost", WINDY_CLIFF)
def test_windy_cliff_as_printed(ncost, solver):
    value, multipliers = WINDY_CLIFF[ncost]
    solution = solve(load(f"windy-cliff:ncost={ncost}").cmdp, solver)
    assert abs(float(solution.value) - value) <= 1e-6
    assert np.round(solution.multipliers, 4).tolist() == multipliers
    assert solution.slater_slack == pytest.approx(2, abs=1e-9)
    assert solution.slater_slack <= 2  # attained, not estimated
    assert solution.active == tuple(range(ncost))
    assert solution.duality_gap <= 1e-9


def test_windy_cliff_without_constraints():
    cmdp = load("windy-cliff:ncost=1").cmdp
    solution = solve(cmdp.only([]))
    assert float(solution.value) == pytest.approx(42.563236, abs=1e-6)
    assert solution.slater_slack is None
    assert solution.multipliers.shape == (0,)
    assert solution.solver == "policy-iteration"


def test_solvers_agree_on_200_random_instances():
    """The raw answers of HiGHS and Clarabel agree to 1e-7, and so does the proved one."""
    compared = 0
    for seed in range(300):
        gamma = (0.0, 0.5, 0.9, 0.95, 0.99)[seed % 5]
        cmdp = random_cmdp(seed, S=2 + seed % 7, A=2 + seed % 3, m=1 + seed % 4, gamma=gamma, tight=0.7)
        solution = solved(cmdp)
        if solution is None:
            continue
        highs, clarabel = optimum_lp(cmdp, "highs"), optimum_lp(cmdp, "clarabel")
        assert abs(highs.value - clarabel.value) <= 1e-7
        assert abs(highs.value - float(solution.value)) <= 1e-7
        assert solution.duality_gap <= 2e-9 * max(1.0, abs(float(solution.value)))
        compared += 1
    assert compared >= 200


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("m", [1, 2])
def test_enclosure_contains_the_exact_optimum(gamma, m):
    """Against the enumeration of all vertices in rationals; infeasible exactly when that says so."""
    for seed in range(6):
        cmdp = random_cmdp(seed, S=2 + seed % 2, A=2, m=m, gamma=gamma, sparse=bool(seed % 2), tight=0.7)
        exact = constrained_optimum(cmdp)
        if exact is None:
            with pytest.raises(InfeasibleCMDP):
                solve(cmdp)
            continue
        solution = solve(cmdp)
        assert contains(solution.value, exact)
        assert float(solution.value.error) <= 1e-9 * max(1.0, abs(float(exact)))


def check_optimality(cmdp: CMDP, solution) -> None:
    """What the fields promise, recomputed: costs, occupancy, complementary slackness, Slater policy."""
    again = evaluate(cmdp, solution.log_policy).at_rho
    np.testing.assert_allclose(again.value[1:], solution.costs.value, rtol=0, atol=1e-12)
    scale = np.abs(cmdp.c).max(axis=(1, 2)) / (1 - cmdp.gamma) + np.abs(cmdp.d)
    assert (solution.costs.value <= cmdp.d + 1e-9 * scale).all()
    assert (solution.multipliers >= 0).all()
    slack = cmdp.d - solution.costs.value
    assert np.abs(solution.multipliers * slack).max() <= 1e-7 * max(1.0, abs(float(solution.value)))
    assert all(slack[j] <= 1e-7 * scale[j] for j in solution.active)
    x = solution.occupancy
    assert x.min() >= 0
    assert abs(x.sum() - 1) <= 1e-9
    through_x = float((x * cmdp.r).sum()) / (1 - cmdp.gamma)
    assert abs(through_x - float(again.value[0])) <= 1e-8 * max(1.0, abs(through_x))
    slater = evaluate(cmdp, solution.slater_log_policy, cmdp.c).at_rho
    if solution.slater_slack > 0:
        assert (slater.upper + solution.slater_slack <= cmdp.d + 1e-12 * scale).all()
    assert solution.duality_gap == pytest.approx(2 * float(solution.value.error), rel=0.01, abs=1e-13)


@given(st.integers(0, 10_000), st.integers(1, 4), st.sampled_from([0.0, 0.5, 0.9, 0.99]))
@settings(max_examples=40)
def test_solution_keeps_its_promises(seed, m, gamma):
    cmdp = random_cmdp(seed, S=4, A=3, m=m, gamma=gamma, tight=0.8)
    solution = solved(cmdp)
    if solution is not None:
        check_optimality(cmdp, solution)


@given(st.integers(0, 10_000), st.sampled_from([1e-4, 20.0, 1e6]), st.sampled_from([1e-3, 100.0]))
@settings(max_examples=15)
def test_scaling_reward_and_costs_scales_the_answer(seed, by_reward, by_cost):
    cmdp = random_cmdp(seed, S=4, A=3, m=2, gamma=0.9)
    scaled = cmdp.replace(r=by_reward * cmdp.r, c=by_cost * cmdp.c, d=by_cost * cmdp.d)
    try:
        plain = solve(cmdp)
    except InfeasibleCMDP:
        with pytest.raises(InfeasibleCMDP):
            solve(scaled)
        return
    other = solve(scaled)
    assert float(other.value) == pytest.approx(by_reward * float(plain.value), rel=1e-9)
    assert other.slater_slack == pytest.approx(by_cost * plain.slater_slack, rel=1e-6, abs=1e-9 * by_cost)


def test_bandit_by_hand():
    """Reward 1 on the arm with cost 1, budget .3: play it with probability .3; lam* = 1; slack .3."""
    solution = solve(bandit([1.0, 0.0], [[1, 0]], [0.3]))
    assert float(solution.value) == pytest.approx(0.3, abs=1e-12)
    assert solution.multipliers == pytest.approx([1.0], abs=1e-12)
    assert solution.slater_slack == pytest.approx(0.3, abs=1e-12)
    assert np.exp(solution.log_policy) == pytest.approx(np.array([[0.3, 0.7]]), abs=1e-12)


def test_heterogeneous_bandit_by_hand():
    """The notes' example: V* = .94 with both budgets spent, lam* = (.1, .1)."""
    solution = solve(bandit([1, 1, 0.9], [[0, 1, 0], [1, 0, 0]], [0.2, 0.2]))
    assert contains(solution.value, 2 * rational(0.2) + rational(0.9) * (1 - 2 * rational(0.2)))
    assert solution.multipliers == pytest.approx([0.1, 0.1], abs=1e-12)


def test_slack_constraints_have_no_price():
    solution = solve(bandit([2.0, 1.0], [[1, 0], [0, 1]], [5.0, 0.5]))
    assert float(solution.value) == pytest.approx(2.0, abs=1e-12)
    assert solution.multipliers.tolist() == [0.0, 0.0]
    assert solution.active == ()


def test_unreachable_states_act_greedily_for_the_lagrangian():
    """State 1 is never entered; there the costly arm does not pay at lam* = 1 (reward .5, cost 1)."""
    P = np.zeros((2, 2, 2))
    P[0, :, 0] = P[1, :, 1] = 1
    r = [[1.0, 0.0], [0.5, 0.0]]
    c = [[[1.0, 0.0], [1.0, 0.0]]]
    solution = solve(CMDP(P, r, c, [0.6], [1.0, 0.0], 0.5))
    assert float(solution.value) == pytest.approx(0.6, abs=1e-12)
    assert np.exp(solution.log_policy[1]).tolist() == [0.0, 1.0]


@pytest.mark.parametrize("solver", ["highs", "clarabel", "columns"])
@pytest.mark.parametrize("most", [1000, 0])
def test_feasible_without_slater(solver, most, monkeypatch):
    """Only the free arm is allowed: value 0; an equality by two opposite constraints: value .3. Exactly, and
    as problems are solved that are too large for that."""
    monkeypatch.setattr("tabular_fedrl.solvers.exact.MOST_ENTRIES", most)

    def answer(cmdp):
        solution = solve_large(cmdp) if solver == "columns" else solve_constrained(cmdp, solver)
        assert solution.slater_slack == 0.0
        assert solution.solver == ("rational" if most else solver)
        return solution

    one = answer(bandit([1.0, 0.0], [[1, 0]], [0.0]))
    assert float(one.value) == pytest.approx(0.0, abs=1e-9)
    assert contains(one.value, 0)
    two = answer(bandit([1.0, 0.0], [[1, 0], [-1, 0]], [0.3, -0.3]))
    assert float(two.value) == pytest.approx(0.3, abs=1e-9)


@pytest.mark.parametrize("solver", [solve, solve_large])
def test_a_small_cost_beside_a_large_one_without_slack(solver):
    """A slack that counts as none in units of the large cost is the whole of the small one's threshold: by
    hand, arm 0 three times in ten and arm 1 else."""
    cmdp = bandit([1.0, 0.5, 0.0], [[0, 0, 1e8], [1e-8, 0, 0]], [0.0, 0.3e-8])
    solution = solver(cmdp)
    share = rational(0.3e-8) / rational(1e-8)
    assert contains(solution.value, share + (1 - share) / 2)
    assert solution.duality_gap < 1e-14
    assert np.exp(solution.log_policy) == pytest.approx(np.array([[0.3, 0.7, 0]]), abs=1e-12)


def test_an_optimum_that_no_solver_finds_is_found_exactly(monkeypatch):
    """A linear program may be called infeasible where it is not, by its tolerance."""

    def give_up(*_):
        raise SolverFailure("no optimum")

    plain = solve(bandit([1.0, 0.0], [[1, 0]], [0.3]))
    monkeypatch.setattr("tabular_fedrl.solvers.constrained.optimum_lp", give_up)
    exact = solve_constrained(plain.cmdp, "highs")
    assert exact.solver == "rational"
    assert contains(exact.value, rational(0.3))
    assert exact.slater_slack == plain.slater_slack
    assert exact.multipliers == pytest.approx([1.0])


@pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
@pytest.mark.parametrize("solver", [solve, solve_large])
def test_units_of_the_costs(solver, scale):
    """In other units the costs' thresholds, slack and multipliers change with them, nothing else does."""
    cmdp = random_cmdp(6, S=5, A=3, m=3, gamma=0.999)
    plain, other = solver(cmdp), solver(cmdp.replace(c=scale * cmdp.c, d=scale * cmdp.d))
    assert plain.slater_slack > 0
    assert float(other.value) == pytest.approx(float(plain.value), rel=1e-9)
    assert other.slater_slack == pytest.approx(scale * plain.slater_slack, rel=1e-9)
    assert scale * other.multipliers == pytest.approx(plain.multipliers, abs=1e-8)


@pytest.mark.parametrize("m", [1, 2])
def test_budget_at_the_least_possible_cost(m):
    """d = min V_c to rounding is feasible without slack; below it infeasible; above it strictly feasible."""
    base = random_cmdp(4, S=4, A=3, m=m, gamma=0.9)
    least = slack_lp(base.replace(d=np.zeros(m))).value  # max t with V_c + t <= 0
    at = base.replace(d=np.full(m, -least))
    assert solve(at).slater_slack == 0.0
    assert solve(at.replace(d=at.d + 1e-4)).slater_slack == pytest.approx(1e-4, rel=1e-4)
    with pytest.raises(InfeasibleCMDP):
        solve(at.replace(d=at.d - 1e-4))


def test_columns_alone_agree_with_the_lp(monkeypatch):
    """Above the LP's size limit the optimum comes from column generation; same answer."""
    cmdp = random_cmdp(8, S=30, A=4, m=3, gamma=0.95)
    by_lp = solve(cmdp)
    monkeypatch.setattr("tabular_fedrl.solvers.constrained.LP_LIMIT", 0)
    alone = solve_constrained(cmdp, "highs")
    assert alone.solver == "columns"
    assert float(alone.value) == pytest.approx(float(by_lp.value), rel=1e-10)
    assert alone.multipliers == pytest.approx(by_lp.multipliers, abs=1e-7)
    assert 0.9 * by_lp.slater_slack <= alone.slater_slack <= by_lp.slater_slack * (1 + 1e-9)


def test_large_sparse_problem():
    """5000 states on a ring with jumps: enclosure below 1e-9 of the value."""
    g = np.random.default_rng(0)
    S, A, b = 5000, 3, 3
    cols = (np.repeat(np.arange(S), A)[:, None] + g.integers(-3, 4, (S * A, b))) % S
    weights = g.dirichlet(np.ones(b), S * A)
    P = sp.csr_array((weights.ravel(), (np.repeat(np.arange(S * A), b), cols.ravel())), shape=(S * A, S))
    cmdp = CMDP(P, g.random((S, A)), g.random((2, S, A)), [3.5, 3.8], np.full(S, 1 / S), 0.9)
    solution = solve(cmdp)
    assert solution.duality_gap <= 2e-9 * float(solution.value)
    check_optimality(cmdp, solution)


def test_answers_are_remembered_by_content():
    first = random_cmdp(0, S=3, A=2, m=1, gamma=0.5)
    again = random_cmdp(0, S=3, A=2, m=1, gamma=0.5)
    assert first is not again
    assert solve(first) is solve(again)


def test_a_federated_problem_has_the_optimum_of_its_cmdp():
    problem = load("textbook:three-state")
    assert solve(problem) is solve(problem.cmdp)


def test_unknown_solver():
    cmdp = bandit([1.0, 0.0], [[1, 0]], [0.3])
    with pytest.raises(InvalidProblem, match="unknown solver 'simplex'"):
        solve(cmdp, "simplex")
    with pytest.raises(InvalidProblem, match="unknown solver 'simplex'"):
        optimum_lp(cmdp, "simplex")
