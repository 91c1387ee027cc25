r"""What is certain of DRPO and its competitors on the data of real environments."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from proofs_check.drpo.real_data_study import comparison_study
from tabular_fedrl.algorithms.drpo_evidence import Evidence, evidence
from tabular_fedrl.algorithms.drpo_steps import enclosed_reverse_step, regularised_optimum
from tabular_fedrl.algorithms.offline_baselines import confined
from tabular_fedrl.arithmetic import is_minus_infinity
from tabular_fedrl.claims import Case, StudyData, Theorem, control, hypothesis, identity, study, tight, upper
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.measured import Array, Measured
from tabular_fedrl.offline import Counts, extended
from tabular_fedrl.offline.counts import pool
from tabular_fedrl.policies import enclosed, enclosed_kl, uniform
from tabular_fedrl.runner.offline_comparison import (
    ENVIRONMENTS,
    METHODS,
    WEIGHT,
    Method,
    counted,
    learn,
    surely_gained,
)
from tabular_fedrl.solvers.policy_iteration import optimise

COMPARED = {name: method for name, method in METHODS.items() if method.algorithm != "local-only"}
"""The methods that come to one policy."""

ORACLE = "pooled data (oracle)"


@dataclass(frozen=True)
class Learned:
    """What the methods made of the clients' data. ``cmdp``: the truth; ``known``: every client's data as
    bounds, ``everything``: the pooled data; ``paths``: of every method, policies ``(K+1, S, A)``."""

    cmdp: CMDP
    known: tuple[Evidence, ...]
    everything: Evidence
    paths: dict[str, Array]

    @property
    def last(self) -> list[Array]:
        """The policies that the methods came to."""
        return [path[-1] for path in self.paths.values()]

    @cached_property
    def supported(self) -> list[Array]:
        """The same in the pooled model, confined to actions that occur in the data."""
        return [confined(extended(log_q), self.everything.log_b) for log_q in self.last]

    @property
    def span(self) -> float:
        """The range of rewards, R."""
        return float(self.cmdp.r.max() - self.cmdp.r.min())

    @property
    def alpha(self) -> float:
        return WEIGHT * self.span

    @property
    def largest(self) -> float:
        r""":math:`R/(1-\gamma)`, the unit in which the data's objective is compared."""
        return self.span * float(self.cmdp.horizon)

    @cached_property
    def optimum(self) -> tuple[Measured, Measured, Measured]:
        r""":math:`F(\pi^+)`, and enclosures of :math:`\log\pi^+` and :math:`\pi^+`."""
        model, log_b = self.everything.model, self.everything.log_b
        _, V, Q = regularised_optimum(model, log_b, log_b, self.alpha, 0.0)
        return (V * model.rho).sum(-1), *enclosed_reverse_step(log_b, log_b, Q, self.alpha, 0.0)

    def values(self, log_policies: Any) -> Measured:
        """J of policies ``(n, S, A)``, ``(n,)``."""
        return evaluate(self.cmdp, np.asarray(log_policies), self.cmdp.r[None]).at_rho[:, 0]

    def regularised(self, log_q: Array) -> Measured:
        """F of a policy of the pooled model."""
        everything = self.everything
        both = everything.means(log_q, [everything.model.r, enclosed_kl(log_q, everything.log_b)])
        return both[0] - both[1] * self.alpha

    def distance(self, log_q: Array) -> Measured:
        r""":math:`\frac{\alpha}{1-\gamma} E_{\hat d^q} KL(q\|\pi^+)`"""
        log, q = enclosed(log_q)
        none = is_minus_infinity(log_q)
        far = (q * (log - self.optimum[1])).where(none, 0.0).sum(-1)
        return self.everything.mean(log_q, far) * self.alpha


