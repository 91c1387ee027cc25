"""Policy iteration: the enclosure of the unconstrained optimum contains the exact one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import grid
from tabular_fedrl.solvers import optimise, value_range
from tabular_fedrl.solvers.inexact import improve
from tests.exact import deterministic_values, rational
from tests.problems import GAMMAS, bandit, random_cmdp


@pytest.mark.parametrize("gamma", GAMMAS)
@pytest.mark.parametrize("sparse", [False, True])
def test_enclosures_against_enumeration(gamma, sparse):
    for seed in range(6):
        cmdp = random_cmdp(seed, S=4, A=2, m=1, gamma=gamma, sparse=sparse)
        every = deterministic_values(cmdp)
        for signal, column in ((cmdp.r, 0), (cmdp.c[0], 1)):
            low, high = value_range(cmdp, signal)
            exact = [v[column] for v in every]
            assert rational(float(low.lower)) <= min(exact) <= rational(float(low.upper))
            assert rational(float(high.lower)) <= max(exact) <= rational(float(high.upper))
            assert float(high.error) <= 1e-12 / (1 - gamma) ** 2


@given(st.integers(0, 10_000))
@settings(max_examples=25)
def test_no_policy_is_better(seed):
    cmdp = random_cmdp(seed, S=6, A=3, m=1, gamma=0.9)
    best = optimise(cmdp)
    assert float(best.values.advantage.upper.max()) >= 0
    # greedy for its own values, up to rounding
    assert float(best.values.advantage.value.max()) <= 1e-12
    assert np.isin(np.exp(best.log_policy), [0.0, 1.0]).all()


@pytest.mark.parametrize("gamma", [0.999, 0.99999])
@pytest.mark.parametrize("seed", [0, 1, 2, 4])
def test_it_converges_where_information_travels_slowly(gamma, seed):
    """Policies evaluated to a tenth of the residual get worse here, and the values grew without end."""
    cmdp = grid(rows=40, columns=40, A=2, b=4, m=1, seed=seed, gamma=gamma)
    best = improve(cmdp, cmdp.r)
    assert best.high - best.low <= 1e-13 * np.abs(best.V).max()
    coarse = improve(cmdp, cmdp.r, accuracy=1e-6 / (1 - gamma))
    assert coarse.high - coarse.low <= 1.1e-6


def test_ties_end():
    """All actions alike: no switching, no cycling; the value is 1/(1-gamma) times the reward."""
    S, A = 5, 3
    cmdp = CMDP(
        np.full((S, A, S), 0.2), np.full((S, A), 0.7), np.zeros((0, S, A)), [], np.full(S, 0.2), 0.999
    )
    value = optimise(cmdp).value
    assert abs(float(value) - 700) <= float(value.error) <= 1e-8


def test_zero_signal_and_bad_signals():
    cmdp = bandit([1.0, 2.0])
    assert float(optimise(cmdp, np.zeros((1, 2))).value) == 0
    assert float(optimise(cmdp, -cmdp.r).value) == pytest.approx(-1, abs=1e-14)
    with pytest.raises(InvalidProblem, match=r"shape \(1, 2\)"):
        optimise(cmdp, np.zeros((2, 1)))
    with pytest.raises(InvalidProblem, match="finite"):
        optimise(cmdp, np.array([[np.nan, 0.0]]))
