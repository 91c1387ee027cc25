"""The exact optimum: closed forms, enumeration, float enclosures, and its proof redone in Fractions."""

from __future__ import annotations

import pickle
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from flint import fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_fedrl.errors import InfeasibleCMDP, InvalidProblem
from tabular_fedrl.instances import load
from tabular_fedrl.instances.textbook import TEXTBOOK
from tabular_fedrl.solvers import solve
from tabular_fedrl.solvers.rational import optimum, prove_optimum, prove_slack, slack, value_range
from tests.exact import constrained_optimum, encloses
from tests.problems import random_cmdp
from tests.rationals import (
    answer,
    assert_proof,
    deterministic_policies,
    fraction,
    fractions,
    judge,
    rational_array,
    read,
    small_problem,
    values,
)


def textbook(name: str):
    return read(TEXTBOOK[name].build().cmdp)


def as_lists(found) -> dict:
    return {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in vars(found).items()}


# ---- closed forms ------------------------------------------------------------------------------------------
def test_two_arms():
    data = textbook("two-arm")
    best, margin = optimum(*data), slack(*data.without_reward)
    assert (best.value, margin.value) == (fmpq(1, 2), fmpq(1, 2))
    assert best.multipliers.tolist() == [fmpq(1)]
    assert best.policy.tolist() == best.occupancy.tolist() == [[fmpq(1, 2), fmpq(1, 2)]]
    assert best.costs.tolist() == [fmpq(1, 2)]
    assert best.basis == (0, 1)
    assert margin.policy.tolist() == [[0, 1]]
    assert margin.multipliers.tolist() == [fmpq(1)]


def test_three_states():
    data = textbook("three-state")
    best = optimum(*data)
    assert best.value == fmpq(5, 4)
    assert best.multipliers.tolist() == [fmpq(1)]
    assert best.policy.tolist() == [[0, 1], [fmpq(2, 3), fmpq(1, 3)], [1, 0]]
    assert best.potentials.tolist() == [fmpq(1), fmpq(2), fmpq(4)]
    assert slack(*data.without_reward).value == fmpq(1, 4)


def test_no_slack():
    """One feasible policy; the multipliers (1 + t, t) are all optimal."""
    data = textbook("not-slater")
    best = optimum(*data)
    assert best.value == fmpq(1, 2)
    assert best.policy.tolist() == [[fmpq(1, 2), fmpq(1, 2)]]
    first, second = best.multipliers
    assert first - second == 1
    assert second >= 0
    assert slack(*data.without_reward).value == 0
    assert_proof(data, best)


def test_infeasible():
    data = textbook("infeasible")
    with pytest.raises(InfeasibleCMDP) as caught:
        optimum(*data)
    assert str(caught.value) == (
        "no policy meets all constraints: weighted by [0.5, 0.5] the costs are at least 0.5, the thresholds "
        "allow 0.25"
    )
    proof = caught.value.certificate
    assert proof.multipliers.tolist() == [fmpq(1, 2), fmpq(1, 2)]
    assert (proof.lowest, proof.budget, proof.margin) == (fmpq(1, 2), fmpq(1, 4), fmpq(1, 4))
    assert proof.check(data.cmdp)
    plain = {"multipliers": [0.5, 0.5], "lowest": 0.5, "budget": 0.25, "margin": 0.25}
    assert proof.to_dict() == plain | {"basis": list(proof.basis)}
    again = pickle.loads(pickle.dumps(caught.value))
    assert again.certificate.check(data.cmdp)


@pytest.mark.parametrize(
    "change",
    [
        {"multipliers": rational_array([1, 0], 2)},
        {"lowest": fmpq(3, 4)},
        {"budget": fmpq(1, 5)},
        {"margin": fmpq(1, 5)},
        {"basis": (0, 1, 2)},
        {"basis": (0, 2, 3)},
        {"basis": ()},
    ],
)
def test_changed_certificates_prove_nothing(change):
    data = textbook("infeasible")
    with pytest.raises(InfeasibleCMDP) as caught:
        optimum(*data)
    assert not replace(caught.value.certificate, **change).check(data.cmdp)


