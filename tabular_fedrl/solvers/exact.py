"""Optima in exact arithmetic: the rational proofs of :mod:`tabular_fedrl.solvers.rational`, as the
:class:`~tabular_fedrl.solvers.solution.Solution` that everything else speaks; of problems of exact data, and
of problems of floats where floats cannot tell whether a policy meets the thresholds.

Inside :func:`session` what has been proved once is remembered, and the bases that prove it are kept for the
certificate; given such bases, a session proves with them and searches for nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tabular_fedrl.balls import Balls
from tabular_fedrl.cmdp import CMDP, MOST_EXACT_STATES, exact
from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import CompactPolicy
from tabular_fedrl.solvers import rational
from tabular_fedrl.solvers.solution import Solution

MOST_ENTRIES = 1_000_000
"""Entries of P, zeros included, up to which a problem of floats is solved in exact arithmetic: half a minute.
"""

Basis = tuple[int, ...]


@dataclass
class Session:
    """``bases``: what proved each optimum and slack, by ``KIND:DIGEST of the problem``; ``given``: the only
    ones that may be used, None to find them."""

    given: Mapping[str, Basis] | None = None
    bases: dict[str, Basis] = field(default_factory=dict)
    proved: dict[Any, Any] = field(default_factory=dict)


_current: Session | None = None


@contextmanager
def session(given: Mapping[str, Basis] | None = None) -> Iterator[Session]:
    """Remember proofs; ``given`` bases are proved, not searched for."""
    global _current
    before, _current = _current, Session(given)
    try:
        yield _current
    finally:
        _current = before


def solve_exact(cmdp: CMDP) -> Solution:
    """The exact optimum: every number of the solution is a rational, but for logarithms and the occupancy,
    which is enclosed.

    Raises
    ------
    InfeasibleCMDP: no policy meets all constraints, with an exact certificate.
    SolverFailure: a given basis proves nothing.
    """
    best = _proved("optimum", cmdp)
    slack = _proved("slack", cmdp) if cmdp.m else None
    proved: dict[str, Any] = {
        "value": Balls(best.value),
        "policy": CompactPolicy.of(Balls(best.policy).log()),
        "costs": Balls(best.costs),
        "multipliers": Balls(best.multipliers),
        "slater_slack": None if slack is None else Balls(slack.value),
        "slater_policy": CompactPolicy.of(Balls(best.policy if slack is None else slack.policy).log()),
    }
    active = tuple(int(j) for j in np.flatnonzero(proved["costs"] == cmdp.d))
    return Solution(cmdp=cmdp, active=active, duality_gap=0.0, solver="rational", **proved)


def can_be_exact(cmdp: CMDP) -> bool:
    """Whether a problem of floats is small enough for :func:`solve_rounded`."""
    return cmdp.S <= MOST_EXACT_STATES and cmdp.S**2 * cmdp.A <= MOST_ENTRIES


def solve_rounded(cmdp: CMDP, slack: float, slater_policy: CompactPolicy) -> Solution:
    """The exact optimum of a problem of floats, read exactly, rounded to floats: for one in which floats find
    no slack, so that whether any policy meets the thresholds may hang on the last digit, or no optimum.
    ``slack``: what ``slater_policy`` is proved to attain.

    Raises
    ------
    InfeasibleCMDP: none does, with an exact certificate.
    """
    rational_cmdp = exact(cmdp).cmdp
    best = _proved("optimum", rational_cmdp)
    value = Balls(best.value)
    enclosure = Measured.between(value.lower, value.upper)
    with np.errstate(divide="ignore"):
        log_policy = np.log(Balls(best.policy).value)
    return Solution(
        cmdp=cmdp,
        value=enclosure,
        policy=CompactPolicy.of(log_policy),
        costs=evaluate(cmdp, log_policy).at_rho[1:],
        multipliers=Balls(best.multipliers).value,
        slater_slack=slack,
        slater_policy=slater_policy,
        active=tuple(int(j) for j in np.flatnonzero(Balls(best.costs) == rational_cmdp.d)),
        duality_gap=float(enclosure.upper - enclosure.lower),
        solver="rational",
    )


def value_range_exact(cmdp: CMDP, signal: Balls) -> tuple[Balls, Balls]:
    """Exact least and largest value of a signal ``(S, A)`` at rho."""

    def prove() -> tuple[Balls, Balls]:
        fields: list[Any] = [cmdp.P, signal, cmdp.rho]
        P, f, rho = (x.items for x in fields)
        low, high = rational.value_range(P, f, rho, _gamma(cmdp))
        return Balls(low), Balls(high)

    key = "range", cmdp.digest, " ".join(map(str, signal.items.ravel()))
    found: tuple[Balls, Balls] = _remember(key, prove)
    return found


def _proved(kind: str, cmdp: CMDP) -> Any:
    key = f"{kind}:{cmdp.digest}"

    def prove() -> Any:
        fields: list[Any] = [cmdp.P, cmdp.r, cmdp.c, cmdp.d, cmdp.rho]
        P, r, c, d, rho = (x.items for x in fields)
        data = (P, r, c, d, rho) if kind == "optimum" else (P, c, d, rho)
        if _current is None or _current.given is None:
            found = getattr(rational, kind)(*data, _gamma(cmdp))
        else:
            if key not in _current.given:
                raise SolverFailure(f"no basis is given for the {kind} of the problem {cmdp.digest[:8]}")
            found = getattr(rational, f"prove_{kind}")(*data, _gamma(cmdp), _current.given[key])
        if _current is not None:
            _current.bases[key] = found.basis
        return found

    return _remember(key, prove)


def _remember(key: Any, compute: Any) -> Any:
    if _current is None:
        return compute()
    if key not in _current.proved:
        _current.proved[key] = compute()
    return _current.proved[key]


def _gamma(cmdp: CMDP) -> Any:
    gamma: Any = cmdp.gamma
    return gamma.items[()]
