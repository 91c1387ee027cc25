r"""The steps of DRPO, state by state: what a client does with a critic, and how the server puts policies
together.

With a behaviour policy b, the global policy :math:`\pi_k`, a critic Q and weights
:math:`\alpha, \beta \ge 0`, :math:`\tau = \alpha + \beta > 0`, a client moves by

* the **R-step** (reverse KL, Lemma 1, :mod:`tabular_fedrl.algorithms.drpo_reverse`),
* the **F-step** (forward KL, Proposition F, :mod:`tabular_fedrl.algorithms.drpo_forward`), the loss of the
  released code (mark: *code*),

with a critic from :mod:`tabular_fedrl.algorithms.drpo_values`. Log-policies are ``(..., S, A)``, ``-inf``
where the probability is 0; everything runs on floats and on balls.

Source: Yue, Qin, Hua, Deng, Ren, "Federated Offline Policy Optimization with Dual Regularization", INFOCOM
2024, arXiv 2405.17474. Whether its objective prints the forward or the reverse KL, and whether the behaviour
policy enters the actor or the critic, is not known to us; every statement here is *ours*.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from tabular_fedrl.algorithms.drpo_forward import entropy_forward_step, forward_step
from tabular_fedrl.algorithms.drpo_reverse import anchor, enclosed_reverse_step, log_ratio, reverse_step
from tabular_fedrl.algorithms.drpo_values import cql_values, regularised_optimum, regularised_values
from tabular_fedrl.arithmetic import array, is_minus_infinity, log, logsumexp, sum, where
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.policies import log_softmax

AGGREGATIONS = ("arithmetic", "geometric")


def aggregate(kind: str, log_policies: Any, weights: Any | None = None) -> Any:
    r"""The global log-policy ``(S, A)`` of local ones ``(N, S, A)``.

    A1, ``"arithmetic"``: :math:`\sum_i \omega_i \pi_i`, the union of the supports. A2, ``"geometric"``:
    :math:`\prod_i \pi_i^{\omega_i}`, normalised, their intersection (CE3). ``weights`` :math:`\omega`:
    ``(N,)``, or ``(N, S)`` where they differ between states; non-negative, summing to 1; default 1/N. A
    client of weight 0 has no say.

    Raises
    ------
    InvalidProblem: an unknown kind, weights out of range, or under A2 a state without a common action.
    """
    if kind not in AGGREGATIONS:
        raise InvalidProblem(f"aggregation {kind!r}: expected {' or '.join(map(repr, AGGREGATIONS))}")
    omega = client_weights(len(log_policies), weights)
    omega = omega.reshape(*omega.shape, *(1,) * (log_policies.ndim - omega.ndim))
    if kind == "arithmetic":
        with np.errstate(divide="ignore"):
            return log_softmax(logsumexp(log_policies + log(omega), axis=0)[0])
    with np.errstate(invalid="ignore"):
        terms = where((omega == 0) & is_minus_infinity(log_policies), 0.0, omega * log_policies)
    logits = sum(terms, axis=0)
    empty = is_minus_infinity(logits).all(axis=-1)
    if empty.any():
        s = int(np.argwhere(empty)[0][-1])
        raise InvalidProblem(
            f"state {s}: the clients' policies share no action; their geometric mean does not exist"
        )
    return where(is_minus_infinity(logits), -np.inf, log_softmax(logits))


def client_weights(N: int, weights: Any | None) -> Any:
    r""":math:`\omega`, ``(N,)`` or ``(N, S)``, checked; 1/N by default."""
    if weights is None:
        return array(np.ones(N)) / N
    omega = array(weights)
    if omega.ndim not in (1, 2) or omega.shape[0] != N:
        raise InvalidProblem(f"weights have shape {omega.shape}: expected ({N},) or ({N}, S)")
    if not (omega >= 0).all():
        raise InvalidProblem("a client's weight is negative or not a number")
    total = sum(omega, axis=0)
    if not ((total - 1 <= 1e-9) & (total - 1 >= -1e-9)).all():
        raise InvalidProblem("the clients' weights must sum to 1")
    return omega / total


__all__ = [
    "AGGREGATIONS", "aggregate", "client_weights",
    "reverse_step", "enclosed_reverse_step", "anchor", "log_ratio",
    "forward_step", "entropy_forward_step",
    "regularised_values", "regularised_optimum", "cql_values",
]  # fmt: skip
