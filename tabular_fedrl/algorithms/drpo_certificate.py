r"""Whether a round of DRPO improves for certain, from the clients' data alone.

On the event of :mod:`tabular_fedrl.algorithms.drpo_evidence`, whose probability is at least
:math:`1-\delta`, every value of a client's empirical MDP is within :math:`\Gamma` of the true one.

**The guarantees** (lower bounds, in units of value; Theorems D and G, mark: *ours*), for
:math:`\pi^+` the optimum of :math:`J(\pi,\hat M) - \frac1{1-\gamma} E_{\hat d^\pi}[\alpha KL(\pi\|b) + \beta
KL(\pi\|\pi_k)]` (reading G: :math:`\lambda\chi^2(\pi\|b)` in place of the first term):

* D1, against :math:`\pi_k`: :math:`\frac1{1-\gamma}\{E_{\hat d^+}[\alpha KL(\pi^+\|b) + \beta
  KL(\pi^+\|\pi_k)] - \alpha E_{\hat d^{\pi_k}} KL(\pi_k\|b)\} - \Gamma(\pi^+) - \Gamma(\pi_k)`,
* D2, against b: the same with :math:`\beta E_{\hat d^b} KL(b\|\pi_k)` taken off, and :math:`\Gamma(b)`,
* direct, at least as strong as both: :math:`J(\pi^+,\hat M) - \Gamma(\pi^+) - J(\cdot,\hat M) -
  \Gamma(\cdot)`.

Assumed known: the range of rewards, rho, and that a state marked as an end is one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.drpo_cql import cql_optimum
from tabular_fedrl.algorithms.drpo_evidence import Evidence, enclosed_chi2, evidence, gain_over
from tabular_fedrl.algorithms.drpo_steps import aggregate, client_weights
from tabular_fedrl.algorithms.drpo_values import regularised_optimum
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.offline import Counts, Dataset, count, extended
from tabular_fedrl.policies import enclosed_kl, uniform

GRID = (0.001, 0.01, 0.1, 1.0)
"""Weights tried where none are given, in units of the range of rewards."""


@dataclass(frozen=True)
class Guarantee:
    r"""What one client's data guarantee for its :math:`\pi^+` = ``log_policy`` ``(S, A)`` at one choice of
    weights; ``cql`` is :math:`\lambda` of reading G, and alpha then 0.

    ``over_global``, ``over_behaviour``: the direct bounds on :math:`J(\pi^+) - J(\pi_k)` and
    :math:`J(\pi^+) - J(b)`. ``d1``, ``d2``: the theorems' forms (``-inf`` where a divergence is infinite).
    """

    alpha: float
    beta: float
    cql: float | None
    log_policy: Array
    over_global: float
    over_behaviour: float
    d1: float
    d2: float


@dataclass(frozen=True)
class Certificate:
    """A round's guarantees. ``clients[i]``: those of client i, one for each choice of weights.

    ``chosen``: the choice of weights, common to all clients, at which the clients' mean guarantee against the
    global policy is largest. ``mixture``: that mean, which bounds the gain of the mixture of episodes (A3).
    ``log_policy``: the aggregated policy at these weights; ``over_global``: the bound on its gain.
    """

    delta: float
    clients: tuple[tuple[Guarantee, ...], ...]
    chosen: int
    mixture: float
    log_policy: Array
    over_global: float

    @property
    def improves(self) -> bool:
        """Whether the aggregated policy is certain to be better than the global one."""
        return self.over_global > 0

    @property
    def best(self) -> tuple[Guarantee, ...]:
        """Every client's guarantee at the chosen weights."""
        return tuple(own[self.chosen] for own in self.clients)


