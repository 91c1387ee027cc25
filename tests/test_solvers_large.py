"""Constrained optima without an LP: against the LP, against enumeration, and the ends of the answer apart."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InfeasibleCMDP, SolverFailure
from tabular_fedrl.evaluation import evaluate, visitation
from tabular_fedrl.instances import load
from tabular_fedrl.solvers import large, optimise, solve, value_range
from tabular_fedrl.solvers.columns import master
from tabular_fedrl.solvers.inexact import improve
from tabular_fedrl.solvers.large import solve_large
from tabular_fedrl.solvers.occupancies import (
    from_bits,
    mixture,
    occupied,
    policy_of,
    to_bits,
    values_at_start,
)
from tabular_fedrl.solvers.prices import Prices
from tabular_fedrl.solvers.search import Search
from tests.exact import ExactValues, constrained_optimum, deterministic_values, encloses, policy, rational
from tests.problems import GAMMAS, bandit, random_cmdp

STRUCTURES = {
    "random": "garnet:S={S},A=5,b=5,m={m},gamma=0.99,sparse=true",
    "ring": "ring:S={S},A=5,b=5,m={m},gamma=0.99",
    "grid": "grid:rows={side},columns={side},A=5,b=5,m={m},gamma=0.99",
}


HELD = {"random": 0.53, "ring": 0.5, "grid": 0.68}
"""What a search may hold, in parts of the problem's memory: beside a factor or a preconditioner more."""


def structured(name: str, S: int, m: int) -> CMDP:
    return load(STRUCTURES[name].format(S=S, side=int(S**0.5), m=m)).cmdp


def answer(cmdp: CMDP, solver=solve_large):
    """The solution, or None for a problem that is proved infeasible."""
    try:
        return solver(cmdp)
    except InfeasibleCMDP as error:
        proved = error.certificate.check(cmdp)
    assert proved
    return None


def unit(cmdp: CMDP) -> float:
    return float(np.abs(cmdp.r).max()) / (1 - cmdp.gamma)


def agree(cmdp: CMDP) -> bool:
    """The answers with and without an LP, compared; False if the problem is infeasible."""
    with_lp, without = answer(cmdp, solve), answer(cmdp)
    assert (with_lp is None) == (without is None)
    if with_lp is None or without is None:
        return False
    ours, theirs = without.value, with_lp.value
    assert ours.lower <= theirs.upper
    assert theirs.lower <= ours.upper
    if with_lp.slater_slack:
        scale = np.abs(cmdp.d) + np.abs(cmdp.c).max() / (1 - cmdp.gamma)
        assert without.duality_gap <= 2e-10 * (unit(cmdp) + float(without.multipliers @ scale))
        assert 0.9 * with_lp.slater_slack <= without.slater_slack + 1e-9 * scale.max()
        assert without.slater_slack <= with_lp.slater_slack + 2e-9 * scale.max()
        assert (without.costs.upper <= cmdp.d + 1e-10 * scale).all()
    return True


@pytest.mark.parametrize("m", range(1, 11))
def test_against_the_lp(m):
    """Hundreds of instances, from one constraint to ten, sparse and dense, up to half of them infeasible."""
    feasible = 0
    for seed in range(20):
        gamma = (0.0, 0.5, 0.9, 0.95, 0.99)[seed % 5]
        tight = 0.7 + 0.05 * m
        S, A = 2 + seed % 7, 2 + seed % 3
        cmdp = random_cmdp(seed, S=S, A=A, m=m, gamma=gamma, sparse=bool(seed % 2), tight=tight)
        feasible += agree(cmdp)
    assert feasible >= 8


@given(st.integers(0, 10_000), st.integers(1, 5), st.sampled_from([0.0, 0.5, 0.9, 0.99]))
@settings(max_examples=30)
def test_against_the_lp_on_drawn_instances(seed, m, gamma):
    agree(random_cmdp(seed, S=6, A=3, m=m, gamma=gamma, sparse=True, tight=0.8))


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("m", [1, 2])
def test_against_enumeration(gamma, m):
    for seed in range(4):
        cmdp = random_cmdp(seed, S=2 + seed % 2, A=2, m=m, gamma=gamma, sparse=True, tight=0.7)
        exact, ours = constrained_optimum(cmdp), answer(cmdp)
        assert (exact is None) == (ours is None)
        if ours is not None:
            assert encloses(ours.value.reshape(1), [exact])
            proved = ExactValues(cmdp, policy(ours.log_policy)).at_rho
            assert encloses(ours.costs, proved[1:])


