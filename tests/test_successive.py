"""Successive approximation: against dense elimination, against itself on threads; where it must give up."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from tabular_fedrl.instances import garnet, ring
from tabular_fedrl.kernels import packed, successive
from tabular_fedrl.kernels.sparse import policy_residual
from tabular_fedrl.kernels.sparse_rows import rows_of
from tabular_fedrl.measured import UNIT
from tests.test_kernels_sparse import drawn
from tests.test_krylov import dense


def approached(cmdp, policy, f, V, tolerance=0.0):
    rows, pi = rows_of(cmdp), policy
    if policy.ndim == 1:
        rows, pi = packed.policy_rows(rows, policy), None
        f = np.take_along_axis(f, policy[None, :, None], axis=2)
    f_pi = f[..., 0] if pi is None else (pi * f).sum(axis=2)
    answer, spare, settled = successive.approach(
        rows, pi, f_pi, cmdp.gamma, V, np.empty_like(V), np.full(V.shape[1], tolerance)
    )
    size = policy_residual(rows, pi, f, cmdp.gamma, answer, np.empty_like(answer))
    assert not np.shares_memory(answer, spare)
    return answer, size, settled


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.999])
@pytest.mark.parametrize("k", [1, 3, 6])
@pytest.mark.parametrize("deterministic", [False, True])
def test_values_are_those_of_dense_elimination(gamma, k, deterministic):
    cmdp = garnet(S=300, A=3, b=8, m=0, gamma=gamma, sparse=True)
    pi, f, _ = drawn(cmdp, k)
    f *= 10.0 ** np.arange(-k, k, 2)[:, None, None]
    policy = pi.argmax(axis=1) if deterministic else pi
    if deterministic:
        pi = np.eye(3)[policy]
    V, size, settled = approached(cmdp, policy, f, np.zeros((300, k)))
    expected = np.linalg.solve(dense(cmdp, pi), (pi * f).sum(axis=-1).T)
    scale = np.abs(expected).max(axis=0)
    assert settled
    assert (np.abs(V - expected) <= 1e-13 * scale / (1 - gamma)).all()
    assert (size <= 32 * UNIT * scale).all()
    # An answer is left as it is.
    assert (approached(cmdp, policy, f, V.copy())[0] == V).all()


@pytest.mark.parametrize("k", [1, 3])
def test_rows_past_the_caches_give_the_same_values(k, monkeypatch):
    cmdp = garnet(S=17 * 2048, A=2, b=3, m=0, gamma=0.9, sparse=True)
    pi, f, V = drawn(cmdp, k)
    answers = []
    for past in (None, True):
        monkeypatch.setattr(successive, "scattered", lambda rows, V, past=past: past)
        answers.append(approached(cmdp, pi, f, V.copy(), 1e-9)[0])
    assert np.array_equal(*answers)


@pytest.mark.parametrize("tolerance", [1e-2, 1e-5, 1e-9])
def test_a_tolerance_is_met_and_not_overdone(tolerance):
    cmdp = garnet(S=2000, m=0, gamma=0.99, sparse=True)
    pi, f, _ = drawn(cmdp, 2)
    _, size, settled = approached(cmdp, pi, f, np.zeros((2000, 2)), tolerance)
    assert settled
    assert (size <= tolerance).all()
    assert (size >= 1e-3 * tolerance).any()


def test_nothing_depends_on_threads(monkeypatch):
    cmdp = garnet(S=40_000, A=2, b=3, m=0, gamma=0.9, sparse=True)
    pi, f, V = drawn(cmdp, 2)
    answers = []
    for threads, enough in ((1, 8), (numba.config.NUMBA_NUM_THREADS, 2), (1, 100)):
        monkeypatch.setattr(successive, "ENOUGH", enough)
        before = numba.get_num_threads()
        numba.set_num_threads(threads)
        try:
            answers.append(approached(cmdp, pi, f, V.copy())[0])
        finally:
            numba.set_num_threads(before)
    assert (answers[0] == answers[1]).all()
    assert (answers[0] == answers[2]).all()


def test_slow_mixing_and_lost_values_are_noticed():
    """Controls on all that is said to be settled."""
    slow = ring(S=500, m=0, gamma=0.99)
    pi, f, _ = drawn(slow, 1)
    _, size, settled = approached(slow, pi, f, np.zeros((500, 1)))
    assert not settled
    assert size > 1e-6
    fast = garnet(S=500, m=0, gamma=0.99, sparse=True)
    lost = np.zeros((500, 1))
    lost[7] = np.nan
    assert not approached(fast, *drawn(fast, 1)[:2], lost)[2]
