r"""CrossLM in tabular form: a server's generator and clients' small models improve each other.

A context s and an item x from a finite set index all tables ``(S, A)``; the contexts do not interact. The
server holds a generator :math:`G(\cdot|s)`, client k private items and a model :math:`Q_k(\cdot|s)` fitted on
them. In a round

1. every client sends the scores :math:`s_k(x) = Q_k(x)/\max_y Q_k(y) \in [0, 1]` of all items,
2. with their mean :math:`\bar s = \frac1K \sum_k s_k` the server moves to
   :math:`G' \propto G e^{\eta \bar s}` (*tilt*) or :math:`G' \propto G \bar s` (*filter*),
3. the server sends m generated items per context to all clients, and every client refits on its n private
   items and on these with weight w: :math:`Q_k = (n \hat P_k + w m G')/(n + w m)`.

The m items are drawn from :math:`G'`, or the law itself stands for them (the mean over all draws). What
crosses the wire is in the ledger: scores and generated items. Private items do not; but scores of all items,
divided by their sum, are the client's model, and with G and w known its private frequencies.

Source: after Deng, Qiao, Ren, Liu, Zhang, "Mutual enhancement of large and small language models with
cross-silo knowledge transfer", arXiv 2312.05842; the tabular form, the scores included, is *ours*.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tabular_fedrl.arithmetic import array, exp, stack
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import Ledger
from tabular_fedrl.measured import Measured

Table = Any
"""An array ``(..., S, A)`` of floats, enclosures or balls."""
Update = Literal["tilt", "filter"]

LARGEST_ETA = 500.0
"""The exponential of a larger number leaves the floats."""


def tilt(generator: Table, score: Table, eta: float) -> Table:
    r"""The generator proportional to :math:`G e^{\eta s}`."""
    return _normalised(generator * exp(score * eta))


def filtered(generator: Table, score: Table) -> Table:
    """The generator proportional to ``G s``.

    Raises
    ------
    InvalidProblem: in some context the score of every item that the generator makes is 0.
    """
    weights = generator * score
    total = weights.sum(-1)
    dead = _floats(total) <= 0
    if isinstance(total, Measured):
        # What many rounds have widened without end has 0 in its middle, and tells nothing.
        dead = dead & (total.upper < np.inf)
    if dead.any():
        raise InvalidProblem(f"context {int(np.argwhere(dead)[0][-1])}: every generated item has score 0")
    return _normalised(weights)


def pooled(counts: Table, generated: Table, weight: float) -> Table:
    r"""The model :math:`(n \hat P + w N)/(n + w m)` of private ``counts`` and ``generated`` amounts N, which
    sum to n and m in every context."""
    return _normalised(counts + generated * weight)


def relative_likelihood(model: Table) -> Table:
    r"""The scores :math:`Q(x)/\max_y Q(y)`."""
    return model / model.max(-1).reshape(*model.shape[:-1], 1)


class Client:
    """What client k holds: private ``counts (S, A)`` of its items, their law as its ``model``, the ``weight``
    of generated items."""

    __slots__ = ("counts", "model", "weight")

    def __init__(self, counts: Table, weight: float) -> None:
        self.counts, self.weight = counts, weight
        self.model = _normalised(counts)

    def score(self) -> Table:
        """Its scores of all items, ``(S, A)``."""
        return relative_likelihood(self.model)

    def refit(self, generated: Table) -> None:
        """Fit the model anew, on private and generated items."""
        self.model = pooled(self.counts, generated, self.weight)


@dataclass(frozen=True)
class CrossLM:
    """A run of T rounds with K clients.

    ``generators``: T+1 tables ``(S, A)``, the first included; ``models``: T+1 tables ``(K, S, A)``, first
    those of the private items alone; ``scores``: T tables ``(K, S, A)``; ``ledger``: what crossed the wire.
    """

    generators: tuple[Table, ...]
    models: tuple[Table, ...]
    scores: tuple[Table, ...]
    ledger: Ledger

    @property
    def mean_scores(self) -> tuple[Table, ...]:
        r""":math:`\bar s` in every round, ``(S, A)``."""
        return tuple(s.mean(0) for s in self.scores)


def crosslm(
    counts: Table,
    generator: Table,
    *,
    rounds: int,
    update: Update = "tilt",
    eta: float = 1.0,
    weight: float = 1.0,
    items: int = 100,
    rng: np.random.Generator | None = None,
) -> CrossLM:
    r"""Run CrossLM.

    Parameters
    ----------
    counts: private items ``(K, S, A)``, at least one for every client and context. generator: the first G,
        ``(S, A)``. Both in the number system to compute in.
    update: ``"tilt"`` with strength ``eta``, or ``"filter"``.
    weight: w of a generated item, a private one counting 1. items: m, generated items per context and round.
    rng: draws the items (floats only); None: the generator's law stands for them.

    Raises
    ------
    InvalidProblem: tables that do not fit, numbers out of their range; or the filter leaves nothing.
    """
    _check(counts, generator, rounds, update, eta, weight, items)
    clients = [Client(own, weight) for own in (counts[k] for k in range(len(counts)))]
    ledger = Ledger(setup={"update": update, "eta": eta, "weight": weight, "items": items})
    generators, models, scores = [generator], [stack([c.model for c in clients])], []
    for t in range(rounds):
        heard = stack([ledger.carry(t, "up", k, "scores", c.score()) for k, c in enumerate(clients)])
        mean = heard.mean(0)
        generator = tilt(generator, mean, eta) if update == "tilt" else filtered(generator, mean)
        generated = generator * items if rng is None else array(rng.multinomial(items, generator))
        for k, client in enumerate(clients):
            client.refit(ledger.carry(t, "down", k, "generated items", generated))
        generators.append(generator)
        models.append(stack([c.model for c in clients]))
        scores.append(heard)
    return CrossLM(tuple(generators), tuple(models), tuple(scores), ledger)


def _normalised(weights: Table) -> Table:
    return weights / weights.sum(-1).reshape(*weights.shape[:-1], 1)


def _floats(x: Table) -> Any:
    return x.value if isinstance(x, Measured) else x


def _check(
    counts: Table, generator: Table, rounds: int, update: str, eta: float, weight: float, items: int
) -> None:
    n, g = _floats(counts), _floats(generator)
    if n.ndim != 3 or g.shape != n.shape[1:]:
        raise InvalidProblem(f"counts {n.shape} and generator {g.shape}: expected (K, S, A) and (S, A)")
    if not (np.isfinite(n).all() and (n >= 0).all()):
        raise InvalidProblem("counts are not all finite and at least 0")
    empty = np.argwhere(n.sum(-1) <= 0)
    if len(empty):
        k, s = (int(i) for i in empty[0])
        raise InvalidProblem(f"client {k} has no item of context {s}")
    if not (g >= 0).all() or (abs(g.sum(-1) - 1) > 1e-9).any():
        raise InvalidProblem("the generator's rows are not laws")
    if update not in ("tilt", "filter"):
        raise InvalidProblem(f"update {update!r}: expected 'tilt' or 'filter'")
    ranges: Sequence[tuple[str, float, float, float]] = (
        ("rounds", rounds, 1, np.inf), ("items", items, 1, np.inf), ("weight", weight, 0.0, 1e9),
        ("eta", eta, 0.0, LARGEST_ETA),
    )  # fmt: skip
    for name, x, low, high in ranges:
        if not low <= x <= high:
            raise InvalidProblem(f"{name} = {x!r}: expected a number from {low:g} to {high:g}")
