"""The Krylov method, the choice of a method: against dense elimination, exact rationals, each other."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import scipy.sparse.linalg as spla

from tabular_fedrl import linear, methods
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.instances import garnet, grid, ring
from tabular_fedrl.kernels import krylov, structure
from tabular_fedrl.measured import UNIT
from tests.exact import ExactValues, rational
from tests.test_kernels_sparse import PROBLEMS, drawn, shuffled

FAMILIES = {
    "ring": lambda gamma: ring(S=400, A=3, b=3, m=1, gamma=gamma),
    "grid": lambda gamma: grid(rows=20, columns=20, A=3, b=3, m=1, gamma=gamma),
    "garnet": lambda gamma: garnet(S=400, A=3, b=3, m=1, gamma=gamma, sparse=True),
}
METHODS = {"eliminated": 1e9, "swept": 0.0, "iterated": 0.0}


class Matrix:
    """A dense system as :class:`krylov.Operator`."""

    def __init__(self, matrix, b):
        self.matrix, self.b = matrix, b

    def residual(self, x, out):
        out[:] = self.b - self.matrix @ x
        return np.abs(out).max(axis=0), np.abs(x).max(axis=0)

    def product(self, x, out, other):
        out[:] = self.matrix @ x
        return np.stack([(out * other).sum(axis=0), (out * out).sum(axis=0)])


def dense(cmdp, pi):
    return np.eye(cmdp.S) - cmdp.gamma * (
        cmdp.P.toarray().reshape(cmdp.S, cmdp.A, cmdp.S) * pi[..., None]
    ).sum(axis=1)


def sweep_in_vain(monkeypatch):
    def approach(rows, pi, f_pi, gamma, V, spare, tolerance):
        return V, spare, False

    monkeypatch.setattr(linear.successive, "approach", approach)


@pytest.fixture(params=METHODS)
def method(request, monkeypatch):
    """Elimination of everything, or of nothing, and then with sweeps before the Krylov method or without."""
    monkeypatch.setattr(methods, "ELIMINATION", METHODS[request.param])
    if request.param == "iterated":
        sweep_in_vain(monkeypatch)
    return request.param


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.999])
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("deterministic", [False, True])
def test_values_and_visits_are_those_of_dense_elimination(method, family, gamma, deterministic):
    cmdp = FAMILIES[family](gamma)
    pi, _, _ = drawn(cmdp, 2)
    policy = pi.argmax(axis=1) if deterministic else pi
    if deterministic:
        pi = np.eye(3)[policy]
    matrix = dense(cmdp, pi)
    V, size = linear.values(cmdp, policy)
    expected = np.linalg.solve(matrix, (pi * cmdp.signals).sum(axis=-1).T)
    scale = np.abs(expected).max()
    assert np.abs(V - expected).max() <= 1e-12 * scale / (1 - gamma)
    assert (size <= 100 * UNIT * scale).all()
    if deterministic:
        f_pi = np.take_along_axis(cmdp.signals, policy[None, :, None], axis=2)
        assert (linear.values(cmdp, policy, f_pi)[0] == V).all()
    d, total = linear.visits(cmdp, policy)
    assert np.abs(d - np.linalg.solve(matrix.T, (1 - gamma) * cmdp.rho)).sum() <= 1e-12 / (1 - gamma)
    assert total <= 1e-13
    assert np.abs(linear.visits(cmdp, policy, mu=np.eye(400)[3])[0].sum() - 1) <= 1e-12 / (1 - gamma)


@pytest.mark.parametrize("small", [ring(S=9, A=2, b=2, m=1), grid(rows=3, columns=4, A=2, m=1)])
def test_against_exact_rationals(method, small):
    actions = np.arange(small.S) % 2
    exact = ExactValues(small, [[int(a == b) for b in range(2)] for a in actions])
    V, size = linear.values(small, actions)
    off = max(abs(rational(V[s, k]) - exact.V[k][s]) for s in range(small.S) for k in range(2))
    assert off <= rational((size.max() + 40 * UNIT * np.abs(V).max()) / (1 - small.gamma))


def test_against_scipy_on_ten_thousand_states():
    """A ring, eliminated, and a Garnet, iterated."""
    for cmdp in (ring(S=10_000, m=0, gamma=0.99), garnet(S=10_000, m=0, sparse=True, gamma=0.99)):
        pi, _, _ = drawn(cmdp, 1)
        mean = sp.csr_array((pi.ravel(), np.arange(pi.size), np.arange(0, pi.size + 1, cmdp.A)))
        matrix = sp.csr_array(sp.eye_array(cmdp.S) - cmdp.gamma * (mean @ cmdp.P))
        V, _ = linear.values(cmdp, pi)
        theirs, _ = spla.bicgstab(matrix, (pi * cmdp.r).sum(axis=1), rtol=1e-12)
        assert np.abs(V[:, 0] - theirs).max() <= 1e-8


def test_the_method_follows_the_structure(monkeypatch):
    """A control on the tests above: both methods are really used."""
    calls = []

    def noting(name, f):
        monkeypatch.setattr(linear.band, name, lambda *arguments: (calls.append(name), f(*arguments)))

    for f in (linear.band.solve_values, linear.band.solve_visits):
        noting(f.__name__, f)
    narrow = ring(S=5000, m=0), grid(rows=5, columns=900, m=0), shuffled(grid(rows=900, columns=5, m=0))
    for cmdp in (*narrow, garnet(S=5000, m=0, sparse=True), grid(rows=200, columns=200, m=0)):
        pi, _, _ = drawn(cmdp, 1)
        linear.values(cmdp, pi)
        linear.visits(cmdp, pi)
        assert calls == (["solve_values", "solve_visits"] if cmdp in narrow else [])
        calls.clear()


def test_a_moved_order_and_merged_rows_change_nothing(monkeypatch):
    monkeypatch.setattr(methods, "ELIMINATION", 0.0)
    local = shuffled(grid(rows=40, columns=50, A=4, m=1))
    pi, _, _ = drawn(local, 2)
    answers = []
    for worth, merged in ((10**9, np.inf), (10**9, 1.5), (1000, np.inf), (1000, 1.5)):
        monkeypatch.setattr(structure, "WORTH", worth)
        monkeypatch.setattr(structure, "NEAR", 200)
        monkeypatch.setattr(methods, "MERGED", merged)
        fresh = local.replace(d=local.d)
        for policy in (pi, pi.argmax(axis=1)):
            answers.append((linear.values(fresh, policy)[0], linear.visits(fresh, policy)[0]))
        assert methods.line_of(fresh).moved == (worth == 1000)
        assert (not methods.prepared(fresh, pi)) == (worth > 1000 and merged > 2)
    for i in range(2, 8):
        for ours, first in zip(answers[i], answers[i % 2]):
            assert np.abs(ours - first).max() <= 1e-11


def test_a_warm_start_is_overwritten_and_saves_work():
    cmdp = garnet(S=3000, m=1, gamma=0.99, sparse=True)
    pi, _, _ = drawn(cmdp, 2)
    cold, _ = linear.values(cmdp, pi)
    near = 0.999 * pi + 0.001 / cmdp.A
    start = cold.copy()
    warm, size = linear.values(cmdp, near, start=start, tolerance=1e-6)
    assert warm is start
    assert (size <= 1e-6).all()
    equations = linear._Values(linear.rows_of(cmdp), near, cmdp.signals, cmdp.gamma)
    works = []
    for x in (cold.copy(), np.zeros_like(cold)):
        works.append(krylov.solve(equations, x, np.full(2, 1e-6), 0.0)[1])
    assert works[0] < 0.7 * works[1]
    again, _ = linear.values(cmdp, pi, start=cold.copy())
    assert np.array_equal(again, cold)
    d, _ = linear.visits(cmdp, pi)
    start = d.copy()
    assert np.shares_memory(linear.visits(cmdp, near, start=start)[0], start)


def test_a_tolerance_is_met_and_not_overdone():
    cmdp = garnet(S=3000, m=0, gamma=0.99, sparse=True)
    pi, _, _ = drawn(cmdp, 1)
    equations = linear._Values(linear.rows_of(cmdp), pi, cmdp.signals, cmdp.gamma)
    products = []
    for tolerance in (1e-2, 1e-5, 1e-9):
        V, size = linear.values(cmdp, pi, tolerance=tolerance)
        assert size <= tolerance
        products.append(krylov.solve(equations, np.zeros_like(V), np.full(1, tolerance), 0.0)[1])
    assert products == sorted(set(products))
    _, total = linear.visits(cmdp, pi, tolerance=1e-5)
    assert 1e-12 < total <= 1e-5


@pytest.mark.parametrize("far", [1, 400])
@pytest.mark.parametrize("family", ["grid", "garnet"])
def test_a_visitation_s_tolerance_is_the_sum_s(monkeypatch, family, far):
    """From the law of one state on, and from a visitation nearby: no entry has to be below a share of it."""
    monkeypatch.setattr(methods, "ELIMINATION", 0.0)
    cmdp = FAMILIES[family](0.99)
    rng = np.random.default_rng(0)
    policy = rng.integers(3, size=400).astype(np.int32)
    start, _ = linear.visits(cmdp, policy)
    policy[rng.integers(400, size=far)] = 1
    products = []
    solve = krylov.solve
    monkeypatch.setattr(linear.krylov, "solve", lambda *given: products.append(solve(*given)) or products[-1])
    for law in (cmdp.rho, np.eye(400)[7]):
        left = {}
        for tolerance in (1e-4, 1e-8, 1e-12):
            products.clear()
            d, total = linear.visits(cmdp, policy, law, start.copy(), tolerance)
            left[tolerance] = sum(n for _, n in products)
            residual = cmdp.rows.T @ (d[:, None] * np.eye(3)[policy]).ravel() * 0.99 + 0.01 * law - d
            assert total == pytest.approx(np.abs(residual).sum(), rel=1e-6, abs=1e-15)
            assert total <= tolerance
            assert total > 1e-2 * tolerance
        assert left[1e-4] < left[1e-8] < left[1e-12]


def test_columns_of_any_scale_are_solved_each_to_its_own_rounding():
    cmdp = garnet(S=2500, m=0, gamma=0.95, sparse=True)
    pi, f, _ = drawn(cmdp, 5)
    f *= np.array([1e-9, 1.0, 0.0, 1e9, 1e-30])[:, None, None]
    V, size = linear.values(cmdp, pi, f)
    assert (size <= 20 * UNIT * np.abs(V).max(axis=0)).all()
    assert (V[:, 2] == 0).all()


def test_units_beyond_those_of_float32_change_nothing():
    cmdp = FAMILIES["garnet"](0.999)
    matrix, b = (
        dense(cmdp, np.full((cmdp.S, cmdp.A), 1 / cmdp.A)),
        np.random.default_rng(0).normal(size=(400, 1)),
    )
    found = np.zeros_like(b)
    _, products = krylov.solve(Matrix(matrix, b), found, np.zeros(1), 16 * UNIT)
    for exponent in (-200, 200, 320):
        x = np.zeros_like(b)
        given = Matrix(matrix, np.ldexp(b, exponent))
        assert krylov.solve(given, x, np.zeros(1), 16 * UNIT)[1] == products
        assert np.array_equal(x, np.ldexp(found, exponent))


@pytest.mark.parametrize("seed", range(5))
def test_hard_contractions(seed):
    """Nearly periodic chains, whose spectrum fills a circle: the worst for a Krylov method."""
    g = np.random.default_rng(seed)
    S = 120
    kernel = np.roll(np.eye(S), 1, axis=1) * (1 - 1e-6) + 1e-6 * g.dirichlet(np.ones(S), size=S)
    matrix = np.eye(S) - 0.99 * kernel
    b = np.zeros((S, 2))
    b[0, 0], b[:, 1] = 1.0, g.normal(size=S)
    x = np.zeros((S, 2))
    size, _ = krylov.solve(Matrix(matrix, b), x, np.zeros(2), 16 * UNIT)
    assert np.abs(x - np.linalg.solve(matrix, b)).max() <= 1e-10
    assert (size <= 1e-12).all()


@pytest.mark.parametrize("effect", [0.0, 1e-3])
def test_cycles_that_come_to_nothing_are_survived(monkeypatch, effect):
    """The fixed-point iteration then does the work."""

    def cycle(operator, x, *rest):
        x += effect
        return 0

    monkeypatch.setattr(krylov, "_cycle", cycle)
    sweep_in_vain(monkeypatch)
    cmdp = garnet(S=300, m=1, gamma=0.5, sparse=True)
    pi, _, _ = drawn(cmdp, 2)
    monkeypatch.setattr(methods, "ELIMINATION", 0.0)
    V, _ = linear.values(cmdp, pi)
    expected = np.linalg.solve(dense(cmdp, pi), (pi * cmdp.signals).sum(axis=-1).T)
    assert np.abs(V - expected).max() <= 1e-13


def test_a_stall_is_an_error(monkeypatch):
    monkeypatch.setattr(methods, "ELIMINATION", 0.0)
    monkeypatch.setattr(krylov, "CYCLES", 0)
    sweep_in_vain(monkeypatch)
    cmdp = garnet(S=400, m=0, sparse=True)
    with pytest.raises(SolverFailure, match="stalled at a residual"):
        linear.values(cmdp, drawn(cmdp, 1)[0])


def test_elimination_is_the_last_resort(monkeypatch):
    """One successor for each action, and a horizon of 10^5 steps across a wide grid."""
    cmdp = grid(rows=100, columns=100, A=2, b=1, m=0, gamma=0.99999)
    pi = np.random.default_rng(0).dirichlet(np.ones(2), cmdp.S)
    assert methods.line_of(cmdp).width > methods.narrow(cmdp)
    V, size = linear.values(cmdp, pi)
    assert (size <= linear.NEARLY * np.abs(V).max()).all()
    d, total = linear.visits(cmdp, pi)
    assert total <= 1e-15
    mean = sp.csr_array((pi.ravel(), np.arange(pi.size), np.arange(0, pi.size + 1, 2)))
    matrix = spla.splu(sp.csc_array(sp.eye_array(cmdp.S) - cmdp.gamma * (mean @ cmdp.P)))
    assert np.abs(V[:, 0] - matrix.solve((pi * cmdp.r).sum(axis=1))).max() <= 1e-9 * np.abs(V).max()
    theirs = matrix.solve((1 - cmdp.gamma) * cmdp.rho, trans="T")
    assert np.abs(d - theirs).sum() <= 1e-9
    monkeypatch.setattr(methods, "LAST_RESORT", 0.0)
    monkeypatch.setattr(krylov, "CYCLES", 8)
    for f in linear.values, linear.visits:
        with np.errstate(over="ignore"), pytest.raises(SolverFailure, match="stalled at a residual"):
            f(cmdp, pi)


@pytest.mark.parametrize("name", PROBLEMS)
def test_every_shape_is_evaluated(name):
    cmdp = PROBLEMS[name]
    pi, f, _ = drawn(cmdp, 3)
    V, _ = linear.values(cmdp, pi, f)
    Q = f + cmdp.gamma * (cmdp.P @ V).T.reshape(f.shape)
    assert np.abs((pi * Q).sum(axis=-1).T - V).max() <= 1e-11


def test_a_problem_of_one_state():
    cmdp = CMDP(sp.csr_array(np.ones((2, 1))), [[1.0, 3.0]], np.zeros((0, 1, 2)), [], [1.0], 0.5)
    assert linear.values(cmdp, np.array([[0.5, 0.5]]))[0] == pytest.approx(4.0)
    assert linear.visits(cmdp, np.array([1]))[0] == pytest.approx(1.0)
