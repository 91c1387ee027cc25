r"""Policies of a large problem as occupancies: the columns of its constrained optimum, and their mixtures.

A deterministic policy is held as its actions and its normalised visitation d; its values are
:math:`V_f(\rho) = \langle d, f_\pi \rangle / (1-\gamma)`, one linear system for any number of signals. A
mixture of policies is the policy whose occupancy :math:`x(s,a)` is the mixture of theirs, and x is at once
the proof of its values: with the defect

.. math:: q(s) = (1-\gamma)\rho(s) + \gamma \sum_{s',a} P(s|s',a)\, x(s',a) - \sum_a x(s,a)

the policy :math:`\pi(a|s) \propto x(s,a)` has, whatever x is,

.. math:: \Big| V_f^\pi(\rho) - \frac{\langle x, f\rangle}{1-\gamma} \Big|
          \le \frac{\|q\|_1 \max |f|}{(1-\gamma)^2} ,

because its visitation d and :math:`\hat d = \sum_a x` satisfy :math:`d - \hat d = (I - \gamma P_\pi^T)^{-1}
q`. Marked *ours*.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl import linear
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.evaluation import in_degree, policy_error, signal_sizes
from tabular_fedrl.kernels.flows import occupancy_residual
from tabular_fedrl.kernels.sparse_rows import rows_of
from tabular_fedrl.measured import UNIT, Array, Measured

BLOCK = 1024
"""Long sums are taken in blocks: one of a million terms in one go could be off by a million roundings."""

ROWS = 1 << 16
"""States looked at together where a table of all of them is not needed."""


@dataclass(frozen=True)
class Occupied:
    """A deterministic policy: its actions as :func:`to_bits`, its visitation ``visits (S,)`` (None where it
    is not held) and values at rho ``values (1+m,)``, the last two to the ``accuracy`` they were asked
    for."""

    bits: NDArray[np.uint8]
    visits: Array | None
    values: Array
    accuracy: float


def to_bits(actions: NDArray[np.int32], A: int) -> NDArray[np.uint8]:
    """Actions ``(S,)``, of which there are A, in as many bits as they need: one row for each bit."""
    digits = range((A - 1).bit_length())
    return np.array([np.packbits((actions >> i) & 1) for i in digits], dtype=np.uint8)


def from_bits(bits: NDArray[np.uint8], S: int) -> NDArray[np.int32]:
    """The actions ``(S,)`` again."""
    actions = np.zeros(S, dtype=np.int32)
    for i, digit in enumerate(bits):
        actions |= np.unpackbits(digit, count=S).astype(np.int32) << i
    return actions


def occupied(
    cmdp: CMDP, actions: NDArray[np.int32], near: Array | None = None, accuracy: float = 0.0
) -> Occupied:
    r"""The policy's visitation, from that of a policy ``near`` it; values within ``accuracy`` of what values
    can differ by between states (0: to rounding).

    A visitation that leaves the defect q and sums to 1 gives values off by
    :math:`\langle q, V_f\rangle/(1-\gamma)` with :math:`\sum_s q(s) = 0`.
    """
    start = None if near is None else near.copy()
    d, _ = linear.visits(cmdp, actions, start=start, tolerance=2 * accuracy * (1 - cmdp.gamma))
    d /= d.sum()
    values = np.zeros(1 + cmdp.m)
    for some in _blocks(cmdp.S):
        f_pi = np.take_along_axis(cmdp.signals[:, some], actions[None, some, None], axis=2)[:, :, 0]
        values += f_pi @ d[some]
    return Occupied(to_bits(actions, cmdp.A), d, values / (1 - cmdp.gamma), accuracy)


def mixture(cmdp: CMDP, columns: Sequence[Occupied], weights: Array) -> Array:
    """The occupancy ``(S, A)`` of a mixture; no entry is negative."""
    x = np.zeros((cmdp.S, cmdp.A))
    for w, column in zip(weights, columns):
        if w > 0:
            assert column.visits is not None
            actions = from_bits(column.bits, cmdp.S)
            for some in _blocks(cmdp.S):
                mass = w * np.maximum(column.visits[some], 0.0)
                x[some][np.arange(mass.size), actions[some]] += mass
    return x


def policy_of(x: Array, elsewhere: NDArray[np.int32]) -> Array:
    """The log-policy of an occupancy ``x (S, A)``, and the actions ``elsewhere (S,)`` in states without
    mass."""
    mass = x.sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        log_pi: Array = x / mass
        np.log(log_pi, out=log_pi)
    empty = np.flatnonzero(mass[:, 0] <= 0)
    log_pi[empty] = -np.inf
    log_pi[empty, elsewhere[empty]] = 0.0
    return log_pi


def values_at_start(cmdp: CMDP, x: Array) -> Measured:
    """Enclosures ``(1+m,)`` of the values of :func:`policy_of` the occupancy ``x (S, A)``, wherever it
    comes from."""
    gamma, total = cmdp.gamma, float(x.sum(axis=1).sum())
    _, defect = occupancy_residual(rows_of(cmdp), x, cmdp.rho, gamma, np.empty((cmdp.S, 1)))
    # Terms of a state's balance: those that flow in, those that flow out and rho's; and the policy that the
    # floats stand for is x/mass only to rounding.
    off = (in_degree(cmdp) + cmdp.A + 10) * UNIT + 2 * cmdp.row_error + policy_error(cmdp.A)
    defect += off * (1 + total)
    f = cmdp.signals.reshape(1 + cmdp.m, -1)
    top = signal_sizes(cmdp)
    products = np.array([_inner(signal, x.ravel()) for signal in f])
    blur = (_terms(x.size) * UNIT + policy_error(cmdp.A)) * total * top
    horizon = 1.0 / (1.0 - Measured(gamma))
    error = (blur + defect * (1 + _terms(cmdp.S) * UNIT) * top * float(horizon.upper)) * (1 + 16 * UNIT)
    return Measured(products, error) * horizon


def _inner(x: Array, y: Array) -> float:
    """Inner product of vectors, which rounds like a sum of :func:`_terms` terms."""
    whole = x.size // BLOCK * BLOCK
    blocks = np.einsum("ij,ij->i", x[:whole].reshape(-1, BLOCK), y[:whole].reshape(-1, BLOCK))
    return float(blocks.sum()) + float(x[whole:] @ y[whole:])


def _blocks(S: int) -> Iterator[slice]:
    for first in range(0, S, ROWS):
        yield slice(first, min(first + ROWS, S))


def _terms(n: int) -> int:
    return 2 * BLOCK + n // BLOCK + 4
