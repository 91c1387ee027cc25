"""What the lemmas on one round of Par-S2ZPO speak of, with the expectation over directions enumerated."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from tabular_fedrl.algorithms.preference_feedback import blocks
from tabular_fedrl.arithmetic import exp, logsumexp
from tabular_fedrl.episodic import EpisodicMDP, extreme_returns, gradient, start_value
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.preferences import Comparison, Panel, majority

MOST_DIRECTIONS = 2**14

FINITE = "answers enough that sqrt(4/N) < varsigma_P(R), hence N > 16: else the bound says nothing (vacuous)"
SYMMETRIC = "a symmetric panel"
POSITIVE = "perturbations of a positive size"
STEPS = "positive steps and perturbations"
ROUNDS = "rounds to speak of, with positive steps and perturbations"


def enough(mdp: EpisodicMDP, panel: Panel, questions: int) -> bool:
    r"""Whether :math:`\sqrt{4/N} < \varsigma_P(R)`, R the largest difference of two returns.

    Else :math:`\varsigma_P^{-1}(\sqrt{4/N}) \ge R`, and whatever :math:`\mu` is, the errors of every bound,
    at least :math:`\mu L d + R/\mu \ge R \sqrt{2d}` with L = R/2, exceed all that its left side can be.
    """
    low, high = extreme_returns(mdp)
    reached = Measured.of(panel.deviation(Measured.of(high - low)))
    return bool((reached - (Measured(4.0) / float(questions)).sqrt()).lower > 0)


def points(mdp: EpisodicMDP, n: int, spread: float, seed: int) -> Measured:
    """Random logits ``(n, H, S, A)``, exact binary fractions."""
    drawn = spread * np.random.default_rng(seed).standard_normal((n, mdp.H, mdp.S, mdp.A))
    return Measured(np.round(drawn * 1024) / 1024)


def lottery(chance: float) -> EpisodicMDP:
    """Two steps: a sure return of 1/4, or one of 1 with this probability."""
    P = np.array([[[0, 1, 0], [1 - chance, 0, chance]], [[0, 1, 0]] * 2, [[0, 0, 1]] * 2])
    r = np.array([np.zeros((3, 2)), [[0.0, 0.0], [0.25, 0.25], [1.0, 1.0]]])
    return EpisodicMDP(P, r, [1.0, 0.0, 0.0], 2)


def policies(theta: Any) -> Any:
    """Softmax policies of enclosed logits."""
    return exp(theta - logsumexp(theta))


def all_signs(size: int) -> Array:
    """All vectors of signs, ``(2**size, size)``; row i is minus row ``-1 - i``."""
    return np.array(list(product((-1.0, 1.0), repeat=size)))


def sign(x: Any) -> Any:
    """Enclosures of the signs: where one is open, of everything between -1 and 1."""
    return Measured.between(np.where(x.lower > 0, 1.0, -1.0), np.where(x.upper < 0, -1.0, 1.0))


@dataclass(frozen=True)
class Landscape:
    """Logits ``theta (n, H, S, A)`` and the questions about them, for K agents with blocks of b coordinates.

    Arrays over directions are ``(n, 2**b, K)``: every sign vector of every block.
    """

    mdp: EpisodicMDP
    comparison: Comparison
    theta: Any
    K: int
    mu: float

    @cached_property
    def own(self) -> Array:
        """Indicators of the blocks, ``(K, H, S, A)``."""
        return blocks(self.theta.shape[1:], self.K)

    @property
    def d(self) -> int:
        return self.mdp.H * self.mdp.S * self.mdp.A

    @property
    def b(self) -> int:
        return self.d // self.K

    @cached_property
    def parts(self) -> Array:
        """The directions :math:`v_k`, ``(2**b, K, H, S, A)``."""
        if 2**self.b > MOST_DIRECTIONS:
            raise InvalidProblem(f"blocks of {self.b} coordinates have too many directions to enumerate")
        table = all_signs(self.b)
        out = np.zeros((len(table), self.K, self.d))
        for k in range(self.K):
            out[:, k, k * self.b : (k + 1) * self.b] = table
        return out.reshape(len(table), *self.own.shape)

    @cached_property
    def spread(self) -> Any:
        """R: the largest difference of two returns."""
        low, high = extreme_returns(self.mdp)
        return Measured.of(high - low)

    @property
    def L(self) -> Any:
        """R/2: V is L-smooth in time-dependent logits."""
        return self.spread / 2

    @cached_property
    def pi(self) -> Any:
        return policies(self.theta)

    @cached_property
    def value(self) -> Any:
        """V, ``(n,)``"""
        return start_value(self.mdp, self.pi)

    @cached_property
    def gradient(self) -> Any:
        """``(n, H, S, A)``"""
        return gradient(self.mdp, self.pi)

    @cached_property
    def block_norms(self) -> Any:
        r""":math:`\|\nabla V \circ e_{I_k}\|_2`, ``(n, K)``"""
        squares = self.gradient * self.gradient
        return (squares[:, None] * self.own).sum((-3, -2, -1)).sqrt()

    @cached_property
    def norm(self) -> Any:
        r""":math:`\|\nabla V\|_{PK}`, ``(n,)``"""
        return self.block_norms.sum(-1)

    @property
    def largest_norm(self) -> Any:
        r""":math:`\sqrt{2HK} R/4`: no gradient has a larger block norm. At every step the entries of a state
        add up to 0 and, without their signs, to at most R/2 times its probability."""
        return self.spread * Measured(2.0 * self.mdp.H * self.K).sqrt() / 4

    @cached_property
    def perturbed(self) -> Any:
        """Policies of the perturbed logits, ``(n, 2**b, K, H, S, A)``."""
        return policies(self.theta[:, None, None] + Measured(self.parts) * self.mu)

    @cached_property
    def gain(self) -> Any:
        r""":math:`V(\theta') - V(\theta)`"""
        return start_value(self.mdp, self.perturbed) - self.value[:, None, None]

    @cached_property
    def inner(self) -> Any:
        r""":math:`\langle\nabla V, v_k\rangle`"""
        return (self.gradient[:, None, None] * self.parts).sum((-3, -2, -1))

    @cached_property
    def answer(self) -> Any:
        """The deviation of one answer for the perturbed logits."""
        return self.comparison.answer(self.mdp, self.perturbed, self.pi[:, None, None])

    @cached_property
    def vote(self) -> Any:
        r""":math:`E[O_k | v]`"""
        return majority(self.answer, self.comparison.questions, self.comparison.ties) * 2.0

    @cached_property
    def epsilon(self) -> Any:
        r"""The largest :math:`|V(\theta') - V(\theta)|` among the compared pairs whose answers are too close:
        at most :math:`\varepsilon^\star_D`; pairs that the enclosures do not tell count as too close."""
        size = self.gain.abs()
        deviation = self.answer * sign(self.gain)
        wanted = self.comparison.panel.deviation(size / 2) / 2
        close = ~((deviation - wanted).lower >= 0)
        return size.where(~close, 0.0).max()

    @cached_property
    def threshold(self) -> Any:
        r""":math:`\varsigma_P^{-1}(\sqrt{4/N})`"""
        return self.comparison.panel.inverse((Measured(4.0) / float(self.comparison.questions)).sqrt())
