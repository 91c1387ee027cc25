"""Which bases prove an optimum, and exact pivots from those that do not."""

from __future__ import annotations

import numpy as np
import pytest
from flint import fmpq
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tabular_fedrl.errors import InfeasibleCMDP, SolverFailure
from tabular_fedrl.instances import garnet, load
from tabular_fedrl.instances.textbook import deterministic
from tabular_fedrl.solvers import optimise, rational, rational_pivots
from tabular_fedrl.solvers.rational import optimum, prove_optimum, prove_slack, slack
from tests.problems import bandit, random_cmdp
from tests.rationals import Data, answer, assert_proof, fraction, judge, read, small_problem

SIZES = dict(seed=st.integers(0, 10**6), S=st.integers(1, 3), A=st.integers(1, 3), m=st.integers(0, 2))
ARMS = read(bandit([1.0, 0.0], [[1, 0]], [0.5]))


def accepted(prove, *data) -> bool:
    try:
        prove(*data)
    except SolverFailure:
        return False
    return True


# ---- the strict prover -------------------------------------------------------------------------------------
@given(**SIZES)
@settings(max_examples=60)
def test_exchanged_columns(seed, S, A, m):
    """Every exchange of one variable is accepted exactly when the definition, in Fractions, says optimal."""
    data = small_problem(seed, S=S, A=A, m=m)
    best, _ = answer(data)
    assume(best is not None)
    for basis in exchanges(best.basis, S * A + m):
        verdict = judge(data, basis)
        assert accepted(prove_optimum, *data, basis) == (verdict is not None and verdict.optimal)
        if verdict is not None and verdict.optimal:
            assert prove_optimum(*data, basis).value == best.value
            assert verdict.value == fraction(best.value)


@given(**SIZES | {"m": st.integers(1, 2)})
@settings(max_examples=40)
def test_exchanged_columns_of_the_slack(seed, S, A, m):
    data = small_problem(seed, S=S, A=A, m=m)
    best = slack(*data.without_reward)
    for basis in exchanges(best.basis, S * A + m + 1):
        verdict = judge(data, basis, with_slack=True)
        # Without t in the basis t + K would be 0, which no policy's slack is.
        optimal = verdict is not None and verdict.optimal and basis[-1] == S * A + m
        assert accepted(prove_slack, *data.without_reward, basis) == optimal


def exchanges(basis, n: int):
    outside = [i for i in range(n) if i not in basis]
    for place in range(len(basis)):
        for entering in outside:
            yield tuple(sorted((*basis[:place], *basis[place + 1 :], entering)))


@pytest.mark.parametrize("seed", range(5))
def test_a_unique_basis_is_the_only_one(seed):
    """Dense floats are not degenerate: every one of the exchanges loses."""
    data = read(random_cmdp(seed, S=4, A=3, m=2, gamma=0.9, tight=1.0))
    data = data._replace(P=(data.P + fmpq(1, 100)) / (1 + 4 * fmpq(1, 100)))
    best = optimum(*data)
    tried = [accepted(prove_optimum, *data, basis) for basis in exchanges(best.basis, 14)]
    assert len(tried) == 6 * 8
    assert not any(tried)


def test_the_error_names_the_variable():
    """Two arms, the paying one capped at 1/2: variables y(0, 0), y(0, 1) and the slack of the cap."""
    assert prove_optimum(*ARMS, (0, 1)).value == fmpq(1, 2)
    with pytest.raises(SolverFailure, match=r"not feasible: the slack of constraint 0 = -0\.5$"):
        prove_optimum(*ARMS, (0, 2))
    with pytest.raises(SolverFailure, match=r"not optimal: y\(s=0, a=0\) would gain 1 a unit$"):
        prove_optimum(*ARMS, (1, 2))


@pytest.mark.parametrize(
    "basis, message",
    [
        ((), "must name 2 different variables: it names 0, 0 different"),
        ((0, 1, 2), "must name 2 different variables: it names 3, 3 different"),
        ((1, 1), "must name 2 different variables: it names 2, 1 different"),
        ((0, 3), "names the variable 3, the program has 0 to 2"),
        ((-1, 1), "names the variable -1, the program has 0 to 2"),
        ((0, 1.5), "names the variable 1.5, the program has 0 to 2"),
        ((0, [1]), r"names the variable \[1\], the program has 0 to 2"),
    ],
)
def test_what_is_no_basis(basis, message):
    with pytest.raises(SolverFailure, match=message):
        prove_optimum(*ARMS, basis)


def test_singular():
    """Without discounting a step, two actions of one state are the same column of the flow."""
    data = read(bandit([1.0, 0.0, 0.0], [[1, 1, 0]], [0.5]))
    with pytest.raises(SolverFailure, match="the basis is singular"):
        prove_optimum(*data, (0, 1))


def test_order_does_not_matter():
    assert prove_optimum(*ARMS, [1, 0]).basis == (0, 1)


