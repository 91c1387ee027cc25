"""Deciding a certificate again, from its file alone.

Four steps, each of which can refuse: the file is well-formed and unchanged; every stated status follows from
the stated enclosures; the stated bases prove the optima of the instance; and the page of the theorem, run
again on the instance in ball arithmetic with those bases, gives these enclosures. Under the versions that
made the file they must agree digit for digit; under others, computed with more bits, they must overlap and
decide the same.

What the file calls its ``source`` is a name for the reader; the instance is the one it holds.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import flint
from flint import fmpq

from tabular_fedrl import __version__
from tabular_fedrl.claims.certify import certify_at
from tabular_fedrl.claims.discovery import find
from tabular_fedrl.claims.recheck_file import Stored, StoredClaim, decimal, read
from tabular_fedrl.claims.recheck_proof import Interval, Mismatch, follows, prove_basis, ratio
from tabular_fedrl.claims.theorem import LINK_TOLERANCE, Case, Theorem
from tabular_fedrl.claims.verdict import Verdict
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.episodic import FederatedEpisodicMDP
from tabular_fedrl.errors import InvalidProblem, SolverFailure, TabularFedRLError
from tabular_fedrl.instances.rational_json import Tables
from tabular_fedrl.instances.text import one_line, shorten
from tabular_fedrl.solvers.exact import session

MORE_BITS = 32
"""Bits added where digits need not agree."""


@dataclass(frozen=True)
class Rechecked:
    """What became of a certificate: ``mismatch`` names the field and the numbers where it does not come out
    as stated (empty: it does); ``checked``: what was found right, in sentences."""

    stored: Stored
    checked: tuple[str, ...]
    mismatch: str
    seconds: float

    @property
    def confirmed(self) -> bool:
        return not self.mismatch


def recheck(path: str | os.PathLike[str], pages: Sequence[type[Theorem]] = ()) -> Rechecked:
    """Decide the certificate in a file again.

    ``pages``: theorems that are not installed (of a file or notebook of one's own).

    Raises
    ------
    InvalidProblem: the file is no certificate, was changed, or names a theorem or parameter that is unknown.
    """
    begin = time.perf_counter()
    stored = read(path)
    theorem = {page.id: page for page in pages}.get(stored.theorem) or find(stored.theorem)
    unknown = [name for name in stored.parameters if name not in theorem.parameters()]
    if unknown:
        raise InvalidProblem(f"{os.fspath(path)}: {theorem.id} has no parameter {shorten(unknown[0])!r}")
    try:
        problem = stored.instance.problem()
    except InvalidProblem as error:
        raise InvalidProblem(f"{os.fspath(path)}: instance: {error}") from None
    checked = ["the file is whole: format, limits, sha256"]
    mismatch = ""
    try:
        _same_page(stored, theorem)
        for k, claim in enumerate(stored.claims):
            _consistent(claim, f"claims[{k}] ({claim.claim})")
        checked.append("every status follows from the enclosures that are stated")
        checked.append(_bases(stored, problem))
        checked.append(_recomputed(stored, theorem, problem))
    except Mismatch as error:
        mismatch = one_line(error)
    return Rechecked(stored, tuple(checked), mismatch, time.perf_counter() - begin)


def _same_page(stored: Stored, theorem: type[Theorem]) -> None:
    for name, mine in (("theorem", theorem.id), ("mark", str(theorem.mark)), ("title", theorem.title())):
        if getattr(stored, name) != mine:
            raise Mismatch(f"{name}: stated {getattr(stored, name)!r}, the theorem's page says {mine!r}")
    tolerances = {claim.name: claim.tolerance for claim in theorem.claims()}
    for k, claim in enumerate(stored.claims):
        tolerance = LINK_TOLERANCE if claim.role == "link" else tolerances.get(claim.claim)
        if claim.tolerance != tolerance:
            raise Mismatch(
                f"claims[{k}] ({claim.claim}): tolerance: stated {claim.tolerance}, the page says {tolerance}"
            )


def _consistent(claim: StoredClaim, what: str) -> None:
    """The status must follow from the enclosures."""
    lhs, rhs = (claim.sides and _interval(claim.sides[at : at + 2], what) for at in (0, 2))
    if claim.sides is None or lhs is None or rhs is None:
        expected = ("undecided",) if claim.sides else ("undecided", "not applicable")
        if claim.status not in expected or claim.ratio is not None:
            raise Mismatch(f"{what}: stated {claim.status!r} without bounded enclosures")
        return
    status = follows(claim.kind, lhs, rhs, fmpq(*claim.tolerance.as_integer_ratio()))
    if status != claim.status:
        raise Mismatch(
            f"{what}: stated {claim.status!r}, but lhs in {_shown(claim.sides[:2])} and rhs in "
            f"{_shown(claim.sides[2:])} give {status!r}"
        )
    if claim.ratio != ratio(claim.kind, lhs, rhs):
        raise Mismatch(f"{what}: ratio: stated {claim.ratio}, the sides give {ratio(claim.kind, lhs, rhs)}")


def _bases(stored: Stored, problem: FederatedCMDP | FederatedEpisodicMDP) -> str:
    """Those of the instance itself; those of problems that the page derives from it are proved on the way."""
    own = 0
    for kind in ("optimum", "slack"):
        key = f"{kind}:{problem.cmdp.digest}" if isinstance(problem, FederatedCMDP) else ""
        if key in stored.bases and isinstance(stored.instance, Tables):
            try:
                prove_basis(stored.instance, stored.bases[key], of_slack=kind == "slack")
            except Mismatch as error:
                raise Mismatch(f"bases: that of the {kind} proves nothing: {error}") from None
            own += 1
    return (
        f"{own} of {len(stored.bases)} bases prove an optimum of the instance; the others belong to problems "
        "derived from it and are proved in the recomputation"
        if len(stored.bases) > own
        else f"{own} bases prove optima of the instance"
        if own
        else "no optimum enters"
    )


def _recomputed(stored: Stored, theorem: type[Theorem], problem: FederatedCMDP | FederatedEpisodicMDP) -> str:
    same = (stored.package_version, stored.flint_version) == (__version__, flint.__FLINT_VERSION__)
    bits = stored.bits if same else stored.bits + MORE_BITS
    case = Case(problem, **stored.parameters)
    try:
        with session(stored.bases) as proofs:
            fresh = certify_at(theorem, case, problem, bits)
    except SolverFailure as error:
        raise Mismatch(f"bases: {error}") from None
    except (TabularFedRLError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        # Whatever a page makes of a stranger's parameters.
        raise Mismatch(f"the page cannot be run on this: {type(error).__name__}: {error}") from None
    if proofs.bases != stored.bases:
        odd = sorted(set(stored.bases) ^ set(proofs.bases))
        raise Mismatch(
            f"bases: {len(stored.bases)} are stated, the page needs {len(proofs.bases)} ({odd[:1]})"
        )
    if len(fresh) != len(stored.claims):
        raise Mismatch(f"claims: {len(stored.claims)} are stated, the page gives {len(fresh)}")
    for k, (claim, verdict) in enumerate(zip(stored.claims, fresh)):
        _agree(claim, verdict, f"claims[{k}] ({claim.claim})", same)
    if same:
        return f"recomputed at {bits} bits: every digit is the same"
    return (
        f"recomputed at {bits} bits: enclosures overlap and decide the same (not digit for digit: the file "
        f"was made by version {stored.package_version} with FLINT {stored.flint_version})"
    )


def _agree(claim: StoredClaim, fresh: Verdict, what: str, same: bool) -> None:
    pairs: list[tuple[str, Any, Any]] = [
        ("claim", claim.claim, fresh.claim),
        ("role", claim.role, str(fresh.role)),
        ("kind", claim.kind, str(fresh.kind)),
        ("statement", claim.statement, fresh.statement),
        ("status", claim.status, str(fresh.status)),
        ("entries", claim.entries, fresh.entries),
        ("vacuous", claim.vacuous, fresh.vacuous),
        ("reason", claim.reason, fresh.reason),
    ]
    for name, stated, found in pairs:
        if stated != found:
            raise Mismatch(f"{what}: {name}: stated {_shown(stated)}, recomputed {_shown(found)}")
    for name, at in (("lhs", 0), ("rhs", 2)):
        stated, found = (side and side[at : at + 2] for side in (claim.sides, fresh.enclosure))
        if not _alike(_interval(stated, what), _interval(found, what), same):
            raise Mismatch(f"{what}: {name}: stated {_shown(stated)}, recomputed {_shown(found)}")


def _alike(stated: Interval | None, found: Interval | None, same: bool) -> bool:
    """The same ends; or, of another version's, some point in common."""
    if same or stated is None or found is None:
        return stated == found or not same
    return stated[0] <= found[1] and found[0] <= stated[1]


def _interval(ends: tuple[str, ...] | None, what: str) -> Interval | None:
    """None where there is no bounded enclosure."""
    if ends is None or "inf" in ends:
        return None
    return decimal(ends[0], what), decimal(ends[1], what)


def _shown(value: Any) -> str:
    return f"[{', '.join(shorten(x, 50) for x in value)}]" if isinstance(value, tuple) else repr(value)