class RealData(Theorem):
    r"""On the data of real environments no method does better in the pooled model than the pooled optimum.

    **Setting.** The authors' setting: 10 clients with 10,000 transitions each in FrozenLake 8x8, CliffWalking
    and Taxi, drawn by mixtures of random, medium and expert at rates that rise with the client's number
    (:mod:`tabular_fedrl.runner.offline_comparison`; the table below has all of that, the claims are checked
    on smaller data too). :math:`\hat M` is the model and b the behaviour of all data together,

    .. math:: F(\pi) = J(\pi, \hat M) - \tfrac{\alpha}{1-\gamma} E_{\hat d^\pi} KL(\pi\|b) ,

    and :math:`\pi^+ = \arg\max F`, which is what the method *pooled data (oracle)* computes: a yardstick no
    federation may have.

    **Statement.** For the policy q that any of the methods comes to, confined to actions that occur in the
    data,

    .. math:: F(\pi^+) - F(q) = \tfrac{\alpha}{1-\gamma} E_{\hat d^q} KL(q\|\pi^+) \ge 0 ,

    and for q itself :math:`J(q) \le J^\star`. On the event of :mod:`tabular_fedrl.algorithms.drpo_evidence`,
    of probability at least :math:`1-\delta`, for every client i
    :math:`|J(q, \hat M_i) - J(q)| \le \Gamma_i(q)`, and every round gains what all data together certify.

    **What it does not say.** On the data of these environments the certificates say nothing:
    :math:`\Gamma_i` exceeds the range of all values, and no round of any method is certified, though most of
    them improve. They do say something of three states at :math:`\gamma = 0.3` with 100,000 transitions.
    That a round improves is not certain either: with critics from data some lose value (control). Nor does
    the optimum of the data have the largest true value (control).

    **Proof.** Theorem D's identity with :math:`\beta = 0` on the pooled data; Lemma 4 for each client, and
    the best of the clients' bounds.

    **Source.** Theory notes, DRPO sections 3.6 and 3.7; the setting from the authors' public code.
    """

    id = "drpo.real-data"
    mark = "ours"
    source = "theory notes, DRPO, Lemma 4 and Theorem D, on the data of the authors' setting"
    suite = (
        Case(ENVIRONMENTS[0]),
        Case(ENVIRONMENTS[1]),
        Case(ENVIRONMENTS[2], clients=2, rounds=1),
        Case("gym:FrozenLake-v1", transitions=1000),
        Case("random-mdp:seed=1", transitions=1000),
        Case("random-mdp:nS=3,nA=2,seed=1,gamma=0.3", clients=2, transitions=100_000),
    )
    small = {"clients": 2, "transitions": 60, "rounds": 1}

    @hypothesis("rewards that are not all the same")
    def something_to_learn(self, problem: FederatedCMDP) -> bool:
        r = problem.cmdp.r
        return float(r.min()) < float(r.max())

    @hypothesis("delta between 0 and 1")
    def probability(self, problem: FederatedCMDP, delta: float) -> bool:
        return 0 < delta < 1

    @hypothesis("data within the event", only=["error_of_the_data", "certificates"])
    def within(self, problem: FederatedCMDP, clients: int, transitions: int, delta: float, seed: int) -> bool:
        cmdp = problem.cmdp.only([])
        tables = counted(cmdp, clients, transitions, seed)
        return 0 < delta < 1 and all(
            inside_event(cmdp, table, delta / clients / transitions) for table in tables
        )

    def setup(
        self,
        problem: FederatedCMDP,
        clients: int = 10,
        transitions: int = 10_000,
        rounds: int = 3,
        delta: float = 0.05,
        seed: int = 0,
    ) -> Learned:
        return learned(problem, COMPARED, clients, transitions, rounds, delta, seed)

    @tight(r"F(q) \le F(\pi^+)")
    def best_on_the_data(self, x: Learned) -> tuple[Measured, Measured]:
        left = Measured.stack([x.regularised(log_q) for log_q in x.supported])
        return left / x.largest, x.optimum[0] / x.largest

    # The divergence is known as well as the fixed point divided by alpha.
    @identity(r"F(\pi^+) = F(q) + \tfrac{\alpha}{1-\gamma} E_{\hat d^q} KL(q\|\pi^+)", tolerance=1e-7)
    def shortfall(self, x: Learned) -> tuple[Measured, Measured]:
        right = Measured.stack([x.regularised(log_q) + x.distance(log_q) for log_q in x.supported])
        return (x.optimum[0] + np.zeros(right.shape)) / x.largest, right / x.largest

    @tight(r"J(q) \le J^\star")
    def below_the_optimum(self, x: Learned) -> tuple[Measured, Measured]:
        return x.values(x.last), optimise(x.cmdp).value

    @upper(r"|J(q, \hat M_i) - J(q)| \le \Gamma_i(q) \text{ on the event}")
    def error_of_the_data(self, x: Learned) -> tuple[Measured, Measured, float]:
        values = x.values(x.last)
        pairs = [
            ((model - values[k]).abs(), cost)
            for k, log_q in enumerate(x.last)
            for model, cost in (e.bounds(extended(log_q)) for e in x.known)
        ]
        left, right = (Measured.stack(side) for side in zip(*pairs))
        return left, right, x.largest

    @upper(r"\text{certified gain} \le J(\pi_{k+1}) - J(\pi_k) \text{ on the event}")
    def certificates(self, x: Learned) -> tuple[Measured, Measured]:
        left, right = [], []
        for path in x.paths.values():
            values = x.values(path)
            # Of a method that has stopped there is nothing to say.
            moved = np.array([not np.array_equal(new, old) for old, new in pairwise(path)])
            left.append(Measured(surely_gained(x.known, path)[moved]))
            right.append((values[1:] - values[:-1])[moved])
        return Measured.concatenate(left), Measured.concatenate(right)

    @control(
        "with critics from data a round of DRPO need not improve",
        Case("gym:CliffWalking-v1", clients=3, transitions=3000, rounds=10),
    )
    def every_round_improves(self, x: Learned) -> tuple[Measured, Measured]:
        values = x.values(x.paths["DRPO, R-step"])
        return values[:-1], values[1:]

    @control(
        "the optimum of the data is not the policy of the largest value",
        Case("random-mdp:seed=1", clients=3, transitions=1000),
    )
    def oracle_is_best(self, x: Learned) -> tuple[Measured, Measured]:
        others = [path[-1] for name, path in x.paths.items() if name != ORACLE]
        return x.values(others), x.values([x.paths[ORACLE][-1]])

    @control(
        "the value in the model of the data is no promise",
        Case("random-mdp:seed=1", clients=3, transitions=300),
    )
    def promise(self, x: Learned) -> tuple[Measured, Measured]:
        log_q = x.paths[ORACLE][-1]
        return x.everything.bounds(extended(log_q))[0], x.values([log_q])[0]

    @study("comparison")
    def comparison(self) -> StudyData:
        """What every method lacks to the optimum, round by round, with 10 clients that have 10,000
        transitions each: 1 is the uniform policy's value, 0 the optimum."""
        return comparison_study(ENVIRONMENTS)