def test_a_state_without_basic_action():
    """Staying at home (worth 2) and leaving are basic, no action away is: its price there, 4, is above what
    can be had, 2 by the second action."""
    problem = deterministic(
        [[0, 1], [1, 1]], [[1.0, 0.0], [0.5, 1.0]], np.zeros((0, 2, 2)), [], 0.5, "ha", "xy"
    )
    data = read(problem.cmdp)
    proved = prove_optimum(*data, (0, 1))
    assert proved.value == 2
    assert proved.potentials.tolist() == [2, 2]
    assert proved.policy.tolist() == [[1, 0], [0, 1]]
    assert_proof(data, proved)
    # Whoever may choose a basis settles on one with an action away.
    assert optimum(*data, (0, 1)).basis == (0, 3)


# ---- pivots ------------------------------------------------------------------------------------------------
@given(wrecked=st.lists(st.integers(-2, 20), max_size=8), **SIZES)
@settings(max_examples=150)
def test_any_start_reaches_the_optimum(wrecked, seed, S, A, m):
    data = small_problem(seed, S=S, A=A, m=m)
    reaches_the_same(data, wrecked)


def reaches_the_same(data: Data, wrecked) -> None:
    if len(data.d):
        assert slack(*data.without_reward, wrecked).value == slack(*data.without_reward).value
    best, proof = answer(data)
    again, proof_again = answer(data, wrecked)
    if best is None:
        assert again is None
        assert proof_again.margin == proof.margin
    else:
        assert again.value == best.value
        assert judge(data, again.basis).optimal


@given(wrecked=st.lists(st.integers(0, 20), max_size=8), **SIZES)
@settings(max_examples=100)
def test_least_index_alone_ends(wrecked, seed, S, A, m):
    """Without perturbation degenerate pivots stall, and Bland's rule has to end them."""
    data = small_problem(seed, S=S, A=A, m=m)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rational_pivots, "_perturbation", lambda n: [0] * n)
        reaches_the_same(data, wrecked)


def test_perturbation_saves_pivots(monkeypatch):
    """The control of the test above: without perturbation pivots do stall, so that more of them are made."""
    pivots = []
    exchange = rational_pivots._exchange
    monkeypatch.setattr(rational_pivots, "_exchange", lambda *a: pivots.append(a) or exchange(*a))
    data = read(load("gym:FrozenLake-v1").cmdp)
    optimum(*data, ())
    perturbed = len(pivots)
    pivots.clear()
    monkeypatch.setattr(rational_pivots, "_perturbation", lambda n: [0] * n)
    optimum(*data, ())
    assert 0 < perturbed < len(pivots)


def test_a_random_start_on_a_larger_problem():
    data = read(random_cmdp(5, S=12, A=4, m=3, gamma=0.95, tight=0.9))
    best, margin = optimum(*data), slack(*data.without_reward)
    g = np.random.default_rng(0)
    for _ in range(4):
        wrecked = g.permutation(48 + 3)[:15].tolist()
        assert optimum(*data, wrecked).basis == best.basis
        assert slack(*data.without_reward, wrecked).value == margin.value


def test_a_silent_float_solver(monkeypatch):
    """HiGHS says nothing at all: exact pivots alone."""
    data = read(random_cmdp(6, S=6, A=3, m=2, gamma=0.9, tight=0.9))
    best = optimum(*data)
    monkeypatch.setattr(rational, "propose", lambda *problem: ())
    assert optimum(*data).basis == best.basis


@pytest.mark.parametrize("hair", [1e-13, -1e-13])
def test_floats_leave_few_pivots(monkeypatch, hair):
    """A threshold a hair above or below the least cost: from what HiGHS proposes exact pivots are few."""
    pivots = []
    exchange = rational_pivots._exchange
    monkeypatch.setattr(rational_pivots, "_exchange", lambda *a: pivots.append(a) or exchange(*a))
    cmdp = garnet(S=20, A=4, b=20, m=1)
    least = -float(optimise(cmdp, -cmdp.c[0]).value.value)
    data = read(cmdp.replace(d=[least * (1 + hair)]))
    counts = []
    for proposed in (rational.propose, lambda *problem: ()):
        monkeypatch.setattr(rational, "propose", proposed)
        pivots.clear()
        if hair > 0:
            assert optimum(*data).multipliers[0] > 0
        else:
            with pytest.raises(InfeasibleCMDP):
                optimum(*data)
        counts.append(len(pivots))
    assert counts[0] <= 2 < 10 < counts[1]


def test_completion_keeps_what_is_independent():
    """A basis without one of its variables is completed by a fitting one, never by dropping others."""
    data = read(random_cmdp(7, S=5, A=3, m=2, gamma=0.9, tight=0.9))
    best = optimum(*data)
    program = rational.occupancy_program(*data)
    for place in range(7):
        rest = (*best.basis[:place], *best.basis[place + 1 :])
        completed = rational_pivots.complete(program, rest)
        assert set(rest) < set(completed)
        assert len(completed) == 7
    repeated = rational_pivots.complete(program, (*best.basis, *best.basis, 99))
    assert repeated == best.basis
