"""Step sizes and dual caps: by hand, by enumeration, and under a change of units."""

import itertools

import numpy as np
import pytest
from test_algorithms import FREE, bandit, same
from test_federation import random_problem

from tabular_fedrl.algorithms import unit_form as unit_forms
from tabular_fedrl.algorithms.step_sizes import (
    cost_gaps,
    federated_steps,
    lagrangian_spans,
    slater_slack,
)
from tabular_fedrl.algorithms.unit_form import unit_form, unit_steps
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InfeasibleCMDP, InvalidProblem, NotSlater
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.runner import run
from tabular_fedrl.solvers import solve

DEFAULTS = {"local_steps": 1, "eta": None, "eta_dual": None, "dual_cap": None}


def test_f1_steps_of_a_bandit_by_hand():
    """r = (0, 1), c = (0, 1), d = .4: the slack is .4 (arm 1), so Lam = 2/.4 = 5; B = 1 + 5, G = max(.4,
    .6)."""
    problem = bandit([0, 1], [[0, 1]], [0.4])
    steps = federated_steps(problem, 50, {**DEFAULTS, "local_steps": 2})
    assert slater_slack(problem.cmdp) == pytest.approx(0.4, abs=1e-9)
    assert steps.dual_cap == pytest.approx([5.0])
    assert lagrangian_spans(problem, steps.dual_cap) == pytest.approx([6.0])
    assert cost_gaps(problem.cmdp) == pytest.approx([0.6])
    assert steps.eta == pytest.approx((8 * np.log(2) / (2 * 100 * 36)) ** 0.5)
    assert steps.eta_dual == pytest.approx([5 / (0.6 * 10)])


@pytest.mark.parametrize("seed", range(4))
def test_cost_gaps_cover_every_deterministic_policy(seed):
    cmdp = random_problem(seed, S=3, A=2).cmdp
    tables = [np.eye(2)[list(choice)] for choice in itertools.product(range(2), repeat=3)]
    with np.errstate(divide="ignore"):
        values = evaluate(cmdp, np.log(np.array(tables))).at_rho.value[:, 1:]
    assert cost_gaps(cmdp) == pytest.approx(np.abs(values - cmdp.d).max(axis=0), abs=1e-9)


@pytest.mark.parametrize(("cost", "threshold"), [(0.0, 0.0), (0.4, 0.4), (0.4, 0.6)])
def test_where_no_policy_is_off_its_threshold_any_dual_step_serves(cost, threshold):
    """1 stands in for G, which is 0 and in floats the rounding of values; in the last case it is .2."""
    problem = bandit([0, 1], [[cost, cost]], [threshold])
    steps = federated_steps(problem, 100, {**DEFAULTS, "dual_cap": 3.0})
    G = 0.2 if threshold > cost else 1.0
    assert steps.eta_dual == pytest.approx([3 / (G * 10)])
    assert np.isfinite(run("fednpg", problem, 5, dual_cap=3.0).value.value).all()


def shifted(problem, a, b, s, t):
    """Reward a r + b, costs s c + t, thresholds moved along."""
    cmdp = problem.cmdp
    changed = cmdp.replace(r=a * cmdp.r + b, c=s * cmdp.c + t, d=s * cmdp.d + t * cmdp.horizon)
    return FederatedCMDP(changed, problem.visible)


@pytest.mark.parametrize("name", ["fednpg", "omniscient", "isolated", "sequential-shared", "fedpg"])
def test_default_steps_do_not_depend_on_units(name):
    problem = random_problem(1)
    plain = run(name, problem, 40, **FREE)
    other = run(name, shifted(problem, 20.0, -3.0, 5.0, 2.0), 40, **FREE)
    assert same(plain.iterates.log_policies, other.iterates.log_policies, 1e-7)
    assert other.multipliers == pytest.approx(4 * plain.multipliers, rel=1e-6, abs=1e-6, nan_ok=True)


def test_unit_form_maps_steps_and_values_back():
    problem = shifted(random_problem(2), 7.0, -2.0, 3.0, 1.5)
    form = unit_form(problem)
    inner = form.problem.cmdp
    for f in (inner.r, *inner.c):
        assert f.min() == pytest.approx(0, abs=1e-12)
        assert f.max() == pytest.approx(1)
    log_pi = np.log(np.full((4, 3), 1 / 3))
    outside, inside = (evaluate(p, log_pi).at_rho.value for p in (problem.cmdp, inner))
    assert form.value_back(inside[0]) == pytest.approx(outside[0])
    assert form.costs_back(inside[1:]) == pytest.approx(outside[1:])
    assert form.costs_back(inner.d) == pytest.approx(problem.cmdp.d)
    in_units = run("npg-pd", form.problem, 30, **FREE)
    outside_run = run("npg-pd", problem, 30, **FREE)
    assert same(in_units.iterates.log_policies, outside_run.iterates.log_policies, 1e-8)


def test_a_problem_in_unit_form_is_left_alone():
    problem = random_problem()
    form = unit_form(problem)
    assert form.problem is problem
    result = run("npg-pd", problem, 25, compare=False)
    xi = solve(problem.cmdp).slater_slack
    assert result.parameters["eta"] == pytest.approx(2 * np.log(3))
    assert result.parameters["eta_dual"] == pytest.approx(0.2 / 5)
    assert result.parameters["dual_cap"] == pytest.approx(2 / (0.2 * xi))