@pytest.mark.parametrize(
    ("cmdp", "value", "slack"),
    [
        (bandit([1.0, 0.0], [[1, 0]], [0.3]), 0.3, 0.3),
        (bandit([1.0, 0.0], [[1, 0]], [0.0]), 0.0, 0.0),
        (bandit([1.0, 0.0], [[1, 0], [-1, 0]], [0.3, -0.3]), 0.3, 0.0),
        (bandit([1.0, 0.0], [[1, 0]], [5.0]), 1.0, 5.0),
        (bandit([0.0, 0.0], [[1, 0]], [0.5]), 0.0, 0.5),
        (bandit([1.0, 1.0], [[0, 0]], [0.0]), 1.0, 0.0),
        (bandit([1.0, 2.0, 2.0], [[0, 1, 1], [0, 1, 1]], [0.5, 0.5]), 1.5, 0.5),
    ],
    ids=["binding", "no-slack", "equality", "slack", "no-reward", "no-cost", "twins"],
)
def test_degenerate_problems_by_hand(cmdp, value, slack):
    solution = solve_large(cmdp)
    assert float(solution.value) == pytest.approx(value, abs=1e-9)
    assert 0.9 * slack - 1e-9 <= solution.slater_slack <= slack
    assert np.exp(solution.log_policy).sum() == pytest.approx(1)


def test_infeasible_problems_are_proved_so():
    conflict = bandit([1.0, 0.0], [[1, 0], [0, 1]], [0.3, 0.3])
    assert answer(conflict) is None


@pytest.mark.parametrize("slack", [0.1, 1e-2, 1e-3])
@pytest.mark.parametrize("name", STRUCTURES)
def test_thresholds_near_the_least_cost(name, slack):
    """A small slack is not lost in what the first columns' values are off by."""
    cmdp = structured(name, 10_000, 1)
    least, _ = value_range(cmdp, cmdp.c[0])
    tight = cmdp.replace(d=np.array([float(least.value) + slack]))
    found = solve_large(tight)
    assert 0.9 * slack <= found.slater_slack <= slack + 2 * float(least.error)
    assert found.duality_gap <= 2e-10 * (unit(tight) + 100 * float(found.multipliers.sum()))
    assert float(found.costs.upper[0]) <= tight.d[0]


@pytest.mark.parametrize("name", STRUCTURES)
def test_thresholds_at_the_least_cost(name):
    """Multipliers grow without end, and so does what rounding costs; a little less is infeasible."""
    cmdp = structured(name, 10_000, 1)
    least, _ = value_range(cmdp, cmdp.c[0])
    at, beside, below = (cmdp.replace(d=np.array([float(least.value) + s])) for s in (0.0, 1e-3, -1e-6))
    found = solve_large(at)
    assert found.slater_slack == 0
    assert found.duality_gap <= 0.05
    assert found.value.lower <= solve_large(beside).value.upper
    assert float(found.costs.upper[0]) <= at.d[0] + 1e-7
    assert answer(below) is None


def test_a_mixture_that_meets_no_threshold_is_no_slater_point(monkeypatch):
    cmdp = structured("grid", 400, 1)
    outcome = large.search_slack

    def dear(search, unit):
        found = outcome(search, unit)
        search.add(np.zeros(1), search.price(np.zeros(1), 1e-9)[0], 1e-9)
        dearest = search.table[:, 1].argmax()
        return replace(found, weights=np.eye(len(search.columns))[dearest])

    monkeypatch.setattr(large, "search_slack", dear)
    with pytest.raises(SolverFailure, match="exceeds a threshold"):
        solve_large(cmdp)


