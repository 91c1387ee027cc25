r"""Enclosures of squared singular values, in floats and in balls alike.

For :math:`V` near the eigenvectors of :math:`H = M^T M`, the matrix :math:`D = V^T H V` is near a diagonal
one. By Weyl's inequality its eigenvalues are within :math:`\|D - \mathrm{diag}(D)\|_F` of its diagonal, in
order; by Ostrowski's theorem they are :math:`\theta_i \lambda_i(H)` with
:math:`|\theta_i - 1| \le \|V^T V - I\|_F`. The eigenvectors are floats, whatever they are: so are the radii,
about 1e-15 of the largest value.
"""

from __future__ import annotations

import numpy as np

from tabular_fedrl.algorithms.fed_se_adapters import product
from tabular_fedrl.arithmetic import array
from tabular_fedrl.measured import Array, Measured


def squared_singular_values(M: Measured) -> Measured:
    """Of M ``(n, A)``, decreasing, ``(A,)``."""
    H = (M[:, :, None] * M[:, None, :]).sum(0)
    V = np.linalg.eigh(H.value)[1][:, ::-1]
    left, right = Measured(array(V.T)), Measured(array(V))
    D = product(product(left, H), right)
    middle = np.sort(np.diagonal(D.value))[::-1]
    order = np.argsort(np.diagonal(D.value))[::-1]
    off = _norm(D[order][:, order] - np.diag(middle))
    skew = _norm(product(left, right) - np.eye(len(V)))
    return Measured(array(middle)).widened(off) / Measured(array(np.ones(1))).widened(skew)


def squared_norm(M: Measured) -> Measured:
    """Of Frobenius."""
    return (M * M).sum()


def _norm(M: Measured) -> Array:
    """A number no smaller than the Frobenius norm."""
    return np.asarray(squared_norm(M).sqrt().upper)
