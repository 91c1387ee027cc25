"""Infeasible problems: the certificate is a proof, and nothing else passes as one."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tabular_fedrl.errors import InfeasibleCMDP, SolverFailure
from tabular_fedrl.solvers import FarkasCertificate, solve
from tabular_fedrl.solvers.infeasible import certificate
from tabular_fedrl.solvers.large import solve_large
from tests.exact import deterministic_values, rational
from tests.problems import bandit, random_cmdp

CONFLICT = bandit([1.0, 0.0], [[1, 0], [0, 1]], [0.3, 0.3])
"""The probabilities of the two arms are to be at most .3 each."""


def infeasible(cmdp) -> FarkasCertificate:
    with pytest.raises(InfeasibleCMDP) as caught:
        solve(cmdp)
    return caught.value.certificate


@pytest.mark.parametrize("solver", [solve, solve_large])
def test_a_threshold_below_the_least_cost_by_rounding(solver):
    """In floats nobody can tell; exactly, the first problem has one policy and the second has none."""
    just = bandit([1.0, 0.0], [[0.5, 0.3]], [0.3])
    solution = solver(just)
    assert (float(solution.value.lower), float(solution.value.upper)) == pytest.approx((0, 0), abs=1e-300)
    assert np.exp(solution.log_policy).tolist() == [[0.0, 1.0]]
    short = just.replace(d=[np.nextafter(0.3, 0)])
    with pytest.raises(InfeasibleCMDP) as caught:
        solver(short)
    assert str(caught.value).endswith("the costs are at least 0.3, the thresholds allow 5.55112e-17 less")
    proof = caught.value.certificate
    assert proof.check(short)
    assert not proof.check(just)
    assert proof.margin == rational(0.3) - rational(short.d[0])


def test_conflicting_budgets_by_hand():
    """mu = (1/2, 1/2): every policy costs 1/2, the budgets allow .3; margin .2."""
    proof = infeasible(CONFLICT)
    assert proof.multipliers == pytest.approx([0.5, 0.5], abs=1e-9)
    assert proof.margin == pytest.approx(0.2, abs=1e-9)
    assert proof.budget == pytest.approx(0.3, abs=1e-12)
    assert proof.lowest == pytest.approx(0.5, abs=1e-9)
    assert proof.check(CONFLICT)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("sparse", [False, True])
def test_certificate_is_a_proof_in_exact_arithmetic(gamma, sparse):
    """In rationals, every deterministic policy costs more than the budget by the margin."""
    for seed in range(5):
        cmdp = random_cmdp(seed, S=3, A=2, m=2, gamma=gamma, sparse=sparse, tight=0.1)
        cmdp = cmdp.replace(c=cmdp.c + 0.1)
        proof = infeasible(cmdp)
        assert proof.check(cmdp)
        mu = [rational(x) for x in proof.multipliers]
        least = min(sum((m * v for m, v in zip(mu, p[1:])), 0 * mu[0]) for p in deterministic_values(cmdp))
        budget = sum((m * rational(d) for m, d in zip(mu, cmdp.d)), 0 * mu[0])
        assert least >= rational(proof.lowest)
        assert least - budget >= rational(proof.margin) > 0


@pytest.mark.parametrize(
    "change",
    [
        {"multipliers": np.array([1.0, 0.0])},  # proves nothing: that budget alone can be met
        {"multipliers": np.array([1.5, -0.5])},
        {"multipliers": np.array([5.0, 5.0])},
        {"multipliers": np.array([0.5, np.nan])},
        {"multipliers": np.array([1.0])},
        {"margin": 0.3},
        {"margin": -0.2},
        {"lowest": 0.9},
        {"budget": 0.1},
    ],
)
def test_tampered_certificates_are_rejected(change):
    assert not replace(infeasible(CONFLICT), **change).check(CONFLICT)


def test_certificate_of_another_problem_is_rejected():
    proof = infeasible(CONFLICT)
    assert not proof.check(bandit([1.0, 0.0], [[1, 0], [0, 1]], [0.6, 0.6]))
    assert not proof.check(bandit([1.0, 0.0], [[1, 0]], [0.3]))


def test_multipliers_that_prove_nothing_are_refused():
    with pytest.raises(SolverFailure, match="no proof of infeasibility"):
        certificate(bandit([1.0, 0.0], [[1, 0]], [0.3]), np.array([1.0]))


def test_message_and_json():
    with pytest.raises(InfeasibleCMDP, match=r"costs are at least 0\.5, the thresholds allow 0\.3"):
        solve(CONFLICT)
    as_json = json.loads(json.dumps(infeasible(CONFLICT).to_dict()))
    assert as_json["multipliers"] == pytest.approx([0.5, 0.5], abs=1e-9)
    assert set(as_json) == {"multipliers", "lowest", "budget", "margin"}