@pytest.mark.parametrize("name", STRUCTURES)
def test_ends_of_the_answer_hold_apart(name):
    """The lower end by evaluation, the upper end by policy iteration, neither by what the search used; a
    multiplier that is off proves less, and so does a policy."""
    cmdp = structured(name, 900, 2)
    solution = solve(cmdp)
    assert solution.solver == "columns"
    assert solution.duality_gap <= 1e-8
    again = evaluate(cmdp, solution.log_policy).at_rho
    assert (again.lower[1:] <= cmdp.d).all()
    assert float(again[0].upper) >= float(solution.value.lower)
    assert float(again[0].lower) <= float(solution.value.upper)
    assert np.abs(again.value[1:] - solution.costs.value).max() <= 1e-8

    def bound(multipliers) -> float:
        signal = cmdp.r - np.tensordot(multipliers, cmdp.c, axes=1)
        return float(optimise(cmdp, signal).value.upper) + float(multipliers @ cmdp.d)

    assert bound(solution.multipliers) == pytest.approx(float(solution.value.upper), abs=1e-8)
    for wrong in (1.01 * solution.multipliers, 0.99 * solution.multipliers, 0 * solution.multipliers):
        assert bound(wrong) > float(solution.value.upper) + 1e-7
    x = solution.occupancy
    assert x.min() >= 0
    assert x.sum() == pytest.approx(1, abs=1e-9)
    assert (x * cmdp.r).sum() / (1 - cmdp.gamma) == pytest.approx(float(solution.value), abs=1e-7)


@pytest.mark.parametrize("m", [1, 4])
@pytest.mark.parametrize("name", STRUCTURES)
def test_the_mixture_is_the_answer_too(name, m):
    """A few deterministic policies, evaluated one by one, have the values and the occupancy of the stationary
    one; with the weights in another order they have not."""
    cmdp = structured(name, 900, m)
    solution = solve(cmdp)
    weights, actions = solution.mixture.weights, solution.mixture.actions
    assert weights.min() > 0
    assert weights.sum() == pytest.approx(1, abs=1e-14)
    assert 2 <= len(weights) == len(actions) <= m + 1
    assert actions.dtype == np.uint8
    with np.errstate(divide="ignore"):
        policies = [np.log(np.eye(cmdp.A)[taken]) for taken in actions]
    alone = [evaluate(cmdp, log_policy).at_rho for log_policy in policies]
    visits = np.array([visitation(cmdp, log_policy).value for log_policy in policies])

    def apart(weights) -> float:
        """The value and the costs, in units of the enclosures' errors, and the occupancies."""
        values = sum(w * x.value for w, x in zip(weights, alone))
        answer = np.append(solution.value.value, solution.costs.value)
        error = sum(w * x.error for w, x in zip(weights, alone))
        error += np.append(solution.value.error, solution.costs.error)
        return float((np.abs(values - answer) / error).max())

    assert apart(weights) <= 1
    x = np.einsum("k,ks,ksa->sa", weights, visits, np.exp(policies))
    assert np.abs(x - solution.occupancy).sum() <= 1e-9
    assert apart(np.roll(weights, 1)) > 1e3
    assert solve(structured(name, 400, m)).mixture is None  # an LP's answer


