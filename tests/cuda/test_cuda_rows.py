"""Sweeps over even and uneven rows against products with the matrix itself."""

import numpy as np
import pytest
from device_problems import UNEVEN, random_policy, sparse_problem

from tabular_fedrl.kernels.cuda import cuda, sweeps
from tabular_fedrl.kernels.cuda.rows import EvenRows, UnevenRows, upload, upload_transposed

LENGTHS = [(3,), UNEVEN, (3, 3, 3, 2)]
KINDS = [EvenRows, UnevenRows, EvenRows]


def tables(x):
    """``(..., S, A)`` as on the device."""
    return np.array(np.swapaxes(x, -1, -2), order="C")


def policy_matrix(cmdp, pi):
    return np.einsum("sa,sat->st", pi, cmdp.P.toarray().reshape(cmdp.S, cmdp.A, cmdp.S))


@pytest.mark.parametrize("storage, tolerance", [(np.float64, 1e-14), (np.float32, 2.0**-23)])
@pytest.mark.parametrize("lengths, kind", list(zip(LENGTHS, KINDS)))
def test_sweeps(lengths, kind, storage, tolerance):
    cmdp = sparse_problem(1, lengths=lengths)
    S, A = cmdp.S, cmdp.A
    g = np.random.default_rng(2)
    rows = upload(cmdp.P, storage)
    assert isinstance(rows, kind)
    pi, x, add = random_policy(3, S, A), g.normal(size=(S, 3)), g.normal(size=(S, 3))
    pi[0] = [0, 1]
    out = cuda.to_device(np.full((S, 3), np.nan))
    rows.policy(cuda.to_device(tables(pi)), -0.7, cuda.to_device(x), cuda.to_device(add), out)
    assert np.abs(out.copy_to_host() - (add - 0.7 * policy_matrix(cmdp, pi) @ x)).max() < 4 * tolerance
    means = np.full((A, S), np.nan)
    rows.means(cuda.to_device(x[:, :1].copy()), handle := cuda.to_device(means))
    expected = (cmdp.P @ x[:, 0]).reshape(S, A)
    assert np.abs(handle.copy_to_host().T - expected).max() < 4 * tolerance
    best, actions = cuda.to_device(np.full((S, 1), np.nan)), cuda.to_device(np.zeros(S, dtype=np.int32))
    rows.greedy(cuda.to_device(tables(cmdp.r)), 0.9, cuda.to_device(x[:, :1].copy()), 0.0, actions, best)
    Q = cmdp.r + 0.9 * expected
    assert np.abs(best.copy_to_host()[:, 0] - Q.max(axis=1)).max() < 4 * tolerance
    assert (actions.copy_to_host() == Q.argmax(axis=1)).all()


@pytest.mark.parametrize("lengths", LENGTHS[:2])
def test_the_present_action_stays_unless_clearly_beaten(lengths):
    cmdp = sparse_problem(4, A=5, lengths=lengths)
    rows, x = upload(cmdp.P), np.random.default_rng(5).normal(size=(cmdp.S, 1))
    Q = cmdp.r + 0.5 * (cmdp.P @ x).reshape(cmdp.S, cmdp.A)
    ahead = Q.max(axis=1) - Q[:, 0]
    low, high = np.sort(ahead[ahead > 0])[:2]
    margin = (low + high) / 2
    actions = cuda.to_device(np.zeros(cmdp.S, dtype=np.int32))
    best = cuda.to_device(np.zeros((cmdp.S, 1)))
    rows.greedy(cuda.to_device(tables(cmdp.r)), 0.5, cuda.to_device(x), margin, actions, best)
    assert (actions.copy_to_host() == np.where(ahead > margin, Q.argmax(axis=1), 0)).all()
    assert 0 < (ahead > margin).sum() < (ahead > 0).sum()


@pytest.mark.parametrize("lengths", LENGTHS[:2])
def test_the_transpose(lengths):
    cmdp = sparse_problem(6, lengths=lengths)
    S, A = cmdp.S, cmdp.A
    g = np.random.default_rng(7)
    d, mu, pi = g.random((S, 1)), g.random((S, 1)), random_policy(8, S, A)
    through, out = cuda.device_array((A * S, 1)), cuda.to_device(np.full((S, 1), np.nan))
    sweeps.flow[4, 4](cuda.to_device(d), cuda.to_device(tables(pi)), through)
    upload_transposed(cmdp.P).sum(0.9, through, cuda.to_device(mu), out)
    assert np.abs(out.copy_to_host() - (mu + 0.9 * policy_matrix(cmdp, pi).T @ d)).max() < 1e-14


def test_the_same_bits_every_time():
    cmdp = sparse_problem(9, lengths=UNEVEN)
    rows, x = upload(cmdp.P), np.random.default_rng(10).normal(size=(cmdp.S, 2))
    pi = cuda.to_device(tables(random_policy(11, cmdp.S, cmdp.A)))
    outs = [cuda.to_device(np.zeros_like(x)) for _ in range(2)]
    for out in outs:
        rows.policy(pi, 0.9, cuda.to_device(x), cuda.to_device(x), out)
    assert outs[0].copy_to_host().tobytes() == outs[1].copy_to_host().tobytes()


def test_a_wrong_layout_is_caught():
    """A control: rows laid out state by state, as on the host, under the kernel that expects states
    innermost."""
    cmdp = sparse_problem(12)
    S, A, width = cmdp.S, cmdp.A, 3
    x, pi = np.random.default_rng(13).normal(size=(S, 1)), random_policy(14, S, A)
    wrong = EvenRows(
        cuda.to_device(cmdp.P.indices.astype(np.int32).reshape(A, width, S)),
        cuda.to_device(cmdp.P.data.reshape(A, width, S).copy()),
    )
    out = cuda.to_device(np.zeros((S, 1)))
    wrong.policy(cuda.to_device(tables(pi)), 1.0, cuda.to_device(x), cuda.to_device(0 * x), out)
    assert np.abs(out.copy_to_host() - policy_matrix(cmdp, pi) @ x).max() > 1e-3