def learned(
    problem: FederatedCMDP,
    methods: dict[str, Method],
    clients: int,
    transitions: int,
    rounds: int,
    delta: float,
    seed: int,
) -> Learned:
    """The methods' runs on the same data."""
    cmdp = problem.cmdp.only([])
    tables = counted(cmdp, clients, transitions, seed)
    start = uniform(cmdp.S, cmdp.A)
    span = float(cmdp.r.min()), float(cmdp.r.max())
    paths = {}
    for name, method in methods.items():
        iterates = learn(cmdp, method, clients, transitions, rounds, seed).iterates
        assert iterates is not None
        paths[name] = iterates.log_policies[: rounds + 1]
    return Learned(
        cmdp,
        evidence(tables, cmdp.gamma, cmdp.rho, start, delta, span),
        evidence([pool(tables)], cmdp.gamma, cmdp.rho, start, delta, span)[0],
        paths,
    )


def inside_event(cmdp: CMDP, table: Counts, delta: float) -> bool:
    """Whether a client's data are within the event, with room for rounding."""
    n = table.pairs.ravel().astype(np.float64)
    seen, pairs = n > 0, 2.0 * table.S * table.A
    # An end pays nothing for ever.
    paid = np.append(cmdp.r, 0.0) if table.ends.any() else cmdp.r
    R = float(paid.max() - paid.min())
    reward = R * np.sqrt(np.log(2.0 * pairs / delta) / 2.0)
    law = np.sqrt(2.0 * (np.log(pairs / delta) + table.S * np.log(2.0)))
    moved = np.abs(table.reward - cmdp.r).ravel()
    shown = table.P.reshape(-1, table.S)[seen]
    apart = np.abs(shown - cmdp.rows[np.flatnonzero(seen)]).sum(axis=1)
    room = (1.0 - 1e-9) / np.sqrt(n[seen])
    return bool((moved[seen] <= reward * room).all() and (np.asarray(apart) <= law * room).all())
