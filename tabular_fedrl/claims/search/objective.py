r"""What the search climbs: for each claim the largest lhs/rhs over its entries, as far as it is certain.

The page itself is evaluated one instance at a time; its enclosures give :math:`(\mathrm{lhs} - e)/
\mathrm{rhs}` with e the radius of lhs - rhs, which is above 1 exactly where the claim fails. A page may also
have a method ``batch(problems, **parameters)`` that gives the sides of some claims for many instances at
once, in plain floats: arrays ``(B,)`` or ``(B, k)``, NaN where a hypothesis is not met. They are only
climbed on; what is reported has been evaluated by the page.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from tabular_fedrl.claims.check import Bench
from tabular_fedrl.claims.search.coding import Coding, Parameters
from tabular_fedrl.claims.search.episodic import EpisodicBatch
from tabular_fedrl.claims.theorem import Case, Claim, Theorem
from tabular_fedrl.claims.verdict import Kind
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.episodic import FederatedEpisodicMDP
from tabular_fedrl.errors import InvalidProblem, SolverFailure
from tabular_fedrl.instances.text import suggestion
from tabular_fedrl.loops import Batch
from tabular_fedrl.measured import Array, Measured

ALLOWANCE = 1e-9
"""Taken off the left sides of a batch: plain floats say nothing about smaller ones."""


def searched(theorem: type[Theorem], names: Sequence[str] | None = None) -> list[Claim]:
    """The inequalities among a theorem's claims, or those named; statements about random draws are left out.

    Raises
    ------
    InvalidProblem: an unknown name, one that cannot be searched, or none that can.
    """
    known = {claim.name: claim for claim in theorem.claims()}
    for name in names or ():
        if name not in known:
            raise InvalidProblem(f"{theorem.id} has no claim {name!r}{suggestion(name, known)}")
        if known[name].kind is Kind.IDENTITY:
            raise InvalidProblem(f"{theorem.id}::{name} is an identity: there is no ratio to maximise")
        if known[name].confidence is not None:
            raise InvalidProblem(
                f"{theorem.id}::{name} is decided with a confidence: the worst of many draws says nothing"
            )
    chosen = [known[name] for name in dict.fromkeys(names)] if names else list(known.values())
    chosen = [c for c in chosen if c.kind is not Kind.IDENTITY and c.confidence is None]
    if not chosen:
        raise InvalidProblem(
            f"{theorem.id} states no inequality that is decided without sampling: there is nothing to search"
        )
    return chosen


class Objective:
    """The ratios of a theorem's claims at many points of a coding.

    ``reason``: why the last instance was of no use, where one was not.
    """

    def __init__(self, theorem: type[Theorem], claims: Sequence[Claim]) -> None:
        self.theorem = theorem
        self.claims = tuple(claims)
        self.reason = ""

    def ratios(self, coding: Coding, X: Array, target: str) -> tuple[Array, bool]:
        """Ratios ``(B, claims)`` at projected coordinates; -inf where a claim does not apply. Whether they
        come from the page itself: a batch is used where it knows the claim ``target``."""
        problems, parameters = coding.decode(X)
        sides = self._batch(problems, parameters)
        if target in sides:
            none = np.full(len(X), -np.inf)
            columns = [_float_ratio(*sides[c.name]) if c.name in sides else none for c in self.claims]
            return np.stack(columns, axis=-1), False
        rows = [self.page(problems.problem(i), coding.parameters_of(parameters, i)) for i in range(len(X))]
        return np.reshape(rows, (len(X), len(self.claims))), True

    def page(self, problem: FederatedCMDP | FederatedEpisodicMDP, parameters: Parameters) -> list[float]:
        """The ratio of each claim on one instance, by the page itself."""
        try:
            with np.errstate(all="ignore"):
                bench = Bench(self.theorem, Case(problem, **parameters))
                x, blocked = bench.prepare()
                self.reason = next(iter(blocked.values()), self.reason)
                return [
                    -np.inf if c.name in blocked else certain_ratio(*c.function(bench.theorem, x)[:2])
                    for c in self.claims
                ]
        except (SolverFailure, InvalidProblem, ArithmeticError) as error:
            # A corner of the family that the page or a solver cannot handle is no worst case.
            self.reason = str(error)
            return [-np.inf] * len(self.claims)

    def _batch(
        self, problems: Batch | EpisodicBatch, parameters: Parameters
    ) -> dict[str, tuple[Array, Array]]:
        """The sides that the page's ``batch`` gives, if it has one and it suits these problems."""
        batch: Any = getattr(self.theorem(), "batch", None)
        if batch is None:
            return {}
        with np.errstate(all="ignore"):
            try:
                sides: dict[str, tuple[Array, Array]] = batch(problems, **parameters)
            except InvalidProblem:
                # Too many policies to enumerate, say: then one at a time.
                return {}
        return sides


def certain_ratio(lhs: Any, rhs: Any) -> float:
    """The largest ``(lhs - e)/rhs`` over the entries with a positive right side; infinite where an entry
    fails whose right side is not, -inf where there is no entry to go by."""
    left, right = Measured.of(lhs), Measured.of(rhs)
    difference = left - right
    error = difference.error.ravel()
    b = np.broadcast_to(right.value, difference.shape).ravel()
    excess = difference.value.ravel() - error
    if ((b <= 0) & (excess > 0)).any():
        return float("inf")
    known = (b > 0) & np.isfinite(error)
    if not known.any():
        return float("-inf")
    return float(1.0 + (excess[known] / b[known]).max())


def _float_ratio(lhs: Array, rhs: Array) -> Array:
    a, b = (np.asarray(side, dtype=np.float64) for side in np.broadcast_arrays(lhs, rhs))
    with np.errstate(all="ignore"):
        ratio = np.where(b > 0, (a - ALLOWANCE) / b, np.where(a > ALLOWANCE, np.inf, -np.inf))
    ratio = np.where(np.isnan(ratio), -np.inf, ratio).reshape(len(a), -1)
    return np.asarray(ratio.max(axis=-1, initial=-np.inf))
