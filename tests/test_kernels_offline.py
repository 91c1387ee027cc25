"""The steps of DRPO in lanes against the specification's, and both layouts of what couples states."""

import numpy as np
import pytest
from scipy.special import wrightomega

from tabular_fedrl.algorithms.drpo_cql import cql_step
from tabular_fedrl.algorithms.drpo_steps import aggregate, entropy_forward_step, forward_step, reverse_step
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.kernels import forward, layout, offline

S, A, W = 6, 4, 16


def lanes(x):
    return np.ascontiguousarray(np.moveaxis(x, 0, -1))


def log_policies(g, zeros):
    p = g.dirichlet(np.full(A, 0.5), size=(W, S)) * (g.random((W, S, A)) >= zeros)
    p[..., 0] += 1e-3
    with np.errstate(divide="ignore"):
        return np.log(p / p.sum(axis=-1, keepdims=True))


def inputs(seed, zeros=0.4):
    """Policies with zeros, critics that make F-steps leak, weights of which some are 0."""
    g = np.random.default_rng(seed)
    log_pi, log_b = log_policies(g, zeros), log_policies(g, zeros)
    Q = 5 * g.standard_normal((W, S, A))
    alpha, beta = g.uniform(0.05, 2, size=W), g.uniform(0.05, 2, size=W)
    return log_pi, log_b, Q, alpha, beta


def compiled(step, given, numbers, takes_pi=False, scratch=True):
    tables = [lanes(x) for x in given]
    if takes_pi:
        tables[0] = np.exp(tables[0])
    out, p = np.empty((S, A, W)), np.empty((S, A, W))
    step(*tables, *numbers, *([np.empty((2, W))] if scratch else []), out, p)
    assert np.nanmax(np.abs(np.exp(out) - p)) <= 1e-14
    return np.moveaxis(p, -1, 0)


def test_reverse_step():
    log_pi, log_b, Q, alpha, beta = inputs(1)
    alpha[0], beta[1] = 0.0, 0.0
    ours = compiled(offline.reverse_step, (log_pi, log_b, Q), (alpha, beta))
    for w in range(W):
        theirs = np.exp(reverse_step(log_pi[w], log_b[w], Q[w], alpha[w], beta[w]))
        assert np.abs(ours[w] - theirs).max() <= 1e-14


def test_forward_steps_leak_alike():
    log_pi, log_b, Q, alpha, beta = inputs(2)
    alpha[0], beta[1] = 0.0, 0.0
    Q[2] = np.round(Q[2])  # ties
    ours = compiled(forward.forward_step, (log_pi, log_b, Q), (alpha, beta), True, False)
    leaks = 0
    for w in range(W):
        theirs = forward_step(log_pi[w], log_b[w], Q[w], alpha[w], beta[w])[0]
        assert np.abs(ours[w] - theirs).max() <= 1e-13
        held = (alpha[w] * np.exp(log_b[w]) + beta[w] * np.exp(log_pi[w])) > 0
        leaks += (ours[w][~held] > 0).sum()
    assert leaks > 5


def test_entropy_step():
    log_pi, log_b, Q, alpha, beta = inputs(3)
    tau = np.random.default_rng(4).uniform(0.05, 1, size=W)
    ours = compiled(forward.entropy_step, (log_pi, log_b, Q), (alpha, beta, tau), True, False)
    for w in range(W):
        theirs = entropy_forward_step(log_pi[w], log_b[w], Q[w], alpha[w], beta[w], tau[w])[0]
        assert np.abs(ours[w] - theirs).max() <= 1e-12


def test_cql_step():
    log_pi, log_b, Q, lam, beta = inputs(5)
    lam[0] = 0.0
    ours = compiled(forward.cql_step, (log_pi, log_b, Q), (lam, beta))
    for w in range(W):
        theirs = np.exp(cql_step(log_pi[w], log_b[w], Q[w], lam[w], beta[w]))
        assert np.abs(ours[w] - theirs).max() <= 1e-11


