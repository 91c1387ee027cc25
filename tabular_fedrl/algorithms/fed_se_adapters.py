r"""Low-rank adapters of a tabular softmax policy, and the likelihood they are fitted by.

The n = HS rows of a time-dependent policy have logits :math:`Z = Z_0 + BA`: a base :math:`Z_0 (n, |A|)` and
an adapter of rank r, :math:`B (n, r)`, :math:`A (r, |A|)`. From weights :math:`W (n, |A|) \ge 0` (how often a
pair occurs in the successful trajectories of a buffer) with row sums :math:`m_x` the adapter is fitted by the
log-likelihood

.. math:: F(B, A) = \sum_{x,a} W(x,a) \log \pi(a|x), \qquad \pi(\cdot|x) = \mathrm{softmax}(Z_x).

Its maximiser over all policies is :math:`W/m`, :func:`closed_form`. Over adapters it has no closed form, and
:func:`improved` moves in turn to the maximisers of two quadratic minorants. The Hessian of the log-sum-exp is
at most 1/2, so that with :math:`q = W/m`

.. math:: b_x \leftarrow b_x + \frac{2}{\lambda(AA^T)} A (q - \pi)(\cdot|x), \qquad
          A \leftarrow A + \frac{2}{\lambda(\sum_x m_x b_x b_x^T)} B^T (W - m\pi)

never decrease F, for every :math:`\lambda` that bounds the largest eigenvalue (here the largest absolute row
sum, the eigenvalue itself for r = 1 and for orthogonal rows). A constant added to a row of logits changes
nothing: rows of A sum to 0 and stay so. Full rank is r = :math:`|A|` with A the identity and only B fitted.

Leading axes (clients) broadcast. Source: adapters on a frozen base and their fit by filtered likelihood are
the method of Chen et al., arXiv 2512.08870; their tabular form and the steps are *ours*.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl.arithmetic import array, sum, where
from tabular_fedrl.policies import probabilities, recentred


def product(B: Any, A: Any) -> Any:
    """BA, ``(..., n, r)`` times ``(..., r, A)``."""
    return sum(B[..., :, :, None] * A[..., None, :, :], axis=-2)


def adapted(base: Any, B: Any, A: Any) -> Any:
    """The policy ``(..., n, A)`` of the logits ``base + BA``."""
    return probabilities(recentred(base + product(B, A)))


def centred(A: Any) -> Any:
    """Rows shifted to sum 0."""
    return A - sum(A, axis=-1)[..., None] / A.shape[-1]


def initial_adapter(n: int, actions: int, rank: int | None, seed: int) -> tuple[Any, Any]:
    """B = 0 ``(n, r)`` and A ``(r, A)``: normal entries, rows centred; the identity for ``rank`` None."""
    if rank is None:
        return array(np.zeros((n, actions))), array(np.eye(actions))
    draw = np.random.default_rng(seed).standard_normal((rank, actions))
    return array(np.zeros((n, rank))), centred(array(draw))


def closed_form(W: Any, pi: Any) -> Any:
    """The policy ``(..., A)`` of largest likelihood: W normalised; ``pi`` in the rows without weight."""
    mass = sum(W, axis=-1)[..., None]
    empty = ~(mass > 0)
    return where(empty, 0.0, W / where(empty, 1.0, mass)) + pi * array(empty)


def improved(W: Any, base: Any, B: Any, A: Any, sweeps: int, *, fit_A: bool = True) -> tuple[Any, Any]:
    """B and A after ``sweeps`` of the two steps (of the first alone unless ``fit_A``); W ``(..., n, A)``."""
    mass = sum(W, axis=-1)[..., None]
    empty = ~(mass > 0)
    q = W / where(empty, 1.0, mass)
    for _ in range(sweeps):
        away = where(empty, 0.0, q - adapted(base, B, A))
        B = B + _step(sum(away[..., :, None, :] * A[..., None, :, :], axis=-1), _gram(A))
        if fit_A:
            away = where(empty, 0.0, q - adapted(base, B, A))
            slope = sum(B[..., :, :, None] * (mass * away)[..., :, None, :], axis=-3)
            # Near a maximum the slope is rounding, whose rows need not sum to 0, and the step enlarges it.
            A = A + _step(centred(slope), _gram((mass * B).swapaxes(-1, -2), B.swapaxes(-1, -2)))
    return B, A


def _gram(X: Any, Y: Any = None) -> Any:
    """X Y^T of rows ``(..., r, k)``; Y is X by default."""
    return sum(X[..., :, None, :] * (X if Y is None else Y)[..., None, :, :], axis=-1)


def _step(slope: Any, gram: Any) -> Any:
    r""":math:`2/\lambda` times the slope; 0 where :math:`\lambda = 0`, which only a slope of 0 has."""
    bound = sum(abs(gram), axis=-1).max(axis=-1)[..., None, None]
    flat = ~(bound > 0)
    return where(flat, 0.0, 2.0 * slope / where(flat, 1.0, bound))
