"""Sweeps, packed rows, the band and the orders of states against dense NumPy and each other."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.instances import garnet, grid, ring
from tabular_fedrl.kernels import band, flows, packed, sparse, sparse_far, sparse_rows, structure, threads
from tabular_fedrl.kernels.sparse_far import lies_far
from tabular_fedrl.kernels.sparse_rows import Rows, rows_of, scattered
from tabular_fedrl.kernels.structure import line_up
from tabular_fedrl.kernels.threads import CHUNK

GAMMA = 0.9


def uneven(S: int = 700, A: int = 3, seed: int = 0, run: int = 1) -> CMDP:
    """Rows of 1 to 8 successors anywhere, as many in runs of up to so many rows."""
    g = np.random.default_rng(seed)
    counts = np.repeat(g.integers(1, 9, size=S * A), g.integers(1, run + 1, size=S * A))[: S * A]
    rows = np.repeat(np.arange(S * A), counts)
    P = sp.csr_array((g.random(rows.size) + 0.1, (rows, g.integers(S, size=rows.size))), shape=(S * A, S))
    P.sum_duplicates()
    P.data /= np.repeat(np.asarray(P.sum(axis=1)).ravel(), np.diff(P.indptr))
    return CMDP(P, g.random((S, A)), np.zeros((0, S, A)), [], np.full(S, 1 / S), GAMMA)


PROBLEMS = {
    "uneven": uneven(),
    "runs": uneven(A=6, run=30),
    "ring": ring(S=500, A=3, b=4, m=0),
    "grid": grid(rows=18, columns=23, A=4, b=4, m=0),
    "garnet": garnet(S=600, A=2, b=5, m=0, sparse=True),
    "alone": garnet(S=400, A=1, b=3, m=0, sparse=True),
    "chunks": ring(S=4 * CHUNK + 77, A=2, b=2, m=0),
}


def drawn(cmdp, k, seed=1):
    """A policy ``(S, A)``, signals ``(k, S, A)`` and values ``(S, k)``."""
    g = np.random.default_rng(seed)
    S, A = cmdp.S, cmdp.A
    return g.dirichlet(np.ones(A), size=S), g.normal(size=(k, S, A)), g.normal(size=(S, k))


def action_values(cmdp, f, V):
    """The definition, ``(k, S, A)``."""
    return f + GAMMA * (cmdp.P @ V).T.reshape(f.shape)


@pytest.fixture(params=PROBLEMS)
def cmdp(request):
    return PROBLEMS[request.param]


def test_rows_are_the_problems_own_arrays(cmdp):
    rows = rows_of(cmdp)
    assert np.shares_memory(rows.weights, cmdp.P.data)
    assert np.shares_memory(rows.successors, cmdp.P.indices)
    assert bool(rows.width) == (len(set(np.diff(cmdp.P.indptr))) == 1)
    assert rows_of(cmdp, np.float32).weights.dtype == np.float32


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 7])
def test_policy_sweeps(cmdp, k):
    pi, f, V = drawn(cmdp, k)
    expected = (pi * action_values(cmdp, f, V)).sum(axis=-1).T
    out, residual, product = (np.empty_like(V) for _ in range(3))
    change = sparse.policy_sweep(rows_of(cmdp), pi, f, GAMMA, V, out)
    assert np.abs(out - expected).max() <= 1e-14 * 10
    assert np.abs(change - np.abs(expected - V).max(axis=0)).max() <= 1e-13
    size = sparse.policy_residual(rows_of(cmdp), pi, f, GAMMA, V, residual)
    assert np.abs(residual - (expected - V)).max() <= 1e-13
    assert np.array_equal(size, np.abs(residual).max(axis=0))
    other = drawn(cmdp, k, seed=2)[2]
    sums = sparse.policy_product(rows_of(cmdp), pi, GAMMA, V, product, other)
    assert np.abs(product - (V - expected + (pi * f).sum(axis=-1).T)).max() <= 1e-13
    assert sums == pytest.approx(
        np.stack([(product * other).sum(axis=0), (product**2).sum(axis=0)]), rel=1e-11
    )


@pytest.mark.parametrize("k", [1, 3])
def test_rows_past_the_caches_give_the_same_values(cmdp, k, monkeypatch):
    pi, f, V = drawn(cmdp, k)
    rows, v, answers = rows_of(cmdp), V[:, 0].copy(), []
    for far in (None, True):
        monkeypatch.setattr(sparse, "scattered", lambda rows, V, far=far: far)
        out, product, best, q = np.empty_like(V), np.empty_like(V), np.empty_like(v), np.empty_like(f[0])
        actions = np.empty(cmdp.S, dtype=np.int32)
        change = sparse.policy_sweep(rows, pi, f, GAMMA, V, out)
        sums = sparse.policy_product(rows, pi, GAMMA, V, product, out)
        span = sparse.greedy_sweep(rows, f[0], GAMMA, v, best, actions)
        sparse.action_values(rows, f[0], GAMMA, v, q)
        answers.append((out, change, product, sums, best, actions, np.array(span), q))
    assert all(np.array_equal(plain, past) for plain, past in zip(*answers))


def test_rows_go_past_the_caches_where_many_scattered_ones_would_drive_few_values_out(monkeypatch):
    near, far = rows_of(PROBLEMS["ring"]), rows_of(PROBLEMS["garnet"])
    few = np.zeros(600)
    assert scattered(far, few) is None
    monkeypatch.setattr(sparse_rows, "STREAMED", 1000)
    monkeypatch.setattr(sparse_rows, "FAR", 100)
    assert scattered(far, few) is True
    assert scattered(near, few) is None
    monkeypatch.setattr(sparse_rows, "KEPT", 500)
    assert scattered(far, few) is None


def without_some(rows, weights, g):
    """Rows without some of their entries, often without any; and the weights with zeros there."""
    kept = g.random(weights.shape) < 0.7
    starts = np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.uint32)
    flat = kept.ravel()
    fewer = Rows(rows.weights[flat], rows.successors[flat], starts, 0, rows.S, rows.A)
    return fewer, np.where(kept, weights, 0.0)


@pytest.mark.parametrize(("A", "width", "k"), [(1, 1, 3), (1, 5, 2), (2, 3, 4), (3, 8, 5), (9, 2, 9)])
@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("S", [3, CHUNK, 2 * CHUNK + 100])
def test_values_that_lie_far_give_the_same_sweep(A, width, k, S, even, monkeypatch):
    """Also where what is asked for ahead would lie beyond the last row; and a NaN shows in the sizes."""
    g = np.random.default_rng(S + A)
    successors = g.integers(S, size=(S * A, width)).astype(np.uint32)
    weights = g.dirichlet(np.ones(width), size=S * A)
    rows = Rows(weights.ravel(), successors.ravel(), np.empty(0, np.uint32), width, S, A)
    if not even:
        rows, weights = without_some(rows, weights, g)
    pi, f, V = g.dirichlet(np.ones(A), size=S), g.normal(size=(k, S, A)), g.normal(size=(S, k))
    V[S // 2, k - 1] = np.nan
    answers = []
    for far in (False, True):
        monkeypatch.setattr(sparse, "lies_far", lambda rows, V, far=far: far)
        for sweep in (sparse.policy_sweep, sparse.policy_residual):
            out = np.empty_like(V)
            answers += [sweep(rows, pi if A > 1 else None, f, GAMMA, V, out), out]
    assert all(np.array_equal(x, y, equal_nan=True) for x, y in zip(answers[:4], answers[4:]))
    there = weights[:, :, None]
    ahead = np.where(there > 0, there * V[successors], 0.0).sum(axis=1).reshape(S, A, k)
    expected = np.einsum("sa,ksa->sk", pi, f) + GAMMA * np.einsum("sa,sak->sk", pi, ahead)
    np.testing.assert_allclose(answers[1], expected, rtol=0, atol=1e-13)
    assert np.isnan(answers[0]).tolist() == [False] * (k - 1) + [True]


def test_values_lie_far_that_fit_into_no_processors_own_cache(monkeypatch):
    """Of two signals, that fit into none at all."""
    near, far = rows_of(PROBLEMS["ring"]), rows_of(PROBLEMS["garnet"])
    V = np.zeros((far.S, 3))
    assert not lies_far(far, V)
    monkeypatch.setattr(sparse_rows, "FAR", 100)
    monkeypatch.setattr(sparse_far, "OWN", 500)
    monkeypatch.setattr(sparse_far, "STREAMED", 1000)
    assert lies_far(far, V)
    assert not lies_far(far, V[:, :2])
    monkeypatch.setattr(sparse_far, "KEPT", 500)
    assert lies_far(far, V[:, :2])
    assert not lies_far(far, V[:, :1])
    assert not lies_far(near, np.zeros((near.S, 3)))
    starts = np.arange(far.S * far.A + 1, dtype=np.uint32) * np.uint32(far.width)
    assert lies_far(far._replace(starts=starts, width=0), V)


def test_signals_may_lie_apart(cmdp):
    pi, f, V = drawn(cmdp, 2)
    apart, out, expected = np.stack([f, f], axis=-1)[..., 0], np.empty_like(V), np.empty_like(V)
    assert not apart.flags.c_contiguous
    sparse.policy_sweep(rows_of(cmdp), pi, f, GAMMA, V, expected)
    sparse.policy_sweep(rows_of(cmdp), np.asfortranarray(pi), apart, GAMMA, V, out)
    assert np.array_equal(out, expected)


def test_storage_in_single_precision_sums_in_double(cmdp):
    pi, f, V = drawn(cmdp, 1)
    out = np.empty_like(V)
    sparse.policy_sweep(rows_of(cmdp, np.float32), pi, f, GAMMA, V, out)
    rounded = sp.csr_array((cmdp.P.data.astype(np.float32).astype(float), cmdp.P.indices, cmdp.P.indptr))
    expected = (pi * (f + GAMMA * (rounded @ V).T.reshape(f.shape))).sum(axis=-1).T
    assert np.abs(out - expected).max() <= 1e-13
    exact = (pi * action_values(cmdp, f, V)).sum(axis=-1).T
    assert 1e-10 < np.abs(out - exact).max() < 1e-6 or cmdp.P.data.min() == 1


def test_greedy_sweep_and_action_values(cmdp):
    _, f, V = drawn(cmdp, 1)
    Q = action_values(cmdp, f, V)[0]
    out, actions, q = np.empty(cmdp.S), np.empty(cmdp.S, dtype=np.int32), f[0].copy()
    low, high = sparse.greedy_sweep(rows_of(cmdp), f[0], GAMMA, V[:, 0].copy(), out, actions)
    assert np.abs(out - Q.max(axis=1)).max() <= 1e-13
    assert np.array_equal(actions, Q.argmax(axis=1))
    assert (low, high) == ((out - V[:, 0]).min(), (out - V[:, 0]).max())
    sparse.action_values(rows_of(cmdp), q, GAMMA, V[:, 0].copy(), q)
    assert np.abs(q - Q).max() <= 1e-13


def test_the_first_of_equal_actions_is_taken():
    P = sp.csr_array(np.full((6, 2), 0.5))
    tied = CMDP(P, np.zeros((2, 3)), np.zeros((0, 2, 3)), [], [0.5, 0.5], GAMMA)
    actions = np.full(2, 7, dtype=np.int32)
    sparse.greedy_sweep(rows_of(tied), tied.r, GAMMA, np.zeros(2), np.empty(2), actions)
    assert actions.tolist() == [0, 0]


def test_flows(cmdp):
    pi, _, x = drawn(cmdp, 1)
    kernel = (
        (cmdp.P.toarray().reshape(cmdp.S, cmdp.A, -1) * pi[..., None]).sum(axis=1) if cmdp.S < 1000 else None
    )
    inflow = cmdp.P.T @ (x * pi).ravel() if kernel is None else kernel.T @ x[:, 0]
    mu, out = np.full(cmdp.S, 1 / cmdp.S), np.empty_like(x)
    size, total = flows.flow_residual(rows_of(cmdp), pi, mu, GAMMA, x, out)
    assert np.abs(out[:, 0] - ((1 - GAMMA) * mu + GAMMA * inflow - x[:, 0])).max() <= 1e-12
    assert (size, total) == (np.abs(out).max(), pytest.approx(np.abs(out).sum(), rel=1e-12))
    balance = np.empty_like(x)
    for occupancy in (pi * x, np.asfortranarray(pi * x)):
        assert flows.occupancy_residual(rows_of(cmdp), occupancy, mu, GAMMA, balance) == (
            pytest.approx(size, rel=1e-12),
            pytest.approx(total, rel=1e-12),
        )
        assert np.abs(balance - out).max() <= 1e-12
    sums = flows.flow_product(rows_of(cmdp), pi, GAMMA, x, out, x)
    assert np.abs(out[:, 0] - (x[:, 0] - GAMMA * inflow)).max() <= 1e-12
    assert sums == pytest.approx(np.array([[(out * x).sum()], [(out * out).sum()]]), rel=1e-11)


def test_flows_whose_sums_are_asked_for_ahead_are_the_same(cmdp, monkeypatch):
    pi, _, x = drawn(cmdp, 1)
    rows, answers = rows_of(cmdp), []
    for far in (rows.S + 1, rows.S):
        monkeypatch.setattr(flows, "FAR", far)
        monkeypatch.setattr(flows, "lie_anywhere", lambda rows: True)
        left, product = np.empty_like(x), np.empty_like(x)
        size, total = flows.flow_residual(rows, pi, cmdp.rho, GAMMA, x, left)
        sums = flows.flow_product(rows, pi, GAMMA, x, product, left)
        answers.append((left, size, np.array(total), product, sums))
    assert all(np.array_equal(at_once, ahead) for at_once, ahead in zip(*answers))


def test_flows_of_states_with_more_entries_than_are_looked_at_in_one_go():
    cmdp = garnet(S=flows.LOOKED + 60, A=1, b=flows.LOOKED + 10, m=0, sparse=True)
    x, out = drawn(cmdp, 1)[2], np.empty((cmdp.S, 1))
    flows.flow_product(rows_of(cmdp), None, GAMMA, x, out, x)
    assert np.abs(out - (x - GAMMA * (cmdp.P.T @ x))).max() <= 1e-12


def test_only_the_chunks_that_mass_flows_to_are_written():
    """Of four parts of nine chunks each three or four, around the ring."""
    cmdp = ring(S=9 * CHUNK, A=2, b=2, m=0)
    pi, _, x = drawn(cmdp, 1)
    *_, touched = flows._flow(rows_of(cmdp), pi, x[:, 0], np.empty(cmdp.S))
    expected = [[8, 0, 1, 2], [2, 3, 4], [4, 5, 6], [6, 7, 8, 0]]
    assert [set(np.flatnonzero(part)) for part in touched] == [set(part) for part in expected]


@pytest.mark.parametrize("k", [1, 3])
def test_a_value_that_is_not_a_number_shows_in_the_sizes(k):
    """Wherever it stands, also if the states after it are well."""
    cmdp = PROBLEMS["garnet"]
    pi, f, V = drawn(cmdp, k)
    V[3, k - 1] = np.nan
    size = sparse.policy_residual(rows_of(cmdp), pi, f, GAMMA, V, np.empty_like(V))
    assert np.array_equal(np.isnan(size), np.arange(k) == k - 1)
    x = V[:, k - 1 :].copy()
    size, total = flows.flow_residual(rows_of(cmdp), pi, cmdp.rho, GAMMA, x, np.empty_like(x))
    assert np.isnan(size).all()
    assert np.isnan(total)


def test_packed_rows_are_the_same_operator(cmdp):
    pi, f, V = drawn(cmdp, 2)
    rows, out, same = rows_of(cmdp), np.empty_like(V), np.empty_like(V)
    f_pi = (pi * f).sum(axis=-1)[..., None]
    sparse.policy_sweep(rows, pi, f, GAMMA, V, out)
    merged = packed.merged_rows(rows, pi, packed.merged_starts(rows, cmdp.S))
    assert merged.A == 1
    assert merged.weights.size <= rows.weights.size
    sparse.policy_sweep(merged, None, f_pi, GAMMA, V, same)
    assert np.abs(out - same).max() <= 1e-13
    order = np.random.default_rng(0).permutation(cmdp.S).astype(np.int32)
    moved = packed.moved_rows(rows, pi, order)
    sparse.policy_sweep(moved, None, np.ascontiguousarray(f_pi[:, order]), GAMMA, V[order], same)
    assert np.abs(out[order] - same).max() <= 1e-13
    actions = pi.argmax(axis=1)
    Q = action_values(cmdp, f, V)
    chosen = packed.policy_rows(rows, actions)
    taken = np.take_along_axis(f, actions[None, :, None], axis=2)
    sparse.policy_sweep(chosen, None, taken, GAMMA, V, same)
    assert np.abs(same.T - np.take_along_axis(Q, actions[None, :, None], axis=2)[..., 0]).max() <= 1e-13


def test_nothing_depends_on_the_number_of_threads(monkeypatch):
    """To the last bit; a sum over all states in one go is another number."""
    cmdp = ring(S=13 * CHUNK + 5, A=2, b=2, m=0)
    pi, f, V = drawn(cmdp, 2)
    rows, answers = rows_of(cmdp), []
    monkeypatch.setattr(threads, "ENOUGH", 2)
    for count in (1, 2, 3):
        monkeypatch.setattr(threads.numba, "get_num_threads", lambda count=count: count)
        out, x = np.empty_like(V), V[:, :1].copy()
        change = sparse.policy_sweep(rows, pi, f, GAMMA, V, out)
        sums = sparse.policy_product(rows, pi, GAMMA, V, out.copy(), V)
        total = flows.flow_residual(rows, pi, cmdp.rho, GAMMA, x, x.copy())[1]
        answers.append((out, change, sums, np.asarray(total)))
    for other in answers[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(answers[0], other))
    whole = (out * V).sum(axis=0)
    assert (whole != sums[0]).any()


@pytest.mark.parametrize("width", [1, 2, 5, 9])
@pytest.mark.parametrize("deterministic", [False, True])
def test_the_band_solves_what_a_dense_elimination_solves(width, deterministic):
    cmdp = ring(S=60, A=3, b=width, m=0, seed=width)
    pi, f, _ = drawn(cmdp, 3)
    line = line_up(rows_of(cmdp), narrow=40)
    assert line.width == 2 * width
    V, d = np.empty((60, 3)), np.empty(60)
    actions = pi.argmax(axis=1)
    if deterministic:
        pi = np.eye(3)[actions]
    kernel = (cmdp.P.toarray().reshape(60, 3, 60) * pi[..., None]).sum(axis=1)
    rows, given, signals = rows_of(cmdp), pi, f
    if deterministic:
        given = actions
        signals = np.take_along_axis(f, actions[None, :, None], axis=2)
    band.solve_values(rows, given, signals, 0.999, line.order, line.width, V)
    band.solve_visits(rows, given, cmdp.rho, 0.999, line.order, line.width, d)
    matrix = np.eye(60) - 0.999 * kernel
    assert np.abs(V - np.linalg.solve(matrix, (pi * f).sum(axis=-1).T)).max() <= 1e-10
    assert np.abs(d - np.linalg.solve(matrix.T, 0.001 * cmdp.rho)).max() <= 1e-12


@pytest.mark.parametrize("deterministic", [False, True])
def test_a_factor_in_blocks_kept_or_made_again_is_the_same(deterministic, monkeypatch):
    cmdp = ring(S=101, A=3, b=5, m=0, seed=4)
    pi, f, _ = drawn(cmdp, 2)
    line, rows = line_up(rows_of(cmdp), narrow=40), rows_of(cmdp)
    given = pi.argmax(axis=1) if deterministic else pi
    signals = f[:, :, :1].copy() if deterministic else f
    made, eliminate = [], band._eliminate

    def counted(*arguments):
        made.append(arguments[7])
        eliminate(*arguments)

    monkeypatch.setattr(band, "_eliminate", counted)
    answers = []
    for block, kept in ((1 << 18, 8), (1, 8), (200, 8), (200, 0)):
        monkeypatch.setattr(band, "BLOCK", block)
        monkeypatch.setattr(band, "KEPT", kept)
        V, d = np.empty((101, 2)), np.empty(101)
        band.solve_values(rows, given, signals, 0.99, line.order, line.width, V)
        band.solve_visits(rows, given, cmdp.rho, 0.99, line.order, line.width, d)
        answers.append((V, d, made.copy()))
        made.clear()
    for V, d, _ in answers[1:]:
        assert (answers[0][0] == V).all()
        assert (answers[0][1] == d).all()
    # Blocks of at least as many rows as a row is wide; the places of 101 are made once or twice.
    assert [len(done) for *_, done in answers] == ([1, 11, 6, 6] if deterministic else [1, 14, 6, 12])


def shuffled(cmdp: CMDP, seed: int = 0) -> CMDP:
    """The same problem with its states in random order."""
    order = np.random.default_rng(seed).permutation(cmdp.S)
    rows = cmdp.P[(order[:, None] * cmdp.A + np.arange(cmdp.A)).ravel()]
    P = sp.csr_array((rows.data, np.argsort(order)[rows.indices], rows.indptr), shape=rows.shape)
    return CMDP(P, cmdp.r[order], cmdp.c[:, order], cmdp.d, cmdp.rho[order], cmdp.gamma)


def test_narrow_graphs_are_found_in_any_order():
    corridor = grid(rows=300, columns=4, A=2, m=0)
    assert line_up(rows_of(corridor), 40).width <= 2 * 4 + 2
    assert line_up(rows_of(grid(rows=4, columns=300, A=2, m=0)), 40).width <= 20
    for narrow in (corridor, ring(S=1000, m=0), ring(S=1001, b=1, m=0)):
        line = line_up(rows_of(shuffled(narrow)), 40)
        assert line.width <= 20
        assert np.array_equal(np.sort(line.order), np.arange(narrow.S))
        place = np.argsort(line.order)
        mixed = shuffled(narrow)
        state = np.repeat(np.arange(narrow.S), np.diff(mixed.P.indptr).reshape(-1, narrow.A).sum(axis=1))
        assert np.abs(place[mixed.P.indices] - place[state]).max() == line.width
    assert line_up(rows_of(garnet(S=1000, m=0, sparse=True)), 40).width > 40


def test_a_scattered_order_of_a_large_local_graph_is_moved(monkeypatch):
    """ "Large" and "near" are scaled down."""
    monkeypatch.setattr(structure, "WORTH", 1000)
    monkeypatch.setattr(structure, "NEAR", 200)
    local = grid(rows=40, columns=60, A=2, m=0)
    assert not line_up(rows_of(local), 10).moved
    line = line_up(rows_of(shuffled(local)), 10)
    assert line.moved
    assert line.width < 200
    assert not line_up(rows_of(garnet(S=2400, A=2, m=0, sparse=True)), 10).moved