def test_lambert_function():
    z = np.concatenate(
        [np.linspace(-800, 800, 40_001), np.linspace(-5, 5, 20_001), np.geomspace(10, 1e8, 2000)]
    )
    y = np.empty((1, z.size))
    forward.log_lambert(z[None], y)
    omega = wrightomega(z)
    theirs = np.where(z > 1, np.log(np.maximum(omega, 1e-300)), z - omega)
    assert (np.abs(y[0] - theirs) <= 4e-16 * np.maximum(1, np.abs(theirs))).all()


@pytest.mark.parametrize("kind", ["arithmetic", "geometric"])
def test_means(kind):
    g = np.random.default_rng(6)
    tables = np.stack([log_policies(g, 0.4) for _ in range(3)])
    omega = g.dirichlet(np.ones(3), size=(W, S))
    omega[0, :] = [0.5, 0.0, 0.5]
    out, p = np.empty((S, A, W)), np.empty((S, A, W))
    log_p, weights = np.moveaxis(tables, 1, -1).copy(), np.transpose(omega, (2, 1, 0)).copy()
    offline.mean_policy(log_p, weights, kind == "geometric", np.empty((2, W)), out, p)
    for w in range(W):
        theirs = np.exp(aggregate(kind, tables[:, w], omega[w].T))
        assert np.abs(p[..., w] - theirs).max() <= 1e-14


def test_a_step_without_a_common_action_is_nan():
    log_pi, log_b, Q, alpha, beta = inputs(7, zeros=0.0)
    log_pi[3, 2], log_b[3, 2] = [0.0, *[-np.inf] * (A - 1)], [*[-np.inf] * (A - 1), 0.0]
    for step in (offline.reverse_step, forward.cql_step):
        ours = compiled(step, (log_pi, log_b, Q), (alpha, beta))
        assert np.array_equal(np.argwhere(np.isnan(ours).any(axis=-1)), [[3, 2]])
    with pytest.raises(InvalidProblem, match="share no action"):
        reverse_step(log_pi[3], log_b[3], Q[3], 1.0, 1.0)


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.9999])
def test_both_layouts_solve_the_same_systems(gamma):
    g = np.random.default_rng(8)
    P, pi = g.dirichlet(np.full(S, 0.3), size=(W, S, A)), g.dirichlet(np.ones(A), size=(W, S))
    b, r = g.standard_normal((W, S)), g.standard_normal((W, S, A))
    operator = np.eye(S) - gamma * np.einsum("wsa,wsat->wst", pi, P)
    V = np.stack([np.linalg.solve(operator[w], b[w]) for w in range(W)])
    d = np.stack([np.linalg.solve(operator[w].T, b[w]) for w in range(W)])
    Q = r + gamma * np.einsum("wsat,wt->wsa", P, b)
    starts = (b * b).sum(axis=1)

    def check(w, P_, pi_, b_, r_, n):
        matrix, factors = np.empty((S, S, P_.shape[-1])), np.full(n, gamma)
        layout.factor(P_, pi_, factors, matrix)
        x, y, q, out = b_.copy()[None], b_.copy(), r_.copy(), np.empty((1, n))
        layout.solve(matrix, x)
        layout.solve_transposed(matrix, y)
        layout.backup(P_, b_, factors, q)
        layout.at_start(S, b_, b_[None], out)
        for ours, theirs in ((x[0], V[w]), (y, d[w]), (q, Q[w])):
            theirs = np.moveaxis(theirs, 0, -1) if n == W else np.swapaxes(theirs, 0, -1)[None]
            assert np.abs(ours - theirs.reshape(ours.shape)).max() <= 1e-12 * (1 + np.abs(theirs).max())
        assert np.abs(out[0] - starts[w]).max() <= 1e-12

    check(slice(None), lanes(P), lanes(pi), lanes(b), lanes(r), W)
    for w in range(3):
        check(w, P[w][..., None].copy(), pi[w].T[None].copy(), b[w][None].copy(), r[w].T[None].copy(), S)