def test_steps_that_are_all_given_want_no_unit_form(monkeypatch):
    """A short run would pay more for it than for its rounds; one step missing, and theory gives that one."""
    problem = random_problem(3, m=2, visible=[[0], [1]])
    given = {"eta": 0.5, "eta_dual": [0.25, 0.125], "dual_cap": 4.0}
    for name in given:
        theory = unit_steps(problem, 50, {**dict.fromkeys(given), **{name: given[name]}})
        others = unit_steps(problem, 50, {**given, name: None})
        default = unit_steps(problem, 50, dict.fromkeys(given))
        np.testing.assert_array_equal(getattr(theory, name), np.full_like(getattr(theory, name), given[name]))
        np.testing.assert_array_equal(getattr(others, name), getattr(default, name))
    monkeypatch.setattr(unit_forms, "unit_form", None)
    steps = unit_steps(problem, 50, given)
    assert steps.eta == 0.5
    assert steps.eta_dual.tolist() == [0.25, 0.125]
    assert steps.dual_cap.tolist() == [4.0, 4.0]
    with pytest.raises(InvalidProblem, match="eta_dual has shape"):
        unit_steps(problem, 50, {**given, "eta_dual": [1.0, 2.0, 3.0]})


def test_not_slater_asks_for_a_cap():
    """The cost is 1 everywhere and so is the threshold: feasible, never strictly."""
    problem = bandit([0, 1], [[1, 1]], [1.0])
    for name in (
        "fednpg",
        "npg-pd",
        "isolated",
        "omniscient",
        "sampled-fednpg",
        "fedpg",
        "regularised-fednpg",
    ):
        with pytest.raises(NotSlater, match=r"Slater slack is 0.*--dual-cap"):
            run(name, problem, 3)
    result = run("fednpg", problem, 3, dual_cap=1.0)
    assert result.gap.value > 0
    assert np.isfinite(result.parameters["eta_dual"])


EDGES = {
    "no constraint": FederatedCMDP(random_problem(m=1, visible=[[0]]).cmdp.only([]), [(), ()]),
    "one action": random_problem(A=1, m=1, visible=[[0]]),
    "constant reward": bandit([1, 1], [[0, 1]], [0.4]),
    "constant costs": bandit([0, 1], [[0.3, 0.3]], [0.4]),
    "no signal at all": bandit([0, 0], np.zeros((0, 2)), []),
    "one state, one action": bandit([1], [[0]], [0.5]),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize(
    "name", ["fednpg", "npg-pd", "isolated", "sampled-fednpg", "fedpg", "regularised-fednpg"]
)
def test_degenerate_problems_run(name, edge):
    result = run(name, EDGES[edge], 5)
    for x in ("eta", "eta_dual", "dual_cap"):
        assert np.isfinite(result.parameters[x])
    assert result.parameters["eta"] > 0
    assert np.isfinite(result.value.value).all()
    assert abs(result.gap.value) < 5


def test_constant_reward_still_has_a_cap():
    """span r = 0 would make the theory's cap 0, and nothing would pull the policy to the feasible side."""
    result = run("fednpg", EDGES["constant reward"], 400)
    assert result.violations.value[0] < 0.03


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"eta": -1}, "eta = -1 is negative"),
        ({"eta": float("nan")}, "eta = nan is not finite"),
        ({"eta": "fast"}, "eta = 'fast' is not a number"),
        ({"eta_dual": -1}, "eta_dual"),
        ({"eta_dual": [1, 2]}, r"eta_dual has shape \(2,\).*3 constraints"),
        ({"eta_dual": float("inf")}, "eta_dual"),
        ({"dual_cap": float("nan")}, "dual_cap"),
        ({"dual_cap": float("inf")}, "dual_cap is infinite"),
        ({"dual_cap": "big"}, "dual_cap = 'big'"),
        ({"local_steps": 0}, "local_steps = 0: expected a whole number from 1 on"),
        ({"local_steps": 2.5}, "local_steps"),
        ({"weights": [0.5, 0.5]}, "2 weights for 3 agents"),
        ({"aggregation": "mean"}, "'arithmetic' or 'geometric'"),
        ({"initial_multipliers": -1, "dual_cap": 1}, "initial_multipliers"),
        ({"initial_multipliers": [1, 2], "dual_cap": 1}, "initial_multipliers has shape"),
    ],
)
def test_bad_parameters_are_refused(parameters, message):
    with pytest.raises(InvalidProblem, match=message):
        run("fednpg", random_problem(), 3, **parameters)


def test_infinite_cap_with_steps_given():
    result = run("fednpg", random_problem(), 5, dual_cap=float("inf"), eta=0.1, eta_dual=0.5)
    assert result.to_dict()["parameters"]["dual_cap"] is None


@pytest.mark.parametrize("tau", [0.0, -1.0, float("inf")])
def test_bad_weight_of_the_regulariser(tau):
    with pytest.raises(InvalidProblem, match="tau"):
        run("regularised-fednpg", random_problem(), 3, tau=tau)


def test_weights_enter_the_mean():
    problem = random_problem(visible=[[0], [1, 2]])
    kwargs = {"eta": 0.5, "eta_dual": 0.1, "dual_cap": 2}
    result = run("fednpg", problem, 1, weights=[0.9, 0.1], initial_multipliers=1.0, **kwargs, **FREE)
    ends = np.exp(result.iterates.local[0, :, -1])
    assert np.exp(result.final_log_policy) == pytest.approx(0.9 * ends[0] + 0.1 * ends[1])


def test_infeasible_problem_has_no_theory_steps():
    cmdp = CMDP(np.ones((1, 2, 1)), [[0, 1]], [[[1, 1]]], [0.5], [1.0], 0.0)
    with pytest.raises(InfeasibleCMDP):
        run("fednpg", cmdp, 3)
    assert run("fednpg", cmdp, 3, dual_cap=1.0, compare=False).violations.value == pytest.approx(0.5)