def test_a_certificate_proves_only_its_problem():
    data = textbook("infeasible")
    with pytest.raises(InfeasibleCMDP) as caught:
        optimum(*data)
    roomy = data._replace(d=data.d + fmpq(1, 4))
    assert not caught.value.certificate.check(roomy.cmdp)


@pytest.mark.parametrize("name", TEXTBOOK)
def test_textbook(name):
    """Every example against its closed form, which the floats of its data meet to rounding."""
    known, data = TEXTBOOK[name].answer, textbook(name)
    if known.value is None:
        with pytest.raises(InfeasibleCMDP):
            optimum(*data)
        return
    best = optimum(*data)
    assert float(best.value) == pytest.approx(known.value, rel=1e-14)
    if known.multipliers is not None:
        assert [float(x) for x in best.multipliers] == pytest.approx(known.multipliers, abs=1e-14)
    assert float(slack(*data.without_reward).value) == pytest.approx(known.slack, abs=1e-15)
    for row, expected in zip(best.policy, known.policy):
        assert expected is None or [float(x) for x in row] == pytest.approx(expected, abs=1e-14)
    assert_proof(data, best)


def test_exact_thirds():
    """Budgets of 1/3, which floats cannot hold: two-budgets has the optimum 3 exactly."""
    data = textbook("two-budgets")
    best = optimum(*data._replace(d=rational_array([Fraction(1, 3)] * 2, 2)))
    assert best.value == 3
    assert best.multipliers.tolist() == [1, 2]
    assert best.policy.tolist() == [[fmpq(3, 4), fmpq(1, 4)], [fmpq(1, 2), fmpq(1, 2)]]


# ---- against enumeration and floats ------------------------------------------------------------------------
@pytest.mark.parametrize("gamma", [0.0, 0.3, 0.9, 0.999])
@pytest.mark.parametrize("m", [1, 2])
def test_enumeration_of_all_vertices(gamma, m):
    for seed in range(6):
        cmdp = random_cmdp(seed, S=2 + seed % 2, A=2, m=m, gamma=gamma, sparse=bool(seed % 2), tight=0.7)
        exact = constrained_optimum(cmdp)
        if exact is None:
            with pytest.raises(InfeasibleCMDP):
                optimum(*read(cmdp))
        else:
            assert optimum(*read(cmdp)).value == exact


@given(st.integers(0, 10_000), st.integers(1, 4), st.sampled_from([0.0, 0.5, 0.9, 0.99, 0.9999]))
@settings(max_examples=40)
def test_inside_the_float_enclosure(seed, m, gamma):
    cmdp = random_cmdp(seed, S=2 + seed % 7, A=2 + seed % 3, m=m, gamma=gamma, tight=0.8)
    data = read(cmdp)
    best, proof = answer(data)
    if best is None:
        assert proof.check(data.cmdp)
        with pytest.raises(InfeasibleCMDP):
            solve(cmdp)
        return
    solution = solve(cmdp)
    assert encloses(solution.value, [best.value])
    margin = slack(*data.without_reward).value
    # What the float policy attains is at most 1e-9 of the costs' range below the largest.
    assert fmpq(*solution.slater_slack.as_integer_ratio()) <= margin
    assert float(margin) <= solution.slater_slack + 1e-9 * (1 / (1 - gamma) + np.abs(cmdp.d).max())


def test_frozen_lake():
    """Sparse, many states never visited, ties to the last bit of a float."""
    cmdp = load("gym:FrozenLake-v1").cmdp
    data = read(cmdp)
    best = optimum(*data)
    solution = solve(cmdp)
    assert encloses(solution.value, [best.value])
    assert_proof(data, best)


@pytest.mark.parametrize("source", ["gym:FrozenLake8x8-v1", "gym:CliffWalking-v1"])
def test_larger_tables(source):
    cmdp = load(source).cmdp
    data = read(cmdp)
    best = optimum(*data)
    assert encloses(solve(cmdp).value, [best.value])
    assert as_lists(prove_optimum(*data, best.basis)) == as_lists(best)
    margin = slack(*data.without_reward)
    assert as_lists(prove_slack(*data.without_reward, margin.basis)) == as_lists(margin)


def test_one_hundred_states():
    cmdp = random_cmdp(0, S=100, A=5, m=2, gamma=0.9, tight=0.9)
    best = optimum(*read(cmdp))
    assert encloses(solve(cmdp).value, [best.value])
    assert sum((best.policy != 0).ravel()) <= 102


