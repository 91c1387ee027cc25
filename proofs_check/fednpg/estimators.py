r"""The estimators of sampled FedNPG: unbiased, with known moments and cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.sampled import sampled, simulator
from tabular_fedrl.claims import Case, Kind, Theorem, confidence, control, hypothesis, identity, upper
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import Values, evaluate
from tabular_fedrl.federation import PublicSteps, federate
from tabular_fedrl.kernels.rollouts import rollouts
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.policies import random_log_policy

SURE = 0.99
"""The probability with which the error bounds of every claim hold."""


def reach(f: Array) -> Measured:
    r""":math:`\max(f, 0) - \min(f, 0)` of signals ``(k, S, A)``, ``(k,)``: how far sums of different lengths
    lie apart."""
    return Measured(f.max(axis=(1, 2)).clip(min=0)) - f.min(axis=(1, 2)).clip(max=0)


def reaches(problem: FederatedCMDP, cap: float) -> Measured:
    r""":math:`B_i`, ``(N,)``."""
    costs = (reach(problem.cmdp.c) * problem.mask.astype(np.float64)).sum(-1) * cap
    return costs + reach(problem.cmdp.r[None])[0] / float(problem.N)


def squared_ranges(problem: FederatedCMDP, B: Measured) -> Measured:
    r""":math:`B_i^2 |A| (1+\gamma)/(1-\gamma)^2`, what the mean squared ranges cannot exceed, ``(N,)``."""
    gamma = Measured(problem.cmdp.gamma)
    return B * B * ((gamma + 1.0) * float(problem.cmdp.A) / (1.0 - gamma) ** 2)


@dataclass(frozen=True)
class Draws:
    """Estimates at a random policy. Per agent: what ``sampled`` returned from ``n`` rollouts per start, exact
    values, simulated transitions; for the first agent squared ranges of Q from single rollouts, ``(draws,
    S)``; and the lengths of those."""

    problem: FederatedCMDP
    n: int
    cap: float
    advantages: list[Array]
    cost_values: list[Array]
    exact: list[Values]
    transitions: list[int]
    lengths: Array
    squares: Array

    @staticmethod
    def flat(parts: list[Array]) -> Array:
        return np.concatenate([p.ravel() for p in parts])

    @property
    def exact_advantages(self) -> Measured:
        parts = [v.advantage for v in self.exact]
        return Measured(self.flat([p.value for p in parts]), self.flat([p.error for p in parts]))

    @property
    def exact_costs(self) -> Measured:
        parts = [v.at_rho[1:] for v in self.exact]
        return Measured(self.flat([p.value for p in parts]), self.flat([p.error for p in parts]))

    def sizes(self, rewards: bool) -> Array:
        """The largest size of the signal behind each entry of ``advantages``, or of ``cost_values``."""
        cmdp, parts = self.problem.cmdp, []
        for seen in self.problem.visible:
            signals = cmdp.signals[[0, *(1 + j for j in seen)]] if rewards else cmdp.c[list(seen)]
            size = np.abs(signals).max(axis=(1, 2))
            parts.append(np.repeat(size, cmdp.S * cmdp.A) if rewards else size)
        # A signal that vanishes everywhere is estimated without error, but rounding needs a scale.
        return np.maximum(np.concatenate(parts), 1e-12)


class Estimators(Theorem):
    r"""Undiscounted sums over rollouts of geometric length are unbiased, with known moments.

    **Setting.** A generative simulator; :math:`P(l > t) = \gamma^t`, l in {1, 2, ...}. :math:`\hat V(s)`:
    mean over n rollouts of the undiscounted sum of l signals from s; :math:`\hat Q(s,a)`: the same from n
    independent rollouts that begin with a.

    **Statement.** :math:`E[\hat Q - \hat V] = A`, :math:`E\hat V_c(\rho) = V_c(\rho)`;
    :math:`E l = 1/(1-\gamma)`, :math:`E l^2 = (1+\gamma)/(1-\gamma)^2`; an agent simulates
    :math:`n|S|(|A|+1)/(1-\gamma)` transitions per local step on average; and for the signal of agent i with
    multipliers in :math:`[0,\Lambda]`, in every state,

    .. math:: E\,\mathrm{range}_a(\hat Q_i)^2 \le B_i^2 |A| (1+\gamma)/(1-\gamma)^2, \qquad
              B_i = \mathrm{reach}(r)/N + \Lambda\textstyle\sum_j \mathrm{reach}(c_j) .

    **Proof.** :math:`E \sum_{t<l} f_t = \sum_t P(l > t) E f_t`. For the moments sum :math:`\sum_t P(l>t)` and
    :math:`\sum_t (2t+1) P(l>t)`. The range: theorem F3.

    Expectations are enclosed with probability 0.99: by Bernstein's inequality, since
    :math:`E l(l+1)\cdots(l+k-1) = k!/(1-\gamma)^k` gives :math:`E|X|^k \le F^k k!/(1-\gamma)^k` for sums of
    signals of size at most F, hence
    :math:`E|X-EX|^k \le \frac{k!}2 \frac{8F^2}{(1-\gamma)^2} \big(\frac{2F}{1-\gamma}\big)^{k-2}`; by
    Chebyshev's for squares; by that of Dvoretzky, Kiefer and Wolfowitz for the law of l.

    **Source.** Theory notes, fednpg section 5.
    """

    id = "fednpg.estimators"
    mark = "ours"
    source = "theory notes, fednpg section 5"
    suite = (
        Case("random-mdp:seed=1,gamma=0.5"),
        Case("textbook:three-state"),
        Case("textbook:heterogeneous-bandit"),
        Case("gym:FrozenLake-v1,gamma=0.5", n=50000),
    )
    small = {"n": 20000}

    @hypothesis("at least two samples, and a cap that is not negative")
    def sampled_twice(self, problem: FederatedCMDP, n: int, cap: float) -> bool:
        return n >= 2 and cap >= 0

    def setup(self, problem: FederatedCMDP, n: int = 400000, cap: float = 1.0, seed: int = 0) -> Draws:
        cmdp = problem.cmdp
        rng = np.random.default_rng(seed)
        log_pi = random_log_policy(rng, cmdp.S, cmdp.A)
        steps = PublicSteps(1.0, np.ones(cmdp.m), np.full(cmdp.m, cap))
        multipliers = rng.uniform(0, cap, (problem.N, cmdp.m))
        federation = federate(problem, steps, initial_multipliers=multipliers, seed=seed)
        estimates = [sampled(agent, log_pi, n) for agent in federation.agents]
        draws = min(n // 2, 2_000_000 // (cmdp.S * cmdp.A) + 1)
        lengths, squares = _single_rollouts(problem, cap, log_pi, draws, rng)
        return Draws(
            problem=problem,
            n=n,
            cap=cap,
            advantages=[e.advantages for e in estimates],
            cost_values=[e.cost_values for e in estimates],
            exact=[evaluate(agent.view, log_pi) for agent in federation.agents],
            transitions=[agent.transitions for agent in federation.agents],
            lengths=lengths,
            squares=squares,
        )

    @identity(r"E[\hat Q - \hat V] = A", tolerance=0.25, confidence=SURE)
    def advantages(self, x: Draws) -> tuple[Measured, Measured]:
        variance, scale = _moments(x.problem.cmdp.gamma, x.sizes(rewards=True))
        # The difference of two independent means.
        mean = confidence.moments(x.flat(x.advantages), x.n, 2 * variance, scale, SURE)
        return mean, x.exact_advantages

    @identity(r"E \langle\rho, \hat V_c\rangle = V_c(\rho)", tolerance=0.25, confidence=SURE)
    def cost_values(self, x: Draws) -> tuple[Measured, Measured]:
        cmdp = x.problem.cmdp
        variance, scale = _moments(cmdp.gamma, x.sizes(rewards=False))
        variance, scale = variance * float((cmdp.rho**2).sum()), scale * float(cmdp.rho.max())
        return confidence.moments(x.flat(x.cost_values), x.n, variance, scale, SURE), x.exact_costs

    @identity(r"P(l > t) = \gamma^t", tolerance=0.05, confidence=SURE)
    def law(self, x: Draws) -> tuple[Measured, Measured]:
        t = np.arange(30.0)
        return confidence.tail(x.lengths, t, SURE), Measured(x.problem.cmdp.gamma**t, 1e-15)

    @identity(r"E l = 1/(1-\gamma)", tolerance=0.05, confidence=SURE)
    def mean_length(self, x: Draws) -> tuple[Measured, Measured]:
        gamma = x.problem.cmdp.gamma
        mean = confidence.moments(x.lengths.mean(), x.lengths.size, *_moments(gamma, 1.0), SURE)
        return mean, 1.0 / (1.0 - Measured(gamma))

    @identity(r"E l^2 = (1+\gamma)/(1-\gamma)^2", tolerance=0.25, confidence=SURE)
    def mean_square(self, x: Draws) -> tuple[Measured, Measured]:
        gamma = x.problem.cmdp.gamma
        variance = 24 / (1 - gamma) ** 4
        mean = confidence.square_integrable((x.lengths**2).mean(), x.lengths.size, variance, SURE)
        return mean, (Measured(gamma) + 1.0) / (1.0 - Measured(gamma)) ** 2

    @identity(
        r"E[\text{transitions per local step}]/(n|S|(|A|+1)) = 1/(1-\gamma)",
        tolerance=0.05,
        confidence=SURE,
    )
    def transitions(self, x: Draws) -> tuple[Measured, Measured]:
        cmdp = x.problem.cmdp
        count = x.n * cmdp.S * (cmdp.A + 1)
        mean = confidence.moments(np.array(x.transitions) / count, count, *_moments(cmdp.gamma, 1.0), SURE)
        return mean, 1.0 / (1.0 - Measured(cmdp.gamma))

    @upper(
        r"E\,\mathrm{range}_a(\hat Q_i)^2 \le B_i^2|A|(1+\gamma)/(1-\gamma)^2 \text{ in every state}",
        confidence=SURE,
    )
    def ranges(self, x: Draws) -> tuple[Measured, Measured]:
        bound = squared_ranges(x.problem, reaches(x.problem, x.cap))[0]
        return _mean_squares(x), bound + np.zeros(x.problem.cmdp.S)

    @control(
        "spans instead of reaches: with r = 1 everywhere estimates differ by the lengths of their rollouts",
        Case(CMDP(np.ones((1, 3, 1)), np.ones((1, 3)), [], [], [1.0], 0.5)),
    )
    def spans(self, x: Draws) -> tuple[Measured, Measured]:
        cmdp = x.problem.cmdp
        span = Measured(np.array([np.ptp(cmdp.r) / x.problem.N]))
        return _mean_squares(x), squared_ranges(x.problem, span)

    @control(
        "max |f| instead of reaches: a reward of both signs ranges over twice its largest size",
        Case(CMDP(np.ones((1, 2, 1)), [[1.0, -1.0]], [], [], [1.0], 0.0)),
    )
    def magnitudes(self, x: Draws) -> tuple[Measured, Measured]:
        size = Measured(np.array([np.abs(x.problem.cmdp.r).max() / x.problem.N]))
        return _mean_squares(x), squared_ranges(x.problem, size)

    @control(
        "a length that may be 0 would shorten every sum by the factor gamma",
        Case("textbook:three-state"),
        kind=Kind.IDENTITY,
        tolerance=0.25,
    )
    def lengths_from_zero(self, x: Draws) -> tuple[Measured, Measured]:
        gamma = x.problem.cmdp.gamma
        mean = confidence.moments(x.lengths.mean(), x.lengths.size, *_moments(gamma, 1.0), SURE)
        return mean, gamma / (1.0 - Measured(gamma))


def _single_rollouts(
    problem: FederatedCMDP, cap: float, log_pi: Array, draws: int, rng: np.random.Generator
) -> tuple[Array, Array]:
    """Lengths of ``draws * S * A`` single rollouts, and squared ranges ``(draws, S)`` of the first agent's Q
    from them."""
    cmdp, own = problem.cmdp, list(problem.visible[0])
    indptr, successors, cumulative, _ = simulator(cmdp)
    f = cmdp.r / problem.N - np.tensordot(rng.uniform(0, cap, len(own)), cmdp.c[own], axes=1)
    signals = np.stack([f.ravel(), np.ones(f.size)], axis=1)
    states = np.tile(np.repeat(np.arange(cmdp.S), cmdp.A), draws)
    actions = np.tile(np.arange(cmdp.A), draws * cmdp.S)
    policy = np.cumsum(np.exp(log_pi), axis=1)
    sums, _ = rollouts(indptr, successors, cumulative, signals, policy, cmdp.gamma, states, actions, 1, rng)
    q = sums[:, 0].reshape(draws, cmdp.S, cmdp.A)
    return sums[:, 1], np.ptp(q, axis=2) ** 2


def _mean_squares(x: Draws) -> Measured:
    r"""E range^2 per state. Its variance is at most :math:`B^4 |A| E l^4`,
    :math:`E l^4 \le 24/(1-\gamma)^4`."""
    cmdp = x.problem.cmdp
    B = float(reaches(x.problem, x.cap).upper[0])
    variance = B**4 * cmdp.A * 24 * cmdp.horizon**4
    return confidence.square_integrable(x.squares.mean(axis=0), len(x.squares), variance, SURE)


def _moments(gamma: float, size: Any) -> tuple[Any, Any]:
    """Variance and scale of Bernstein's condition for sums of signals of at most this size."""
    return 8 * (size / (1 - gamma)) ** 2, 2 * size / (1 - gamma)
