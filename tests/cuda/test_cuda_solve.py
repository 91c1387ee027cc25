"""Reductions, linear systems, evaluation and the optimum on the device."""

import math
from fractions import Fraction

import numpy as np
import pytest
from device_problems import UNEVEN, sparse_problem

from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.evaluation import evaluate, visitation
from tabular_fedrl.kernels.cuda import cuda
from tabular_fedrl.loops import cuda_solve
from tabular_fedrl.loops.cuda_solve import Workspace
from tabular_fedrl.loops.large_cuda import Device
from tabular_fedrl.policies import random_log_policy
from tabular_fedrl.solvers import optimise


def test_reductions():
    g = np.random.default_rng(1)
    x, y, rho = g.normal(size=(29, 2)), g.normal(size=(29, 2)), g.random((29, 1))
    space = Workspace(29, 2)
    dx, dy = cuda.to_device(x), cuda.to_device(y)
    exact = [float(sum(Fraction(a) * Fraction(b) for a, b in zip(x[:, q], y[:, q]))) for q in range(2)]
    size = (np.abs(x) * np.abs(y)).sum(axis=0)
    assert (np.abs(space.dot(dx, dy) - exact) <= space.depth * 2.0**-53 * size).all()
    assert np.allclose(space.dot(dx, cuda.to_device(rho)), (x * rho).sum(axis=0), rtol=1e-14)
    assert (space.extremes(dx, dy) == [(y - x).max(axis=0), (x - y).max(axis=0), np.abs(x).max(axis=0)]).all()
    x[17, 1] = math.nan
    found = space.extremes(cuda.to_device(x), dy)
    assert np.isfinite(found[:, 0]).all()
    assert np.isnan(found[:, 1]).all()


@pytest.mark.parametrize("lengths", [(3,), UNEVEN])
def test_evaluation(lengths):
    cmdp = sparse_problem(2, S=8, lengths=lengths)
    log_pi = random_log_policy(np.random.default_rng(3), 8, 2)
    device = Device(cmdp)
    V = device.values()
    at_rho = device.evaluate(device.hold(log_pi), V)
    ours, reference = device.array_values(V), evaluate(cmdp, log_pi)
    assert np.abs(ours - reference.V.value.T).max() < 1e-12
    assert np.abs(at_rho.value - reference.at_rho.value).max() < 1e-12
    assert (np.abs(at_rho.value - reference.at_rho.value) <= at_rho.error + reference.at_rho.error).all()
    assert (at_rho.error < 1e-11).all()


def test_single_precision_pays_with_its_radius():
    cmdp = sparse_problem(4, S=8)
    log_pi = random_log_policy(np.random.default_rng(5), 8, 2)
    device = Device(cmdp, storage=np.float32, tolerance=1e-9)
    at_rho = device.evaluate(device.hold(log_pi), device.values())
    away = np.abs(at_rho.value - evaluate(cmdp, log_pi).at_rho.value)
    assert (away <= at_rho.error).all()
    # A control: the rounded weights are no problem of the float64 bound.
    assert away.max() > 1e-10
    assert (at_rho.error < 1e-5).all()


def test_where_bicgstab_breaks_down_sweeps_go_on(monkeypatch):
    cmdp = sparse_problem(6, S=6, m=0, gamma=0.3)
    log_pi = random_log_policy(np.random.default_rng(7), 6, 2)
    device = Device(cmdp)

    def spoiled(self, apply, x, target2):
        x.copy_to_device(np.full((self.S, self.k), math.nan))
        return 0

    monkeypatch.setattr(Workspace, "_bicgstab", spoiled)
    monkeypatch.setattr(cuda_solve, "SWEEPS", 30)
    V = device.values()
    device.evaluate(device.hold(log_pi), V)
    assert np.abs(device.array_values(V).T - evaluate(cmdp, log_pi).V.value).max() < 1e-12
    monkeypatch.setattr(cuda_solve, "ATTEMPTS", 0)
    with pytest.raises(SolverFailure, match="stalled at a residual"):
        device.evaluate(device.hold(log_pi), device.values())


def test_visitation():
    cmdp = sparse_problem(8, S=7, lengths=UNEVEN, m=0)
    log_pi = random_log_policy(np.random.default_rng(9), 7, 2)
    device = Device(cmdp)
    d = device.visitation(device.hold(np.exp(log_pi)))
    assert np.abs(d.copy_to_host()[:, 0] - visitation(cmdp, log_pi).value).max() < 1e-13


@pytest.mark.parametrize("lengths, storage", [((3,), np.float64), (UNEVEN, np.float64), ((3,), np.float32)])
def test_the_optimum(lengths, storage):
    cmdp = sparse_problem(10, S=8, lengths=lengths, m=0)
    exact = optimise(cmdp)
    found = Device(cmdp, storage=storage).optimise(1e-10)
    assert abs(found.value.value - exact.value.value) <= found.value.error + exact.value.error
    assert found.value.error < (1e-10 if storage == np.float64 else 1e-4)
    log_pi = np.where(np.arange(2) == found.actions.copy_to_host()[:, None], 0.0, -np.inf)
    assert evaluate(cmdp, log_pi).at_rho.value[0] >= exact.value.lower - 1e-4
