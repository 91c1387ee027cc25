r"""Differences of returns from the frequencies of answers, by a link that is believed.

Of P people y prefer the first batch; with the believed link :math:`\hat\sigma` the difference of the mean
returns is estimated by :math:`\hat\sigma^{-1}(y/P)`, the frequency trimmed to [1/(2P), 1 - 1/(2P)] where the
link does not reach 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb
from typing import Any

import numpy as np

from tabular_fedrl.episodic import EpisodicMDP, return_law
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.preferences.comparison import Comparison, batch_law, expectation, few_enough
from tabular_fedrl.preferences.links import Linear, Link


@dataclass(frozen=True)
class Inversion:
    """People of a ``comparison`` (its panel's link is the true one, each of P people is counted) and the link
    that is ``believed``."""

    comparison: Comparison
    believed: Link

    @property
    def estimates(self) -> Any:
        """The estimates for y = 0..P, ``(P+1,)``, in the number system at work."""
        P = self.comparison.panel.people
        y = np.arange(P + 1.0)
        if not (isinstance(self.believed, Linear) and not self.believed.clipped):
            y = np.clip(y, 0.5, P - 0.5)
        return Measured.of(self.believed.inverse((Measured(y) - P / 2) / float(P)))

    def expected(self, mdp: EpisodicMDP, first: Any, second: Any) -> Any:
        """The exact expectation of one estimate of V(first) - V(second), policies ``(..., H, S, A)``."""
        P = self.comparison.panel.people
        chance = self.comparison.points(mdp, self.comparison.panel.link) + 0.5
        estimates, total, yes = self.estimates, chance * 0.0, chance * 0.0 + 1.0
        no = [yes]
        for _ in range(P):
            no.append(no[-1] * (1.0 - chance))
        for y in range(P + 1):
            total = total + yes * no[P - y] * estimates[y] * float(comb(P, y))
            yes = yes * chance
        mine, theirs = (batch_law(return_law(mdp, pi), self.comparison.batch) for pi in (first, second))
        return expectation(total, mine, theirs)

    def drawn(self, mdp: EpisodicMDP, first: Array, second: Array, rng: np.random.Generator) -> Array:
        """The mean of N estimates from drawn batches and people, of the leading shape of the policies;
        floats only."""
        asked = self.comparison
        few_enough(asked.questions, "questions")
        few_enough(asked.panel.people, "answers of a question")
        chance = 0.5 + asked.points(mdp, asked.panel.link).value
        laws = np.broadcast_arrays(*(batch_law(return_law(mdp, pi), asked.batch) for pi in (first, second)))
        k = [_draw(law, asked.questions, rng) for law in laws]
        n = laws[0].shape[-1]
        people = rng.binomial(asked.panel.people, np.clip(chance[n - 1 + k[0] - k[1]], 0.0, 1.0))
        return np.asarray(self.estimates.value[people].mean(axis=-1))


def _draw(law: Array, size: int, rng: np.random.Generator) -> Any:
    """``size`` draws from every law ``(..., n)``: ``(..., size)``."""
    sums = np.cumsum(law, axis=-1)
    u = rng.random((*law.shape[:-1], size)) * sums[..., -1:]
    rows = zip(sums.reshape(-1, law.shape[-1]), u.reshape(-1, size))
    return np.stack([np.searchsorted(ends, x, side="right") for ends, x in rows]).reshape(u.shape)