@pytest.mark.parametrize("with_reward", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_the_master_overlooks_no_column_however_little_it_gains(seed, with_reward):
    """Columns along a parabola of a height of 1e-10 of the values: the best mixture is that of neighbours."""
    draw = np.random.default_rng(seed)
    place = np.sort(draw.uniform(-1, 1, size=12))
    values = np.array([80 + 4e-4 * place - 1e-8 * place**2, 30 + 1e-3 * place]).T
    limits = np.array([30.0])
    if not with_reward:
        # Of two costs with opposite slopes the larger one is made small.
        values = np.column_stack([values[:, 0], values[:, 1], 60 - values[:, 1] + 1e-8 * place**2])
        limits = np.array([31.0, 31.0])
    weights, multipliers, value = master(values, limits, with_reward)
    right = int(np.searchsorted(place, 0.0))
    assert set(np.flatnonzero(weights)) == {right - 1, right}
    assert weights.sum() == pytest.approx(1, abs=1e-15)
    gain = values[:, 0] if with_reward else np.zeros(12)
    worth = gain + (limits - values[:, 1:]) @ multipliers
    assert worth.max() == pytest.approx(value, abs=2e-14 * value)


def test_a_bound_below_the_value_is_refused(monkeypatch):
    """Weak duality is checked: a search that reports a bound too low is not believed."""
    cmdp = structured("ring", 900, 1)
    honest = large.search_optimum

    def lying(*arguments):
        found = honest(*arguments)
        return type(found)(found.weights, found.multipliers, found.upper - 1e-6, found.actions)

    monkeypatch.setattr(large, "search_optimum", lying)
    with pytest.raises(SolverFailure, match="weak duality is violated"):
        solve_large(cmdp)


@given(st.integers(0, 10_000), st.sampled_from([0.0, 0.5, 0.9, 0.99]), st.booleans())
@settings(max_examples=30)
def test_whatever_occupancy_it_is_given_the_values_are_enclosed(seed, gamma, near):
    """For the policy's own occupancy sharply, for any other non-negative numbers still."""
    cmdp = random_cmdp(seed, S=4, A=3, m=2, gamma=gamma, sparse=True)
    draw = np.random.default_rng(seed)
    if near:
        columns = [occupied(cmdp, draw.integers(0, 3, 4, dtype=np.int32)) for _ in range(3)]
        x = mixture(cmdp, columns, draw.dirichlet(np.ones(3)))
    else:
        x = draw.random((4, 3)) * (draw.random((4, 3)) < 0.7)
    log_pi = policy_of(x, draw.integers(0, 3, 4, dtype=np.int32))
    values = values_at_start(cmdp, x)
    assert encloses(values, ExactValues(cmdp, policy(log_pi)).at_rho)
    if near:
        assert values.error.max() <= 1e-12 / (1 - gamma) ** 2


@given(st.integers(0, 10_000), st.sampled_from(GAMMAS), st.sampled_from([0.0, 1e-6, 1e-2, 10.0]))
@settings(max_examples=30)
def test_inexact_policy_iteration_encloses_the_optimum(seed, gamma, accuracy):
    """From any start, to any accuracy; the greedy policy's own value lies within too."""
    cmdp = random_cmdp(seed, S=4, A=2, m=1, gamma=gamma, sparse=True)
    every = [v[0] for v in deterministic_values(cmdp)]
    start = np.random.default_rng(seed).normal(size=4) * 100
    for V in (None, start.copy()):
        best = improve(cmdp, cmdp.r, V, accuracy)
        value = best.at_start(cmdp)
        own = evaluate(cmdp, policy_of(np.eye(2)[best.actions], best.actions)).at_rho[0]
        assert rational(float(value.lower)) <= max(every) <= rational(float(value.upper))
        assert own.upper >= value.lower
        assert float(value.error) <= accuracy + 1e-12 / (1 - gamma) ** 2


@pytest.mark.parametrize("A", [1, 2, 5, 256, 257])
def test_actions_come_back_from_bits(A):
    actions = np.random.default_rng(A).integers(0, A, 1003, dtype=np.int32)
    bits = to_bits(actions, A)
    assert bits.nbytes <= 9 * -(-1003 // 8)
    assert (from_bits(bits, 1003) == actions).all()


def test_visitations_that_were_let_go_come_back():
    """Only columns with weight and the newest one hold theirs; one that gains weight later has it again."""
    cmdp = structured("grid", 400, 2)
    search = Search(cmdp, with_reward=True)
    for multipliers in np.eye(2), 2 * np.eye(2), np.zeros((1, 2)):
        for point in multipliers:
            search.add(point, search.price(point, 1e-9)[0], 1e-9)
    held = [column.visits for column in search.columns]
    K = len(held)
    assert K >= 4
    search.forget(np.eye(K)[1])
    assert [column.visits is not None for column in search.columns] == [k in (1, K - 1) for k in range(K)]
    assert search.sharpen(np.eye(K)[0])
    assert np.abs(search.columns[0].visits - held[0]).sum() <= 1e-6
    search.forget(np.eye(K)[1])
    assert search.sharpen(np.eye(K)[0])
    assert not search.sharpen(np.eye(K)[0])


@pytest.mark.parametrize("name", STRUCTURES)
def test_the_search_holds_no_table_too_many(name):
    """What solving needs beside the problem, in parts of the problem's own memory (NumPy's arrays; compiled
    kernels allocate only blocks)."""
    cmdp = structured(name, 40_000, 2)
    own = sum(a.nbytes for a in (cmdp.P.data, cmdp.P.indices, cmdp.P.indptr, cmdp.signals, cmdp.d, cmdp.rho))
    solve_large(cmdp)  # compiles
    tracemalloc.start()
    solve_large(cmdp)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak <= HELD[name] * own


def test_dense_and_sparse_policy_iteration_agree():
    for seed in range(5):
        dense = random_cmdp(seed, S=60, A=4, m=1, gamma=0.99)
        sparse = random_cmdp(seed, S=60, A=4, m=1, gamma=0.99, sparse=True)
        one, other = optimise(dense), optimise(sparse)
        assert float(one.value) == pytest.approx(float(other.value), abs=1e-9)
        assert np.abs(one.values.Q.value - other.values.Q.value).max() <= 1e-8
        assert (
            np.abs(one.values.V.value - other.values.V.value).max()
            <= float(other.values.V.error.max()) + 1e-9
        )


def test_functions_found_nearby_start_the_next_pricing():
    """Optimal values are linear in the multipliers where no action changes: the extrapolation is exact, and
    one sweep confirms it."""
    cmdp = structured("ring", 500, 2)
    search = Search(cmdp, with_reward=True)
    base = np.array([0.2, 0.3])
    for step in ([0.0, 0.0], [1e-9, 0.0], [0.0, 1e-9]):
        search.price(base + step, 1e-9)
    start = search._start(base + [1e-9, 1e-9])
    signal = cmdp.r - np.tensordot(base + [1e-9, 1e-9], cmdp.c, axes=1)
    assert np.abs(start - improve(cmdp, signal, accuracy=1e-10).V).max() <= 1e-8
    assert Search(cmdp, with_reward=True)._start(base) is None


def minimised(value, slope, m, steps, goal=-np.inf):
    """Prices after ``steps`` on a dual function with exact planes; fewer if it is below ``goal`` before."""
    prices = Prices.between(np.zeros(m + 1), np.ones(m + 1), np.ones(m + 1), np.zeros(m))
    x, columns = np.zeros(m), []
    for _ in range(steps):
        g, s = value(x), slope(x)
        # The column there: V_r = g - x.slope, d - V_c = slope with d = 0.
        columns.append(np.append(g - x @ s, -s))
        prices.observe(x, columns[-1], g)
        following = prices.following(np.array(columns))
        if following is None or prices.upper <= goal:
            break
        assert (following >= 0).all()
        x = following
    return prices


def test_prices_minimise_a_quadratic_in_a_few_steps():
    """g(x) = |x - 1|^2 / 2, all planes tangent: the bent planes are exact from the second step on."""
    target = np.array([1.0, 0.2])
    prices = minimised(lambda x: 0.5 * float((x - target) @ (x - target)), lambda x: x - target, 2, 12)
    assert prices.best == pytest.approx(target, abs=1e-3)


@pytest.mark.parametrize("m", [2, 4, 8])
def test_prices_find_the_bottom_of_a_valley_with_rounded_corners(m):
    """Flat far away and sharply bent near the minimum: a curvature that suits one of both misleads in the
    other."""
    target = np.linspace(0.2, 1.0, m)

    def length(x):
        return np.sqrt(1e-4 + (x - target) ** 2)

    prices = minimised(
        lambda x: float((length(x) - 1e-2).sum()), lambda x: (x - target) / length(x), m, 50, 1e-6
    )
    assert prices.upper <= 1e-6


@pytest.mark.parametrize(("S", "m"), [(10_000, 1), (3_000, 10)])
@pytest.mark.parametrize("name", STRUCTURES)
def test_thousands_of_states(name, S, m):
    cmdp = structured(name, S, m)
    solution = solve(cmdp)
    assert solution.duality_gap <= 1e-8
    assert (solution.costs.upper <= cmdp.d).all()
    assert solution.slater_slack > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", STRUCTURES)
def test_a_hundred_thousand_states(name):
    cmdp = structured(name, 100_000, 1)
    solution = solve(cmdp)
    assert solution.duality_gap <= 1e-8
    assert (solution.costs.upper <= cmdp.d).all()