def certify_improvement(
    data: Dataset | Sequence[Counts],
    gamma: float,
    rho: Any,
    log_pi: Array,
    delta: float = 0.05,
    *,
    rewards: tuple[float, float] = (0.0, 1.0),
    alphas: Sequence[float] | None = None,
    betas: Sequence[float] | None = None,
    cql: Sequence[float] = (),
    weights: Any | None = None,
    aggregation: str = "arithmetic",
    kind: str = "trajectories",
    smoothing: float = 0.0,
) -> Certificate:
    r"""What the data guarantee for one round from :math:`\pi_k` = ``log_pi`` ``(S, A)``.

    Parameters
    ----------
    data: the clients' transitions or counts. gamma, rho: of the problem. delta: all statements of all rounds
        hold together with probability at least ``1 - delta``.
    rewards: the least and the largest value a reward can take, the 0 of an end among them.
    alphas, betas: weights to try, all pairs; default :data:`GRID` times the range of rewards. cql: values of
        :math:`\lambda` to try with every beta (reading G).
    weights, aggregation: of the server. kind: how the data came about. smoothing: of the behaviour policy; 0
        for the empirical one (with it D1 is infinite unless the data hold every action of ``log_pi``).

    Raises
    ------
    InvalidProblem: a parameter out of range, or a reward outside ``rewards``.
    """
    counts = count(data) if isinstance(data, Dataset) else tuple(data)
    known = evidence(counts, gamma, rho, log_pi, delta, rewards, kind, smoothing)
    scale = float(rewards[1]) - float(rewards[0])
    default = [scale * x for x in GRID]
    tried: list[tuple[float, float, float | None]] = [
        (float(a), float(b), None)
        for a in (default if alphas is None else alphas)
        for b in (default if betas is None else betas)
    ]
    tried += [(0.0, float(b), float(lam)) for lam in cql for b in (default if betas is None else betas)]
    if not tried:
        raise InvalidProblem("there are no weights to try: alphas, betas and cql are empty")
    omega = client_weights(len(counts), weights)
    if omega.ndim != 1:
        raise InvalidProblem("certificates take one weight for each client, the same in all states")
    found = tuple(_guarantees(e, extended(log_pi), tried) for e in known)
    gains = np.array([[g.over_global for g in own] for own in found])
    means = (omega[:, None] * gains).sum(axis=0)
    chosen = int(means.argmax())
    policy = aggregate(aggregation, np.stack([own[chosen].log_policy for own in found]), omega)
    return Certificate(delta, found, chosen, float(means[chosen]), policy, gain_over(known, policy, log_pi))


def certify_rounds(
    data: Dataset | Sequence[Counts], gamma: float, rho: Any, rounds: int, **settings: Any
) -> list[Certificate]:
    """The certificates of rounds that start at the uniform policy and take the chosen weights each time;
    ``settings`` as for :func:`certify_improvement`. All of them hold together with probability
    ``1 - delta``."""
    counts = count(data) if isinstance(data, Dataset) else tuple(data)
    log_pi, found = uniform(counts[0].S, counts[0].A), []
    for _ in range(rounds):
        found.append(certify_improvement(counts, gamma, rho, log_pi, **settings))
        log_pi = found[-1].log_policy
    return found


def _guarantees(
    known: Evidence, log_pi: Array, tried: Sequence[tuple[float, float, float | None]]
) -> tuple[Guarantee, ...]:
    r"""The guarantees of one client for all choices of :math:`(\alpha, \beta, \lambda)`; ``log_pi (S+1,
    A)``."""
    log_b = known.log_b
    old, own = known.bounds(log_pi), known.bounds(log_b)
    # What each comparator pays for being away from the other one.
    old_kl, old_chi2, own_kl = (
        known.mean(p, D(p, q))
        for p, q, D in (
            (log_pi, log_b, enclosed_kl),
            (log_pi, log_b, enclosed_chi2),
            (log_b, log_pi, enclosed_kl),
        )
    )
    divergence: Callable[[Any, Any], Measured]
    out = []
    for alpha, beta, lam in tried:
        if lam is None:
            plus, first, divergence = _optimum(known, log_pi, alpha, beta), alpha, enclosed_kl
        else:
            plus, first, divergence = cql_optimum(known.model, log_b, log_pi, lam, beta), lam, enclosed_chi2
        J, Gamma = known.bounds(plus)
        paid = Measured(0.0)
        for weight, q, D in ((first, log_b, divergence), (beta, log_pi, enclosed_kl)):
            if weight > 0:
                paid = paid + weight * known.mean(plus, D(plus, q))
        direct, forms = [], []
        for (J_, Gamma_), weight, away in (
            (old, first, old_kl if lam is None else old_chi2),
            (own, beta, own_kl),
        ):
            penalty = weight * away if weight > 0 else Measured(0.0)
            # The theorems' forms rest on F(pi+) >= F(comparator), which the optimum's error may miss.
            missed = ((J_ - penalty) - (J - paid)).positive()
            direct.append(float((J - Gamma - J_ - Gamma_).lower))
            forms.append(float((paid - penalty - Gamma - Gamma_ - missed).lower))
        out.append(Guarantee(alpha, beta, lam, plus[:-1], *direct, *forms))
    return tuple(out)


def _optimum(known: Evidence, log_pi: Array, alpha: float, beta: float) -> Array:
    policy: Array = regularised_optimum(known.model, known.log_b, log_pi, alpha, beta)[0]
    return policy
