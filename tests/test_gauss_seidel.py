"""Gauss-Seidel sweeps as a preconditioner: against the matrices they stand for, in one part or several."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg as la

from tabular_fedrl import linear
from tabular_fedrl.instances import garnet, grid, ring
from tabular_fedrl.kernels import gauss_seidel, krylov, packed, threads, triangles
from tabular_fedrl.kernels.gauss_seidel import Preconditioned
from tabular_fedrl.kernels.sparse_rows import rows_of
from tabular_fedrl.kernels.triangles import sweeps
from tabular_fedrl.measured import UNIT
from tabular_fedrl.solvers.inexact import improve
from tests.test_kernels_sparse import drawn, shuffled, uneven

GAMMA = 0.99
PROBLEMS = {
    "grid": (grid(rows=25, columns=16, A=4, b=5, m=0), 34),
    "ring": (ring(S=400, A=3, b=2, m=0), 399),
    "uneven": (uneven(S=400), 399),
    "one successor": (garnet(S=400, A=2, b=1, m=0, sparse=True), 399),
}


@pytest.fixture(params=PROBLEMS)
def given(request):
    """Rows with A = 1 and how far they reach."""
    cmdp, reach = PROBLEMS[request.param]
    return packed.policy_rows(rows_of(cmdp), drawn(cmdp, 1)[0].argmax(axis=1)), reach


def dense(rows):
    matrix = np.zeros((rows.S, rows.S))
    ends = np.arange(rows.S + 1) * rows.width if rows.width else rows.starts.astype(int)
    state = np.repeat(np.arange(rows.S), np.diff(ends))
    np.add.at(matrix, (state, rows.successors), rows.weights)
    return matrix


def order(made, S):
    """States as they are swept: every other part first."""
    part = np.arange(S) // made.each
    return np.lexsort((np.arange(S), part, part % 2))


def factors(rows, made):
    r""":math:`D^{-1}(D+L)`, D, :math:`D^{-1}(D+U)` and M, in the order of the sweeps."""
    states = order(made, rows.S)
    M = (np.eye(rows.S) - GAMMA * dense(rows))[np.ix_(states, states)]
    D = np.diag(M)
    return np.tril(M) / D[:, None], D, np.triu(M) / D[:, None], M, states


@pytest.mark.parametrize("storage", [np.float64, np.float32])
@pytest.mark.parametrize("part", [1 << 14, 50])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_is_that_of_the_matrix_between_its_triangles(monkeypatch, given, transposed, part, storage):
    """To its rounding: what is right to the last digit in float32 is so in float64."""
    monkeypatch.setattr(triangles, "PART", part)
    unit = float(np.finfo(storage).eps) / float(np.finfo(np.float64).eps)
    rows, reach = given
    assert np.array_equal(dense(packed.transposed_rows(rows)), dense(rows).T)
    rows = packed.transposed_rows(rows) if transposed else rows
    made = sweeps(rows, GAMMA, reach, storage)
    assert made.parts == (8 if part == 50 and reach < 50 else 1)
    low, D, high, M, states = factors(rows, made)
    g = np.random.default_rng(0)
    x, b, other = g.normal(size=(400, 1)), g.normal(size=400), g.normal(size=(400, 1)).astype(np.float32)
    equations = Preconditioned(made, b)
    hidden = np.empty((400, 1), storage)
    hidden[states] = high @ x[states]
    assert np.abs(equations.found(hidden) - x).max() <= 1e-13 * unit
    out = np.empty_like(x)
    size, far = equations.residual(hidden, out)
    residual = b[states] - M @ x[states, 0]
    assert np.abs(out[states, 0] - la.solve_triangular(low, residual / D, lower=True)).max() <= 1e-11 * unit
    assert size == pytest.approx(np.abs(residual).max(), rel=1e-12 * unit)
    assert far == pytest.approx(np.abs(x).max(), rel=1e-12 * unit)
    sums = equations.product(hidden, out, other)
    expected = la.solve_triangular(low, (M @ x[states]) / D[:, None], lower=True)
    assert np.abs(out[states] - expected).max() <= 1e-11 * unit
    out = out.astype(np.float64)
    assert sums[0] == pytest.approx((out * other).sum(axis=0), rel=1e-9, abs=1e-10 * unit)
    assert sums[1] == pytest.approx((out * out).sum(axis=0), rel=1e-12 * unit)


@pytest.mark.parametrize("transposed", [False, True])
def test_one_sweep_after_another_converges(given, transposed):
    """The splitting is regular, which the relief of the Krylov method relies on; a twentieth more than M is
    not."""
    rows = packed.transposed_rows(given[0]) if transposed else given[0]
    low, D, high, M, _ = factors(rows, sweeps(rows, GAMMA, 399))
    step = np.linalg.solve(high, la.solve_triangular(low, M / D[:, None], lower=True))
    assert np.abs(np.linalg.eigvals(np.eye(400) - step)).max() < 1
    beyond = M - 0.05 * np.eye(400)
    step = np.linalg.solve(high, la.solve_triangular(low, beyond / D[:, None], lower=True))
    assert np.abs(np.linalg.eigvals(np.eye(400) - step)).max() > 1


def test_nothing_depends_on_the_number_of_threads(monkeypatch):
    monkeypatch.setattr(triangles, "PART", 1000)
    monkeypatch.setattr(threads, "ENOUGH", 1)
    cmdp = grid(rows=120, columns=70, A=3, b=4, m=0)
    rows = packed.policy_rows(rows_of(cmdp), drawn(cmdp, 1)[0].argmax(axis=1))
    answers = []
    for count in (1, 2, 3):
        monkeypatch.setattr(threads.numba, "get_num_threads", lambda count=count: count)
        made = sweeps(rows, GAMMA, 142)
        assert made.parts == 8
        equations = Preconditioned(made, cmdp.r[:, 0])
        x = np.zeros((cmdp.S, 1))
        size, products = krylov.solve(equations, x, np.full(1, 1e-9), 0.0)
        answers.append((equations.found(x).copy(), size, np.array(products)))
    for other in answers[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(answers[0], other))


@pytest.mark.parametrize("gamma", [0.99, 0.999])
def test_grids_take_half_the_products_or_fewer(gamma):
    """And as exact an answer; on a graph that mixes fast the sweeps are not used."""
    cmdp = grid(rows=100, columns=100, A=4, b=5, m=0, gamma=gamma)
    actions = drawn(cmdp, 1)[0].argmax(axis=1)
    rows = packed.policy_rows(rows_of(cmdp), actions)
    f = np.take_along_axis(cmdp.r, actions[:, None], axis=1)
    plain, ours = np.zeros((cmdp.S, 1)), np.zeros((cmdp.S, 1))
    goal = np.full(1, 1e-9)
    _, products = krylov.solve(linear._Values(rows, None, f[None], gamma), plain, goal, 0.0)
    equations = Preconditioned(sweeps(rows, gamma, 202), f)
    size, fewer = krylov.solve(equations, ours, goal, 0.0)
    V = equations.found(ours)
    assert fewer <= 0.5 * products
    assert size <= 1e-9
    assert np.abs(V - plain).max() <= 2e-9 / (1 - gamma)
    assert size == pytest.approx(
        np.abs(f + gamma * dense_product(rows, V) - V).max(), abs=64 * UNIT * V.max()
    )


def dense_product(rows, V):
    return (rows.weights * V[rows.successors, 0]).reshape(rows.S, -1).sum(axis=1, keepdims=True)


def test_where_the_sweeps_are_used(monkeypatch):
    used = []
    honest = triangles.sweeps
    monkeypatch.setattr(triangles, "sweeps", lambda *arguments: (used.append(1), honest(*arguments))[1])
    wide = grid(rows=100, columns=100, A=3, b=4, m=0)
    for cmdp, expected in (
        (wide, 2),
        (shuffled(wide), 2),
        (garnet(S=10_000, A=3, m=0, sparse=True), 0),
        (ring(S=10_000, m=0), 0),
    ):
        actions = drawn(cmdp, 1)[0].argmax(axis=1)
        V, size = linear.values(cmdp, actions)
        d, _ = linear.visits(cmdp, actions)
        assert len(used) == expected
        used.clear()
        assert (size <= 64 * UNIT * np.abs(V).max()).all()
        chosen = np.take_along_axis(cmdp.r, actions[:, None], axis=1)[:, 0]
        assert cmdp.rho @ V[:, 0] == pytest.approx(d @ chosen / (1 - cmdp.gamma), rel=1e-10)


def test_a_visitation_s_tolerance_is_not_overdone(monkeypatch):
    """Its residual grows uneven: an iteration that watched the largest entry went on for two digits more."""
    monkeypatch.setattr(linear, "LARGE", 0)
    cmdp = grid(rows=150, columns=150, A=5, b=5, m=0)
    actions = improve(cmdp, cmdp.r, accuracy=0.1).actions
    for tolerance in (1e-3, 1e-5):
        _, total = linear.visits(cmdp, actions, tolerance=tolerance)
        assert 0.05 * tolerance < total <= tolerance


@pytest.mark.parametrize("gamma", [0.9, 0.999, 0.99999])
def test_corrections_in_single_precision_lead_to_double(monkeypatch, gamma):
    """One alone does not; close to 1 they would lead nowhere, and are made in double precision."""
    monkeypatch.setattr(linear, "LARGE", 0)
    cmdp = grid(rows=100, columns=100, A=3, b=4, m=0, gamma=gamma)
    actions = drawn(cmdp, 1)[0].argmax(axis=1)
    made, honest = [], gauss_seidel.Preconditioned
    monkeypatch.setattr(
        gauss_seidel, "Preconditioned", lambda *arguments: (made.append(1), honest(*arguments))[1]
    )
    chosen = np.take_along_axis(cmdp.r, actions[:, None], axis=1)
    rows = packed.policy_rows(rows_of(cmdp), actions)

    def missing(x):
        return float(np.abs(chosen + gamma * dense_product(rows, x) - x).max()) / float(np.abs(x).max())

    def refined():
        x = np.zeros((cmdp.S, 1))
        linear._refined(
            cmdp, actions, lambda rows: linear._Values(rows, None, chosen[None], gamma), x, np.zeros(1)
        )
        return missing(x)

    assert refined() <= 32 * UNIT
    assert len(made) == 1 if gamma == 0.99999 else 2 <= len(made) <= 6
    monkeypatch.setattr(linear, "COARSEST", np.inf)
    monkeypatch.setattr(linear, "GAINED", 1e-300)
    assert refined() > 1e4 * UNIT
