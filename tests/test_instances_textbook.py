"""Textbook examples: the answers worked out in their docstrings, against the solver and against brute
force."""

import itertools

import numpy as np
import pytest

from tabular_fedrl.errors import InfeasibleCMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.instances import TEXTBOOK
from tabular_fedrl.policies import log_policy
from tabular_fedrl.solvers import optimise, solve

FEASIBLE = [example for example in TEXTBOOK.values() if example.answer.value is not None]


@pytest.fixture(params=FEASIBLE, ids=lambda example: example.name)
def example(request):
    return request.param


def test_at_least_eight_are_named():
    assert len(TEXTBOOK) >= 8
    assert {"three-state", "two-arm", "not-slater", "infeasible"} <= set(TEXTBOOK)
    for name, example in TEXTBOOK.items():
        assert example.name == name
        assert example.summary.endswith(".") or example.summary.endswith(":"), name


def test_solver_finds_the_answer(example):
    solution = solve(example.build().cmdp)
    answer = example.answer
    assert float(solution.value) == pytest.approx(answer.value, abs=1e-8)
    assert solution.slater_slack == pytest.approx(answer.slack, abs=1e-8)
    if answer.multipliers is not None:
        assert solution.multipliers == pytest.approx(answer.multipliers, abs=1e-8)
    for row, expected in zip(np.exp(solution.log_policy), answer.policy):
        if expected is not None:
            assert row == pytest.approx(expected, abs=1e-7)


def test_answer_is_consistent_without_a_constrained_solver(example):
    """Weak duality closes the gap: the stated policy attains the value and is feasible, and the dual function
    at the stated multipliers (unconstrained, over all deterministic policies) is no larger."""
    cmdp, answer = example.build().cmdp, example.answer
    rows = [np.full(cmdp.A, 1 / cmdp.A) if row is None else row for row in answer.policy]
    values = evaluate(cmdp, log_policy(rows, cmdp.S, cmdp.A)).at_rho.value
    assert values[0] == pytest.approx(answer.value, abs=1e-12)
    assert (values[1:] <= cmdp.d + 1e-12).all()
    multipliers = np.array(answer.multipliers if answer.multipliers is not None else (1.0, 0.0))
    priced = cmdp.r - np.einsum("j,jsa->sa", multipliers, cmdp.c)
    best = max(value_of(cmdp, choice, priced) for choice in itertools.product(range(cmdp.A), repeat=cmdp.S))
    assert best + multipliers @ cmdp.d == pytest.approx(answer.value, abs=1e-12)


def value_of(cmdp, choice, f):
    """Value at rho of a deterministic policy, by solving its linear system."""
    states = np.arange(cmdp.S)
    kernel = cmdp.P[states, choice]
    return cmdp.rho @ np.linalg.solve(np.eye(cmdp.S) - cmdp.gamma * kernel, f[states, choice])


def test_slack_is_what_mixtures_of_deterministic_policies_reach(example):
    """The largest slack over two-policy mixtures of deterministic policies, on a fine grid, is the stated one
    (every example attains its slack on such a mixture)."""
    cmdp = example.build().cmdp
    costs = np.array(
        [
            [value_of(cmdp, choice, c) for c in cmdp.c]
            for choice in itertools.product(range(cmdp.A), repeat=cmdp.S)
        ]
    )
    weights = np.linspace(0, 1, 101)[:, None, None, None]
    mixed = weights * costs[:, None] + (1 - weights) * costs[None, :]
    assert (cmdp.d - mixed).min(axis=-1).max() == pytest.approx(example.answer.slack, abs=1e-12)


def test_not_slater_has_unbounded_multipliers():
    """g(1 + t, t) = 1/2 for every t >= 0."""
    cmdp = TEXTBOOK["not-slater"].build().cmdp
    for t in (0.0, 1.0, 1000.0):
        multipliers = np.array([1 + t, t])
        priced = optimise(cmdp, cmdp.r - np.einsum("j,jsa->sa", multipliers, cmdp.c)).value
        assert float(priced) + multipliers @ cmdp.d == pytest.approx(0.5, abs=1e-10)


def test_infeasible_has_its_farkas_weights():
    example = TEXTBOOK["infeasible"]
    cmdp, mu = example.build().cmdp, np.array(example.answer.farkas)
    least = -float(optimise(cmdp, -np.einsum("j,jsa->sa", mu, cmdp.c)).value)
    assert least - mu @ cmdp.d == pytest.approx(example.answer.margin, abs=1e-12)
    with pytest.raises(InfeasibleCMDP) as caught:
        solve(cmdp)
    assert caught.value.certificate.multipliers == pytest.approx(mu, abs=1e-6)
    assert caught.value.certificate.margin == pytest.approx(example.answer.margin, abs=1e-9)


@pytest.mark.parametrize("d", [0.05, 0.2, 0.45])
def test_three_state_for_other_thresholds(d):
    """V* = 1 + d and lambda* = 1 for d in (0, 1/2), as its docstring derives."""
    solution = solve(TEXTBOOK["three-state"].build().cmdp.replace(d=[d]))
    assert float(solution.value) == pytest.approx(1 + d, abs=1e-9)
    assert solution.multipliers == pytest.approx([1.0], abs=1e-8)


def test_local_objectives_of_the_fixed_multipliers_bandit():
    problem = TEXTBOOK["fixed-multipliers-bandit"].build()
    cmdp = problem.cmdp
    local = [cmdp.r[0] / problem.N - cmdp.c[seen[0], 0] for seen in problem.visible]
    assert local[0] == pytest.approx([1.0, 0.0, 0.9])
    assert local[1] == pytest.approx([0.0, 1.0, 0.9])
