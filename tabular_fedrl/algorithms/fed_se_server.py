r"""How a server averages low-rank adapters: their factors, their products, or the products cut to rank r.

Clients k send :math:`B_k (n, r)`, :math:`A_k (r, |A|)`; weights w sum to 1, :math:`\bar B = \sum_k w_k B_k`,
:math:`\bar A = \sum_k w_k A_k`.

* ``factors``: the next adapter is :math:`(\bar B, \bar A)`. What it leaves out of the mean of the products is

  .. math:: \sum_k w_k B_k A_k - \bar B \bar A = \sum_k w_k (B_k - \bar B)(A_k - \bar A).

* ``products``: that remainder is added to the base, so that the logits are exactly those of the mean product.
* ``truncated``: the best approximation of rank r of the mean product, :math:`(M V_r)\, V_r^T` with the first
  r right singular vectors.

Averaging factors is the method of Chen et al., arXiv 2512.08870 (without weights); the others are known from
the literature on federated low-rank adaptation. Tabular form: *ours*.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.fed_se_adapters import product
from tabular_fedrl.arithmetic import array, matmul, sum
from tabular_fedrl.balls import Balls

Merged = tuple[Any, Any, Any]
"""The next base ``(n, A)``, B ``(n, r)`` and A ``(r, A)``."""


def weighted(parts: Any, w: Any) -> Any:
    r""":math:`\sum_k w_k X_k` of ``parts (K, ...)``."""
    return sum(w.reshape(-1, *(1,) * (parts.ndim - 1)) * parts, axis=0)


def remainder(B: Any, A: Any, w: Any) -> Any:
    r""":math:`\sum_k w_k (B_k - \bar B)(A_k - \bar A)`, ``(n, A)``."""
    return weighted(product(B - weighted(B, w), A - weighted(A, w)), w)


def truncated(M: Any, rank: int) -> tuple[Any, Any]:
    """Factors ``(n, r)`` and ``(r, A)`` of the best approximation of M of a rank, as far as the singular
    vectors, which are floats, are exact."""
    middle = M.value if isinstance(M, Balls) else M
    # Fewer rows than the rank asks for have more right singular vectors in the full decomposition only.
    V = array(np.linalg.svd(middle, full_matrices=len(middle) < rank)[2][:rank])
    return matmul(M, V.T), V


def average_factors(base: Any, B: Any, A: Any, w: Any) -> Merged:
    """The server's adapter is made of the mean factors."""
    return base, weighted(B, w), weighted(A, w)


def average_products(base: Any, B: Any, A: Any, w: Any) -> Merged:
    """The mean factors, and what they leave out in the base."""
    return base + remainder(B, A, w), weighted(B, w), weighted(A, w)


def average_truncated(base: Any, B: Any, A: Any, w: Any) -> Merged:
    """The mean product, cut to the rank of the clients' adapters; at rank |A| nothing is cut."""
    M, (rank, actions) = weighted(product(B, A), w), A.shape[-2:]
    if rank == actions:
        # Full-rank clients hold the identity in place of A, and nobody sends it.
        return base, M, array(np.eye(actions))
    return base, *truncated(M, rank)


AGGREGATIONS: Mapping[str, Callable[[Any, Any, Any, Any], Merged]] = {
    "factors": average_factors,
    "products": average_products,
    "truncated": average_truncated,
}
"""By name; ``base (n, A)``, ``B (K, n, r)``, ``A (K, r, A)``, ``w (K,)``."""
