r"""Lemma 4: what a model made from finitely many records is off by."""

from __future__ import annotations

import numpy as np

from proofs_check.drpo.record_draws import records
from proofs_check.drpo.records import Candidate, Records
from proofs_check.drpo.step import FAMILIES, stacked
from tabular_fedrl.claims import Case, Kind, Theorem, control, identity, tight
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import random_log_policy


class EmpiricalGap(Theorem):
    r"""A policy's value in the empirical model differs from the true one by what the records mislead it to.

    **Setting.** One client's records of a problem with rewards in [0, R], :math:`\bar V = R/(1-\gamma)`; in
    its empirical model :math:`\hat M` pairs that were never seen lead to an absorbing state without reward.
    For any policy

    .. math:: z_\pi = (\hat r - r) + \gamma (\hat P - P) V_M^\pi .

    **Statement** (*identities*, whatever the records)

    .. math:: J(\pi,\hat M) - J(\pi,M) = \frac1{1-\gamma} E_{\hat d^\pi,\pi}[z_\pi], \qquad
              Q_{\hat M}^\pi - Q_M^\pi = (I - \gamma\hat P^\pi)^{-1} z_\pi .

    On the event that all mean rewards and transition laws lie within their radii (see
    :mod:`proofs_check.drpo.records`; how often it fails is theorem ``drpo.event``),
    :math:`|z_\pi| \le \kappa = \min\{c_\delta n^{-1/2}, \bar V\}`, :math:`\kappa = \bar V` where n = 0, for
    all policies at once, those that were chosen after the data included. Hence

    .. math:: |J(\pi,\hat M) - J(\pi,M)| \le \Gamma(\pi) = \frac1{1-\gamma} E_{\hat d^\pi}
              \langle\pi,\kappa\rangle, \qquad
              |Q_{\hat M}^\pi - Q_M^\pi| \le (I - \gamma \hat P^\pi)^{-1} \kappa .

    **Proof.** :math:`\hat Q = \hat r + \gamma\hat P^\pi\hat Q`, :math:`Q = r + \gamma P^\pi Q`; subtract, and
    add and take away :math:`\gamma\hat P^\pi Q`. Average with :math:`\rho` and :math:`\pi`. On the event
    :math:`|z| \le R\sqrt{\log(4SA/\delta)/2n} + \gamma \frac12 \|\hat P - P\|_1\, \mathrm{span}\,V`; and both
    :math:`\hat r + \gamma\hat P V` and :math:`r + \gamma P V` lie in :math:`[0,\bar V]`.

    **Source.** Theory notes, DRPO section 3.6.
    """

    id = "drpo.empirical-gap"
    mark = "ours"
    source = "theory notes, DRPO, Lemma 4"
    suite = tuple(Case(source) for source in FAMILIES)
    small = {"draws": 4}
    certified = (
        Case("textbook:two-arm", draws=4),
        Case("textbook:three-state", draws=4),
        Case("random-mdp:seed=1", draws=4),
    )

    def setup(self, problem: FederatedCMDP, draws: int = 32, seed: int = 0) -> list[Candidate]:
        """For every draw the global policy, the behaviour, and one that goes where no record is."""
        rng = np.random.default_rng(seed)
        out = []
        for x in records(problem, draws, seed):
            anywhere = random_log_policy(rng, x.truth.S, x.truth.A, 4.0)
            out += [x.old, x.behaviour, Candidate(x, anywhere)]
        return out

    @identity(r"(1-\gamma) [J(\pi,\hat M) - J(\pi,M)] = E_{\hat d^\pi,\pi}[z_\pi]")
    def values(self, x: list[Candidate]) -> tuple[Measured, Measured]:
        return stacked(per_step(p, p.J_model - p.J, p.total(p.law.mean(p.z))) for p in x)

    @identity(r"(1-\gamma) [Q_{\hat M}^\pi - Q_M^\pi] = (1-\gamma) (I - \gamma\hat P^\pi)^{-1} z_\pi")
    def critics(self, x: list[Candidate]) -> tuple[Measured, Measured]:
        return stacked(per_step(p, *_critics(p, p.z)) for p in x)

    @tight(r"|z_\pi| \le \kappa \text{ on the event}")
    def signal(self, x: list[Candidate]) -> tuple[Measured, Measured, Measured]:
        # Of the environment's states: in the additional one both sides are 0.
        seen = [(p.z.abs()[:-1], p.records.kappa[:-1], p.records.largest) for p in on_event(x)]
        left, right = stacked((z, kappa) for z, kappa, _ in seen)
        most = [Measured(np.ones(kappa.shape)) * largest for _, kappa, largest in seen]
        return left, right, Measured.concatenate([m.reshape(-1) for m in most])

    @tight(r"|J(\pi,\hat M) - J(\pi,M)| \le \Gamma(\pi) \text{ on the event}")
    def value_bound(self, x: list[Candidate]) -> tuple[Measured, Measured, Measured]:
        seen = on_event(x)
        left, right = stacked(((p.J_model - p.J).abs(), p.cost) for p in seen)
        return left, right, Measured.stack([p.records.largest for p in seen])

    @tight(r"|Q_{\hat M}^\pi - Q_M^\pi| \le (I - \gamma\hat P^\pi)^{-1} \kappa \text{ on the event}")
    def critic_bound(self, x: list[Candidate]) -> tuple[Measured, Measured]:
        sides = (_critics(p, p.records.kappa) for p in on_event(x))
        return stacked((left.abs(), right) for left, right in sides)

    @control("the visitation is that of the model, not of the truth", Case(FAMILIES[1]), kind=Kind.IDENTITY)
    def true_visitation(self, x: list[Candidate]) -> tuple[Measured, Measured]:
        turned = [_exchanged(p) for p in x]
        sides = ((p.J_model - p.J, q.total(p.law.mean(p.z))) for p, q in zip(x, turned, strict=True))
        return stacked(sides)

    @control(
        "with the visitation of the model go the true values, not the model's",
        Case(FAMILIES[1]),
        kind=Kind.IDENTITY,
    )
    def model_values(self, x: list[Candidate]) -> tuple[Measured, Measured]:
        return stacked((p.J_model - p.J, p.total(p.law.mean(p.deviation(p.seen)))) for p in x)

    @control("pairs that were never seen are not free: kappa = 0 where n = 0", Case(FAMILIES[1]))
    def nothing_for_the_unseen(self, x: list[Candidate]) -> tuple[Measured, Measured]:
        seen = on_event(x)
        costs = (p.total(p.law.mean(p.records.kappa * (p.records.n > 0).astype(np.float64))) for p in seen)
        return stacked(((p.J_model - p.J).abs(), cost) for p, cost in zip(seen, costs, strict=True))

    @control(
        "a quarter of c_delta: records on the border of the event lie outside",
        Case("textbook:three-state"),
    )
    def quarter(self, x: list[Candidate]) -> tuple[Measured, Measured]:
        return stacked((p.z.abs(), p.records.roots * p.records.radii.signal * 0.25) for p in on_event(x))


def on_event(x: list[Candidate]) -> list[Candidate]:
    """Those whose records lie within all radii."""
    return [p for p in x if p.records.within]


def per_step(p: Candidate, left: Measured, right: Measured) -> tuple[Measured, Measured]:
    r"""Both sides times :math:`(1-\gamma)/\bar V`, or only :math:`1-\gamma` where :math:`\bar V < 1`: in the
    units in which z is at most 1."""
    unit = p.records.discount / p.records.largest.maximum(1.0)
    return left * unit, right * unit


def _critics(p: Candidate, f: Measured) -> tuple[Measured, Measured]:
    """What the model's critic is off by, and the model's action values of a signal: of the environment's
    states (in the additional one both are 0)."""
    return (p.seen.Q[0] - p.true.Q[0])[:-1], p.records.signal(p.records.model, p.log, f)[:-1]


def _exchanged(p: Candidate) -> Candidate:
    """The policy where truth and model have changed places."""
    x = p.records
    there = Records(x.model, x.truth, x.n, x.log_b, x.log_pi, x.alpha, x.beta, x.delta)
    return Candidate(there, p.log)
