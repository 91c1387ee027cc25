"""The shared strategies draw what they promise, and properties of evaluation that hold for every draw."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tabular_fedrl.evaluation import evaluate, visitation
from tabular_fedrl.policies import enclosed, uniform
from tabular_fedrl.solvers import solve
from tests.strategies import cmdps, federations, log_policies


@given(cmdps(min_constraints=1))
def test_every_problem_has_a_slater_point(cmdp):
    slack = solve(cmdp).slater_slack
    assert slack is not None
    assert slack > 0


@given(federations())
def test_every_constraint_is_seen(problem):
    assert (problem.observers >= 1).all()
    assert problem.pairs == problem.mask.sum()


@given(st.data())
def test_values_are_expectations_under_the_visitation(data):
    cmdp = data.draw(cmdps())
    log_pi = data.draw(log_policies(cmdp.S, cmdp.A))
    d = visitation(cmdp, log_pi)
    _, pi = enclosed(log_pi)
    direct = evaluate(cmdp, log_pi).at_rho
    signals = cmdp.signals.reshape(1 + cmdp.m, -1)
    occupancy = (d.value[:, None] * pi.value).ravel()
    through = signals @ occupancy * cmdp.horizon
    allowed = direct.error + cmdp.horizon * (d.error.max() + 1e-14)
    assert (np.abs(through - direct.value) <= allowed).all()


@given(st.data())
def test_bellman_equation_holds_within_the_stated_error(data):
    cmdp = data.draw(cmdps())
    values = evaluate(cmdp, data.draw(log_policies(cmdp.S, cmdp.A)))
    V, Q = values.V.value, values.Q.value
    successor = np.einsum("sat,kt->ksa", cmdp.P, V)
    assert (np.abs(Q - (cmdp.signals + cmdp.gamma * successor)) <= values.Q.error + 1e-14).all()


@given(cmdps(min_constraints=1))
def test_optimum_is_not_beaten_by_a_feasible_policy(cmdp):
    best = solve(cmdp).value
    at_uniform = evaluate(cmdp, uniform(cmdp.S, cmdp.A)).at_rho
    if (at_uniform.upper[1:] <= cmdp.d).all():
        assert float(at_uniform.lower[0]) <= float(best.upper)
