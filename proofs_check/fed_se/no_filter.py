"""S4: without the filter there is no signal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from proofs_check.fed_se.learner import (
    GARNETS,
    Learner,
    Sides,
    drawn,
    last_probabilities,
    success,
)
from tabular_fedrl.algorithms.fed_se_adapters import closed_form
from tabular_fedrl.algorithms.fed_se_buffer import exact_weights, sampled_weights
from tabular_fedrl.claims import Case, Kind, Theorem, control, hypothesis, identity
from tabular_fedrl.episodic import FederatedEpisodicMDP, start_value
from tabular_fedrl.measured import Measured


@dataclass(frozen=True)
class Refit:
    """Policies, the weights ``W`` of all their episodes, and a fit to a sample of them."""

    before: Learner
    W: Measured
    sampled: Learner

    @property
    def after(self) -> Measured:
        """W normalised, the policy itself where it never goes."""
        mass = self.W.sum(-1)[..., None]
        never = (self.before.d.value == 0)[..., None]
        kept = self.before.p.where(~never, 0.0)
        return (self.W / mass.where(never, 1.0)).where(never, 0.0) + kept


class NoFilter(Theorem):
    r"""A fit to all episodes, failures included, is a fit to what the policy does already.

    **Setting.** As in ``fed-se.closed-form``, with R replaced by 1: the weights are
    :math:`d_h^\pi(s)\, \pi_h(a|s)`, the likelihood :math:`E_{\tau\sim\pi} \log\nu(\tau)`.

    **Statement.** The maximiser is :math:`\pi` wherever it goes: the exact update is the identity, and so is
    that of adapters of every rank, for the gradient in the logits vanishes. J does not change, in any number
    of rounds, whatever the buffer keeps. A sampled buffer moves the policy, without direction.

    **Proof.** :math:`d_h(s) \pi_h(a|s) / d_h(s) = \pi_h(a|s)`. The gradient :math:`W - m\pi` is 0, and with
    it every step of the adapters; a sum of such buffers of one policy is another one.

    **Source.** Theory notes, self-evolution, S4. Chen et al. (2025) report that their method collapses
    without the filter; this is its exact counterpart.
    """

    id = "fed-se.no-filter"
    mark = "ours"
    source = "theory notes, self-evolution, S4"
    problem_type = FederatedEpisodicMDP
    suite = (
        Case(GARNETS),
        Case("opposed-grid:side=3,clients=3,opposed=1,H=4"),
        Case("frozen-lakes:clients=5,H=12", draws=4),
    )
    certified = (Case("success-garnet:S=3,A=4,H=2,goals=1,clients=2,heterogeneity=1,seed=2", draws=2),)
    small = {"draws": 3}

    @hypothesis("the rewards of the last step are probabilities of success (earlier ones are left out)")
    def probabilities(self, problem: FederatedEpisodicMDP) -> bool:
        return last_probabilities(problem)

    def setup(
        self, problem: FederatedEpisodicMDP, draws: int = 12, seed: int = 0, episodes: int = 50
    ) -> Refit:
        """Fits from random policies, to all episodes and to so many sampled ones."""
        rng = np.random.default_rng(seed)
        ending = success(problem)
        before = drawn(rng, ending, draws)
        W = exact_weights(ending, before.p, filtered=False)
        if ending.is_exact:
            return Refit(before, W, before)
        rows = (zip(ending.mdps, row) for row in before.pi)
        some = [[sampled_weights(m, p, episodes, rng, filtered=False) for m, p in row] for row in rows]
        return Refit(before, W, Learner(ending, closed_form(np.stack(some), before.pi)))

    @identity(r"\pi' = \pi")
    def same(self, x: Refit) -> Sides:
        return x.before.p, x.after

    @identity(r"J(\pi') = J(\pi)")
    def value(self, x: Refit) -> Sides:
        return x.before.J, start_value(x.before.problem, x.after)

    @identity(r"W - m\pi = 0: \text{ the gradient in the logits}")
    def gradient(self, x: Refit) -> Sides:
        return x.W, x.W.sum(-1)[..., None] * x.before.p

    @identity(r"\text{also of the buffer of all rounds: } \sum_{i<5} W_i / \sum_{i<5} m_i = \pi")
    def cumulative(self, x: Refit) -> Sides:
        later = [exact_weights(x.before.problem, pi, filtered=False) for pi in [x.before.p] + [x.after] * 4]
        total = sum(later[1:], later[0])
        never = (x.before.d.value == 0)[..., None]
        new = total / total.sum(-1)[..., None].where(never, 1.0)
        return x.before.p.where(never, 0.0), new.where(never, 0.0)

    @control("with the filter the fit moves", Case(GARNETS), kind=Kind.IDENTITY)
    def filtered(self, x: Refit) -> Sides:
        after = Learner(x.before.problem, closed_form(x.before.plain_W, x.before.pi))
        return x.before.p, after.p

    @control("a sample of 50 episodes moves the policy", Case(GARNETS), kind=Kind.IDENTITY)
    def sampled(self, x: Refit) -> Sides:
        return x.before.p, x.sampled.p
