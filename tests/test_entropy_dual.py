"""The dual method's page against a bandit whose dual function can be written down."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

from proofs_check.rates.entropy_dual import EntropyDual, dual, minimiser
from tabular_fedrl.instances import load

TAU = 0.1


def bandit():
    """One state, one constraint: D(lambda) = tau logsumexp((r - lambda c)/tau) + lambda d - tau log A."""
    cmdp = load("textbook:two-arm").cmdp
    assert (cmdp.S, cmdp.m, cmdp.gamma) == (1, 1, 0.0)
    r, c, d = cmdp.r[0], cmdp.c[0, 0], cmdp.d[0]
    return cmdp, r, c, d, lambda lam: TAU * (logsumexp((r - lam * c) / TAU) - np.log(len(r))) + lam * d


def test_the_path_is_that_of_accelerated_descent_written_down_by_hand():
    _, r, c, d, D = bandit()
    x = EntropyDual().setup(load("textbook:two-arm"), rounds=12, tau=TAU)
    L = (c.max() - c.min()) ** 2 / (4 * TAU)
    best = minimize_scalar(D, bounds=(0.0, 10.0), method="bounded", options={"xatol": 1e-12})
    before = lam = 0.0
    for k in range(12):
        y = max(lam + max(k - 1, 0) / (k + 2) * (lam - before), 0.0)
        before, lam = lam, max(y + (softmax((r - y * c) / TAU) @ c - d) / L, 0.0)
        np.testing.assert_allclose(x.excess.value[k], D(lam) - best.fun, atol=1e-10)
        np.testing.assert_allclose(x.f.value[k], softmax((r - lam * c) / TAU) @ c - d, atol=1e-9)
    np.testing.assert_allclose(x.size.value, best.x, atol=1e-5)
    np.testing.assert_allclose(x.bound().value[3], 2 * L * best.x**2 / 25, rtol=1e-4)


def test_the_minimum_is_enclosed():
    cmdp, *_, D = bandit()
    best, value, left = minimiser(cmdp, TAU, np.array([20.0]))
    least = min(D(lam) for lam in np.linspace(0, 20, 20001))
    assert value.lower - left <= least
    assert D(best[0]) <= least + 1e-9
    assert left < 1e-6


def test_the_gradient_is_that_of_the_dual_function():
    cmdp = load("random-mdp:seed=1,gamma=0.5").cmdp
    lam, h = np.linspace(0.1, 0.7, cmdp.m), 1e-5
    _, f = dual(cmdp, 0.3, lam)
    for j, e in enumerate(np.eye(cmdp.m) * h):
        up, down = (float(dual(cmdp, 0.3, lam + s * e)[0]) for s in (1, -1))
        np.testing.assert_allclose((up - down) / (2 * h), -f.value[j], rtol=1e-6, atol=1e-7)
