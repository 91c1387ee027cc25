r"""The vote policy: in every state the best of several policies, judged by one critic."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from proofs_check.drpo.laws import Law
from proofs_check.drpo.step import Round, rounds, stacked
from proofs_check.related.moves import SOURCES, at
from proofs_check.related.one_step import fork
from tabular_fedrl.arithmetic import concatenate, stack
from tabular_fedrl.claims import Case, Kind, Rows, Table, Theorem, control, identity, tight
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import log_policy


@dataclass(frozen=True)
class Vote:
    """A round, and further candidates beside its global policy: ``(C, S, A)``."""

    round: Round
    others: Law

    @cached_property
    def gains(self) -> Measured:
        r""":math:`\langle p, A^{\pi_k}\rangle` of the candidates, ``(C, S)``"""
        return self.others.mean(self.round.advantage)

    @cached_property
    def best(self) -> Measured:
        r""":math:`\max_p \langle p, A^{\pi_k}\rangle \ge 0`, ``(S,)``"""
        return self.gains.max(0).maximum(0.0)

    @cached_property
    def voted(self) -> Law:
        r"""The best candidate in every state; :math:`\pi_k` where none gains."""
        # By midpoints: among candidates that these do not tell apart, the choice makes no difference.
        gains = self.gains.value
        chosen, states = gains.argmax(axis=0), np.arange(gains.shape[1])
        old, keep = self.round.old, (gains.max(axis=0) <= 0)[:, None]
        log, p = (
            part.where(keep, 0.0) + own.where(~keep, 0.0)
            for part, own in (
                (self.others.log[chosen, states], old.log),
                (self.others.p[chosen, states], old.p),
            )
        )
        return Law(log, p, np.where(keep, old.support, self.others.support[chosen, states]))

    @cached_property
    def improvement(self) -> Measured:
        r""":math:`(1-\gamma) (J(\pi_v) - J(\pi_k))`"""
        return self.round.improvement(self.voted) * self.round.discount

    def expected(self, f: Measured) -> Measured:
        r""":math:`E_{s \sim d^{\pi_v}} f(s)`"""
        return self.round.expected(self.voted, f)


class VotePolicy(Theorem):
    r"""Following in every state the candidate that one critic likes best never loses against the server.

    **Statement.** Let C be any set of policies that contains :math:`\pi_k` (here the clients' steps
    :math:`\pi_i` and their behaviours :math:`b_i` as well), and :math:`\pi_v(s)` the one in C with the
    largest :math:`\langle p, Q^{\pi_k}\rangle(s)`. Then, for every p in C,

    .. math:: J(\pi_v) - J(\pi_k) = \frac{1}{1-\gamma} E_{d^{\pi_v}} \max_{q \in C} \langle q,
              A^{\pi_k}\rangle \ge \frac{1}{1-\gamma} E_{d^{\pi_v}} [\langle p, A^{\pi_k}\rangle]_+ \ge 0 .

    The vote is better than :math:`\pi_k`; it need not be better than the other candidates.

    **Proof.** The performance difference lemma; the largest of several numbers, one of them 0.

    **Source.** Theory notes, DRPO section 5 (a reading of FOVA).
    """

    id = "related.vote"
    mark = "ours"
    source = "theory notes, DRPO section 5"
    suite = (*(Case(source) for source in SOURCES), Case("textbook:heterogeneous-bandit"))
    certified = (Case("textbook:three-state", draws=8), Case("textbook:two-arm", draws=8))
    small = {"draws": 4}
    space = {"server": Table.POLICY, "first": Table.POLICY, "second": Table.POLICY}
    family = "cmdp:S=1..3,A=2..3,m=0,gamma=0..0.95"

    def setup(
        self,
        problem: FederatedCMDP,
        draws: int = 48,
        clients: int = 3,
        seed: int = 0,
        server: Rows | None = None,
        first: Rows | None = None,
        second: Rows | None = None,
    ) -> list[Vote]:
        r"""Random rounds; or one vote among the server's policy and two others, all given as tables."""
        given = [table for table in (first, second) if table is not None]
        if server is not None and given:
            cmdp = problem.cmdp
            others = stack([log_policy(table, cmdp.S, cmdp.A) for table in given])
            return [Vote(at(cmdp, server), Law.of(others))]
        drawn = rounds(problem, draws, seed, clients=clients)
        return [Vote(x, Law.of(concatenate([x.local, x.log_b]))) for x in drawn]

    @identity(r"(1-\gamma) (J(\pi_v) - J(\pi_k)) = E_{d^{\pi_v}} \max_{q \in C} \langle q, A^{\pi_k}\rangle")
    def gain(self, x: list[Vote]) -> tuple[Measured, Measured]:
        return stacked((k.improvement, k.expected(k.best)) for k in x)

    @tight(
        r"E_{d^{\pi_v}} [\langle p, A^{\pi_k}\rangle]_+ \le (1-\gamma) (J(\pi_v) - J(\pi_k))"
        r" \text{ for every } p \in C",
        attained=Case("textbook:two-arm", server=[[0.5, 0.5]], first=[[0.8, 0.2]]),
    )
    def each_candidate(self, x: list[Vote]) -> tuple[Measured, Measured]:
        return stacked((k.expected(k.gains.positive()), k.improvement + np.zeros(len(k.gains))) for k in x)

    @control(
        "the states are those that the vote visits, not those of the server",
        Case("random-mdp:seed=1"),
        kind=Kind.IDENTITY,
    )
    def of_the_server(self, x: list[Vote]) -> tuple[Measured, Measured]:
        return stacked((k.improvement, k.round.expected(k.round.old, k.best)) for k in x)

    @control(
        "a candidate can be better than the vote: the critic does not know how it would go on",
        Case(fork(), server=[[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]], first=[[0.0, 1.0], [1.0, 0.0], [0.5, 0.5]]),
    )
    def best_of_all(self, x: list[Vote]) -> tuple[Measured, Measured]:
        gain = [k.round.improvement(k.others[0]) * k.round.discount for k in x]
        return stacked((better, k.improvement) for k, better in zip(x, gain))
