r"""Measuring rounds, many at a time: one batched evaluation of all their policies.

The comparator is one optimal policy :math:`\pi^*`, held fixed, with its visitation :math:`d^*`. For a policy
q in floats, which stands for the one whose rows are normalised exactly,

.. math:: E_{s \sim d^*} KL(\pi^*\|q) = \sum_{s,a} d^*(s) \pi^*(a|s) (\log \pi^*(a|s) - \log q(a|s)) .
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.algorithms import Algorithm, Round
from tabular_fedrl.arithmetic import concatenate, is_minus_infinity, logsumexp, same, seen, stack
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import average, evaluate, visitation
from tabular_fedrl.measured import Array, Measured, dot
from tabular_fedrl.policies import CompactPolicy, enclosed, log_probabilities, probabilities
from tabular_fedrl.solvers import Solution

COARSE = 64
"""Bits for what is only drawn, never claimed."""
CHUNK = 512
"""Most policies in one call of the evaluation."""
ROWS = 1 << 13
"""Most states whose rows of a policy are enclosed at once."""


class Comparator:
    """``policy``: pi*, as given by its log-policy ``(S, A)``; ``d (S,)``: its visitation; ``log_pi``,
    ``pi``, ``weights (S, A)``: pi* and d* pi*, enclosed like d."""

    def __init__(self, cmdp: CMDP, log_policy: Array) -> None:
        self.policy = CompactPolicy.of(log_policy)
        self.d = visitation(cmdp, log_policy)

    @cached_property
    def _enclosed(self) -> tuple[Measured, Measured]:
        return enclosed(self.policy.table())

    @property
    def log_pi(self) -> Measured:
        return self._enclosed[0]

    @property
    def pi(self) -> Measured:
        return self._enclosed[1]

    @cached_property
    def weights(self) -> Measured:
        return self.d.reshape(-1, 1) * self.pi

    def kl(self, log_q: Array) -> Measured:
        """E_{d*} KL(pi*||q) of log-policies ``(..., S, A)``; of infinite radius where q lacks an action of
        pi*."""
        S = len(self.policy.actions)
        if S <= ROWS:
            return average(self.d, _divergences(self.policy.table(), self.log_pi, self.pi, log_q))
        parts = []
        for first in range(0, S, ROWS):
            table = self.policy.table(first, first + ROWS)
            parts.append(_divergences(table, *enclosed(table), log_q[..., first : first + ROWS, :]))
        return average(self.d, Measured.concatenate(parts, axis=-1))

    def log_normaliser(self, log_pi: Array, log_next: Array, x: Measured) -> Measured:
        r"""E_{d*} log Z of steps :math:`\pi' = \pi e^x/Z`, ``(n,)``, from ``(n, S, A)`` arrays.

        The radius also covers :math:`\sum d^* \pi^* |\log\pi + x - \log\pi' - \log Z|`, by which the recorded
        step misses the exact one.
        """
        p = _normalised(log_pi)
        log_z = logsumexp(p + x)
        mean = average(self.d, log_z.reshape(*log_z.shape[:-1]))
        if balls.working():
            return mean  # the recorded step is an enclosure of the exact one
        missed = (p + x - _normalised(log_next) - log_z).abs().upper
        return mean.widened((self.weights.upper * missed).sum(axis=(-2, -1)))


def _divergences(table: Array, log_pi: Measured, pi: Measured, log_q: Any) -> Measured:
    """KL(pi||q) in every state; ``log_pi``, ``pi`` are enclosed from the log-policy ``table``."""
    none = is_minus_infinity(log_q)
    normalised = enclosed(log_q)[0].widened(np.where(none, np.inf, 0.0)) if none.any() else _normalised(log_q)
    # An action that pi never takes adds 0, whatever q makes of it.
    return dot(pi, (log_pi - normalised).where(is_minus_infinity(table), 0.0))


def _normalised(log_q: Any) -> Measured:
    """The logarithm of the policy that a log-policy stands for."""
    q = Measured(log_q)
    return q - logsumexp(q)


def _drift(start: Any, end: Any) -> Any:
    """``max_i max_s ||end - start||_1`` for each round; of balls a coarse enclosure, as no claim rests on
    it."""
    with balls.precision(COARSE) if balls.working() else nullcontext():
        return abs(probabilities(end) - probabilities(start)).sum(axis=-1).max(axis=(1, 2))


@dataclass(frozen=True)
class Observer:
    """Measures the rounds of one run. ``exponent``: of natural steps with a comparator, enclosures of the
    reward's weight in the Lagrangian and of ``eta/(1-gamma)``."""

    algorithm: Algorithm
    problem: FederatedCMDP
    comparator: Comparator | None
    exponent: tuple[Measured, Measured] | None

    @classmethod
    def of(
        cls, algorithm: Algorithm, problem: FederatedCMDP, eta: Any, solution: Solution | None
    ) -> Observer:
        """The observer of ``algorithm`` with primal step ``eta``."""
        if solution is None:
            return cls(algorithm, problem, None, None)
        comparator = Comparator(problem.cmdp, solution.log_policy)
        if not algorithm.natural:
            return cls(algorithm, problem, comparator, None)
        factor = Measured(1.0) / (float(problem.N) if algorithm.reward_factor is None else 1.0)
        # An absurd eta overflows here; the round it spoils is named when it comes.
        with np.errstate(over="ignore"):
            step = Measured(eta) / (Measured(1.0) - problem.cmdp.gamma)
        return cls(algorithm, problem, comparator, (factor, step))

    def measure(
        self, rounds: list[Round], recorded: np.ndarray, iterates: bool
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """What :class:`~tabular_fedrl.runner.engine.Stretch` says of these rounds, and of those among them
        whose places are ``recorded``."""
        pibar = stack([r.log_policy for r in rounds])
        local = stack([r.local for r in rounds])
        multipliers = stack([r.multipliers for r in rounds])
        before, end = local[:, :, :-1], local[:, :, -1]
        policies, owner = self._distinct(pibar, before)
        at_rho, log_z = self._evaluate(policies, owner, local, multipliers, recorded)
        own = at_rho[owner]
        shared = self.algorithm.share
        top = own[:, 0, 0] if shared else own[:, :, 0].mean(axis=1)
        start = pibar[:, None] if shared else pibar
        every_round = {
            "value": top[:, 0],
            "costs": top[:, 1:],
            "local_value": own[..., 0],
            "local_costs": own[..., 1:],
            "drift": _drift(start, end),
            "transitions": np.array([r.transitions for r in rounds]),
        }
        if not recorded.size:
            return every_round, {}
        kept = {"multipliers": multipliers[recorded], **self.compare(pibar[recorded], end[recorded])}
        if log_z is not None:
            kept["log_normaliser"] = log_z
        if iterates:
            kept["local"] = log_probabilities(local[recorded])
            kept["log_policies"] = log_probabilities(pibar[recorded])
        return every_round, kept

    def compare(self, pibar: Array, end: Array) -> dict[str, Any]:
        """``kl`` of global policies ``(r, S, A)`` (``(r, N, S, A)`` without communication) and
        ``kl_local_end`` of ``(r, N, S, A)``; nothing without a comparator."""
        if self.comparator is None:
            return {}
        return {"kl": self.kl(pibar), "kl_local_end": self.comparator.kl(end)}

    def kl(self, pibar: Array) -> Measured:
        """E_{d*} KL(pi*||.) of global policies ``(R, S, A)``; the mean over agents of ``(R, N, S, A)``."""
        assert self.comparator is not None
        kl = self.comparator.kl(pibar)
        return kl if self.algorithm.share else kl.mean(axis=-1)

    def _distinct(self, pibar: Array, before: Array) -> tuple[Array, np.ndarray]:
        """Policies to evaluate ``(B, S, A)`` and, for each of the ``(R, N, E)`` local steps, which one it
        started from.

        Agents that all start from the broadcast policy share its evaluation.
        """
        R, N, E, S, A = before.shape
        if not self.algorithm.share or not same(before[:, :, 0], pibar[:, None]):
            return before.reshape(-1, S, A), np.arange(R * N * E).reshape(R, N, E)
        later = R + np.arange(R * N * (E - 1)).reshape(R, N, E - 1)
        first = np.broadcast_to(np.arange(R)[:, None, None], (R, N, 1))
        policies = concatenate([pibar, before[:, :, 1:].reshape(-1, S, A)])
        return policies, np.concatenate([first, later], axis=2)

    def _evaluate(
        self, policies: Array, owner: np.ndarray, local: Array, multipliers: Array, recorded: np.ndarray
    ) -> tuple[Measured, Measured | None]:
        """Values at rho ``(B, 1+m)`` of the distinct policies, and E log Z ``(r, N, E)`` of the steps of the
        recorded rounds."""
        cmdp = self.problem.cmdp
        S, A, k = cmdp.S, cmdp.A, 1 + cmdp.m
        starts = local[:, :, :-1].reshape(-1, S, A)
        ends = local[:, :, 1:].reshape(-1, S, A)
        lam = seen(multipliers.reshape(owner.size, cmdp.m))
        wanted = np.zeros(owner.shape, dtype=bool)
        wanted[recorded] = self.exponent is not None
        entries = k * S * A + (0 if cmdp.is_sparse else S * S)
        size = max(1, min(CHUNK, 4_000_000 // entries))
        at_rho: list[Measured] = []
        log_z: list[Measured] = []
        order: list[np.ndarray] = []
        for a in range(0, len(policies), size):
            values = evaluate(cmdp, policies[a : a + size])
            at_rho.append(values.at_rho)
            steps = np.flatnonzero(wanted.ravel() & (owner.ravel() >= a) & (owner.ravel() < a + size))
            if not steps.size or self.comparator is None or self.exponent is None:
                continue
            reward_factor, step = self.exponent
            advantage = values.advantage
            for b in range(0, len(steps), size):
                n = steps[b : b + size]
                A_f = advantage[owner.ravel()[n] - a]
                x = (A_f[:, 0] * reward_factor - dot(A_f[:, 1:], lam[n][:, :, None, None], axis=1)) * step
                log_z.append(self.comparator.log_normaliser(starts[n], ends[n], x))
                order.append(n)
        values_at_rho = Measured.concatenate(at_rho)
        if not order:
            return values_at_rho, None
        back = np.argsort(np.concatenate(order))
        return values_at_rho, Measured.concatenate(log_z)[back].reshape(-1, *owner.shape[1:])
