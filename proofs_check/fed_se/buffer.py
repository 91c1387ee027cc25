"""S3: a buffer that keeps the successes of all rounds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from proofs_check.fed_se.learner import (
    GARNETS,
    Sides,
    drawn,
    last_probabilities,
    possible,
    row,
    stacked,
    success,
)
from proofs_check.fed_se.rounds import ONE_OF_FOUR, Path, Rounds, late_bloomer, maximisers, run_of
from tabular_fedrl.algorithms.fed_se import Choice
from tabular_fedrl.arithmetic import array, log
from tabular_fedrl.balls import Balls
from tabular_fedrl.claims import (
    Case,
    Rows,
    Table,
    Theorem,
    chain,
    control,
    hypothesis,
    identity,
    tight,
)
from tabular_fedrl.episodic import FederatedEpisodicMDP, repeated
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.measured import Measured, dot


class CumulativeBuffer(Theorem):
    r"""With all past successes in the buffer J rises in every round of a client by itself, if every fit is a
    maximiser.

    **Setting.** A client plays :math:`\pi_0, \pi_1, \ldots`; :math:`F_t(\nu) = E_{\tau\sim\pi_t}[R(\tau)
    \log\nu(\tau)]`, :math:`G_t = \sum_{i\le t} F_i` (and :math:`G_{-1} = 0`). Round t fits
    :math:`\pi'_t`, with :math:`G_t(\pi'_t) \ge G_t(\pi_t)`, to the buffer of all rounds so far. By itself
    the client plays :math:`\pi_{t+1} = \pi'_t`; in a federation :math:`\pi_{t+1}` is the server's average.
    :math:`J(\pi_t) > 0`.

    **Statement.** J falls by no more than what a fit makes up on the older successes: whatever was played
    before, with :math:`\eta_t = \max(0, G_{t-1}(\pi'_t) - G_{t-1}(\pi_t))`,

    .. math:: J(\pi'_t) \ge J(\pi_t)\, e^{-\eta_t/J(\pi_t)} .

    If a client by itself fits within a class of policies that contains :math:`\pi_0` (all of them, adapters
    of some rank, stationary policies) and every :math:`\pi'_t` maximises :math:`G_t` over the class, then
    :math:`\eta_t = 0`: :math:`F_t(\pi_{t+1}) \ge F_t(\pi_t)` and :math:`J(\pi_{t+1}) \ge J(\pi_t)` for all
    t. If every fit is within :math:`\delta` of the supremum, :math:`\eta_t \le \delta`. Over all policies,
    with :math:`m_t = d^{\pi_t} V^{\pi_t}` and :math:`\lambda_t = m_t/\sum_{i\le t} m_i`,

    .. math:: \pi_{t+1} = \pi_t \Big(1 - \lambda_t + \lambda_t \frac{Q^{\pi_t}}{V^{\pi_t}}\Big), \qquad
              J(\pi_{t+1}) - J(\pi_t) = \sum_{h,s} d^{\pi_{t+1}}_h(s)\, \lambda_{t,h}(s)\,
              \frac{\mathrm{Var}_{\pi_t} Q_h^{\pi_t}(s,\cdot)}{V_h^{\pi_t}(s)} .

    The theory notes state the monotone buffer as a conjecture. For maximisers, of a client by itself, it is
    the theorem above. For fits that merely improve it is false: at rank 1, from the uniform policy, J falls
    in the second round of Fed-SE after fits of ten sweeps, and after fits of a hundred (controls). It says
    nothing of :math:`\pi_t` that are a server's average, which maximise nothing: there J can fall at full
    rank after fits of a hundred sweeps (control). Open are fits of low rank that end in a local maximum which
    is not the largest: J can only fall where such a fit leaves for policies that suit the older successes
    better.

    **Proof.** :math:`F_t(\pi'_t) - F_t(\pi_t)` is :math:`G_t(\pi'_t) - G_t(\pi_t) \ge 0` less
    :math:`G_{t-1}(\pi'_t) - G_{t-1}(\pi_t) \le \eta_t`, and ``fed-se.monotone`` turns it into successes. A
    client by itself plays :math:`\pi_t = \pi'_{t-1}`: if that maximises :math:`G_{t-1}`, or is within
    :math:`\delta` of its supremum, nothing in the class is better for it, or better by more than
    :math:`\delta`. (All terms are finite: no logarithm is positive, :math:`F_t(\pi_t)` is finite, and so, in
    turn, are :math:`G_t(\pi_t)` and :math:`G_t(\pi'_t)`.) The formula is the closed form of the buffer
    :math:`\sum_{i\le t} m_i = \sum_{i<t} m_i + m_t` with :math:`\pi_t` the closed form of the first part
    (where that is empty :math:`\lambda_t = 1`), and the gain the performance difference lemma.

    **Source.** Theory notes, self-evolution, S3; the buffer is the method of Chen et al. (2025).
    """

    id = "fed-se.buffer"
    mark = "ours"
    source = "theory notes, self-evolution, S3"
    problem_type = FederatedEpisodicMDP
    suite = (
        Case(GARNETS),
        Case("opposed-grid:side=3,clients=3,opposed=1,H=4"),
        Case("frozen-lakes:clients=5,H=12", draws=2),
        Case("episodic-chain:H=4", rounds=12),
        Case("episodic-chain:H=1", rounds=2, start=[[1.0, 0.0], [1.0, 0.0]]),
        Case(late_bloomer(), draws=1, rounds=3, sweeps=10),
        Case(ONE_OF_FOUR, draws=1, rounds=4, sweeps=100, rank=None, aggregation="factors"),
    )
    certified = (
        Case("success-garnet:S=2,A=4,H=2,b=2,goals=1,clients=2,heterogeneity=1,seed=2", draws=1, rounds=3),
    )
    small = {"draws": 2, "rounds": 4}
    space = {"start": Table.POLICY, "sweeps": (1, 8)}
    family = "success:S=1..3,A=2..3,H=1..3,N=1"
    effort = 100

    @hypothesis("the rewards of the last step are probabilities of success (earlier ones are left out)")
    def probabilities(self, problem: FederatedEpisodicMDP) -> bool:
        return last_probabilities(problem)

    @hypothesis("some episode succeeds in every environment")
    def successful(self, problem: FederatedEpisodicMDP) -> bool:
        return possible(problem)

    @hypothesis("at least one round")
    def positive(self, problem: FederatedEpisodicMDP, rounds: int) -> bool:
        return rounds >= 1

    def setup(
        self,
        problem: FederatedEpisodicMDP,
        rounds: int = 6,
        draws: int = 4,
        seed: int = 0,
        sweeps: int = 2,
        rank: int | None = 1,
        aggregation: str | None = None,
        start: Rows | None = None,
    ) -> Rounds:
        """Maximisers from random policies and a run of Fed-SE from the uniform one; all from ``start``,
        probabilities ``(H*S, A)`` for every client, if that is given."""
        ending = success(problem)
        shape = ending.N, ending.H, ending.S, ending.A
        logits = None
        if start is None:
            pi = _balls(drawn(np.random.default_rng(seed), ending, draws).pi)
        else:
            if np.shape(start) != (ending.H * ending.S, ending.A):
                raise InvalidProblem(f"start: expected a table of {ending.H * ending.S} x {ending.A} numbers")
            table = array(start).reshape(*shape[1:])
            pi = _balls(array(np.zeros((1, *shape))) + table / table.sum(-1)[..., None])
            with np.errstate(divide="ignore"):
                logits = log(pi[0, 0])
        tied = repeated(pi[..., 0, :, :], ending.H)
        choice = Choice(rank, aggregation, sweeps=sweeps, seed=seed)
        return Rounds(
            maximisers(ending, pi, rounds, tied=False),
            maximisers(ending, tied, rounds, tied=True),
            run_of(ending, choice, rounds, logits),
        )

    @tight(r"F_t(\pi_t) \le F_t(\pi_{t+1})")
    def leader(self, x: Rounds) -> Sides:
        return stacked((gain * 0.0, gain) for path in (x.full, x.tied) for gain in path.likelihood_gains)

    @tight(r"J(\pi_t) \le J(\pi_{t+1})")
    def monotone(self, x: Rounds) -> Sides:
        return stacked((old.J, new.J) for path in (x.full, x.tied) for old, new in path.pairs)

    @chain("monotone")
    def monotone_chain(self, x: Rounds) -> Iterator[tuple[str, Measured]]:
        paths = (x.full, x.tied)
        yield "left side", stacked((old.J.log(), old.J) for path in paths for old, _ in path.pairs)[0]
        bound = (
            (old.J.log() + gain / old.J, gain)
            for path in paths
            for (old, _), gain in zip(path.pairs, path.likelihood_gains)
        )
        yield "each fit is a maximiser", stacked(bound)[0]
        yield (
            "Jensen's inequality",
            stacked((new.J.log(), new.J) for path in paths for _, new in path.pairs)[0],
        )

    @identity(
        r"\pi_{t+1} = \pi_t (1 - \lambda_t + \lambda_t Q^{\pi_t}/V^{\pi_t}) \text{ where } V^{\pi_t} > 0"
    )
    def step(self, x: Rounds) -> Sides:
        return stacked(_step(x.full, t) for t in range(len(x.full.played)))

    @identity(
        r"J(\pi_{t+1}) - J(\pi_t) = \sum_{h,s} d^{\pi_{t+1}}_h(s) \lambda_{t,h}(s)"
        r" \mathrm{Var}_{\pi_t} Q_h^{\pi_t}(s,\cdot)/V_h^{\pi_t}(s)"
    )
    def gain(self, x: Rounds) -> Sides:
        return stacked(_gain(x.full, t) for t in range(len(x.full.played)))

    @tight(r"J(\pi_t) e^{-\eta_t/J(\pi_t)} \le J(\pi'_t) \text{ for fits of a few sweeps}")
    def partial_fits(self, x: Rounds) -> Sides:
        return x.run.floor, row(new.J for new in x.run.fitted)

    @chain("partial_fits")
    def partial_chain(self, x: Rounds) -> Iterator[tuple[str, Measured]]:
        yield "left side", x.run.floor
        gains = zip(x.run.played, x.run.likelihood_gains)
        bound = row(old.J * (gain / old.J).exp() for old, gain in gains)
        yield "the likelihood of the buffer does not fall", bound
        yield "Jensen's inequality", row(new.J for new in x.run.fitted)

    @control(
        "fits that merely improve: ten sweeps leave the even arm too unlikely, and the next ten make it up",
        Case(late_bloomer(), rounds=3, sweeps=10),
    )
    def improving_fits(self, x: Rounds) -> Sides:
        return stacked((old.J, new.J) for old, new in x.run.pairs)

    @control("a hundred sweeps are too few as well", Case(late_bloomer(), rounds=3, sweeps=100))
    def patient_fits(self, x: Rounds) -> Sides:
        return stacked((old.J, new.J) for old, new in x.run.pairs)

    @control(
        "the others took the client past the even arm, and its own old successes call it back",
        Case(ONE_OF_FOUR, rounds=4, sweeps=100, rank=None, aggregation="factors"),
    )
    def averaged(self, x: Rounds) -> Sides:
        return stacked((old.J[..., 0], new.J[..., 0]) for old, new in x.run.pairs)


def _share(path: Path, t: int) -> Measured:
    r""":math:`\lambda_t`, 0 where nothing succeeds"""
    total = path.buffers[t].sum(-1)
    none = path.played[t].plain_W.sum(-1) == 0
    return (path.played[t].W.sum(-1) / total.where(none, 1.0)).where(none, 0.0)


def _step(path: Path, t: int) -> Sides:
    old, new = path.pairs[t]
    share = _share(path, t)[..., None]
    hopeless = (old.plain_W.sum(-1) == 0)[..., None]
    factor = 1.0 - share + share * old.Q / old.V[..., None].where(hopeless, 1.0)
    return new.p, old.p * factor


def _gain(path: Path, t: int) -> Sides:
    old, new = path.pairs[t]
    off = old.Q - old.V[..., None]
    hopeless = old.plain_W.sum(-1) == 0
    ratio = _share(path, t) * dot(old.p, off * off) / old.V.where(hopeless, 1.0)
    return new.J - old.J, dot(new.d, ratio, (-2, -1))


def _balls(pi: Any) -> Any:
    """Balls in place of rationals, whose digits would multiply in every round."""
    return pi.balls() if isinstance(pi, Balls) else pi