# ---- properties --------------------------------------------------------------------------------------------
SIZES = dict(seed=st.integers(0, 10**6), S=st.integers(1, 4), A=st.integers(1, 3), m=st.integers(0, 3))


@given(**SIZES)
@settings(max_examples=300)
def test_every_answer_proves_itself(seed, S, A, m):
    """A weak-duality proof in Fractions for what is feasible, a mixture's bound for what is not."""
    data = small_problem(seed, S=S, A=A, m=m)
    margin = slack(*data.without_reward) if m else None
    best, proof = answer(data)
    if best is None:
        assert margin.value < 0
        assert proof.margin == -margin.value
        assert proof.check(data.cmdp)
        return
    assert margin is None or margin.value >= 0
    assert_proof(data, best)
    assert judge(data, best.basis).optimal
    assert as_lists(prove_optimum(*data, best.basis)) == as_lists(best)


@given(**SIZES | {"m": st.integers(1, 3)})
@settings(max_examples=200)
def test_slack(seed, S, A, m):
    """The policy attains it, and the weighted costs of every deterministic policy show that none does
    better."""
    data = small_problem(seed, S=S, A=A, m=m)
    margin = slack(*data.without_reward)
    mu, d = fractions(margin.multipliers), fractions(data.d)
    reached = values(data, fractions(margin.policy))[1:]
    assert reached == [fraction(x) for x in margin.costs]
    assert min(x - y for x, y in zip(d, reached)) == fraction(margin.value)
    assert all(x >= 0 for x in mu)
    assert sum(mu) == 1
    least = min(sum(x * y for x, y in zip(mu, values(data, pi)[1:])) for pi in deterministic_policies(S, A))
    assert sum(mu * d) - least == fraction(margin.value)
    assert judge(data, margin.basis, with_slack=True).optimal
    assert as_lists(prove_slack(*data.without_reward, margin.basis)) == as_lists(margin)


@given(**SIZES)
@settings(max_examples=60)
def test_value_range(seed, S, A, m):
    data = small_problem(seed, S=S, A=A, m=m)
    every = [values(data, pi)[0] for pi in deterministic_policies(S, A)]
    low, high = value_range(data.P, data.r, data.rho, data.gamma)
    assert (fraction(low), fraction(high)) == (min(every), max(every))


@pytest.mark.parametrize("power", [-400, -20, 20, 400])
def test_units_do_not_matter(power):
    """Scaling by powers of ten, beyond the range of floats, scales the answer exactly."""
    data, unit = read(random_cmdp(3, S=4, A=3, m=2, gamma=0.9, tight=0.8)), fmpq(10) ** power
    best, margin = optimum(*data), slack(*data.without_reward)
    scaled = data._replace(c=data.c * unit, d=data.d * unit)
    assert optimum(*scaled).value == best.value
    assert slack(*scaled.without_reward).value == margin.value * unit
    assert optimum(*data._replace(r=data.r * unit)).value == best.value * unit


def test_discount_beyond_floats():
    """1 - gamma = 1e-40, which rounds to 0: the proof does not need the float proposal."""
    one = fmpq(1)
    data = textbook("stay-or-leave")._replace(gamma=one - fmpq(1, 10**40), d=rational_array([10**40], 1))
    assert optimum(*data).value == 10**40


def test_data_that_are_no_distribution():
    data = textbook("three-state")
    P = data.P.copy()
    P[1, 0, 1] = fmpq(9, 10)
    with pytest.raises(InvalidProblem, match=r"P\[1, 0\] sums to 9/10, not to 1 exactly"):
        optimum(*data._replace(P=P))
    P[1, 0, 1], P[1, 0, 0] = fmpq(3, 2), fmpq(-1, 2)
    with pytest.raises(InvalidProblem, match=r"P\[1, 0\] has the negative entry -0.5 at 0"):
        optimum(*data._replace(P=P))
    with pytest.raises(InvalidProblem, match="rho sums to 2"):
        optimum(*data._replace(rho=2 * data.rho))
    with pytest.raises(InvalidProblem, match=r"gamma must lie in \[0, 1\), not 1"):
        optimum(*data._replace(gamma=fmpq(1)))
