"""Certified verdicts: a theorem on one instance, decided in exact rationals and balls.

The instance is read as exact rationals, the page runs as it stands with every number an exact rational or a
ball, the comparator comes from linear programs proved in rational arithmetic, and the precision is doubled
until every claim is decided. The verdict is then a proof for that instance (by computer, resting on the page,
on this package and on the library of ball arithmetic), not for the theorem.

For a claim or link of kind *tight* whose sides may be equal, and for identities, what is proved is equality
within the claim's stated tolerance: no enclosure shrinks to a point.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tabular_fedrl import balls
from tabular_fedrl.claims.check import Bench
from tabular_fedrl.claims.theorem import Case, Theorem
from tabular_fedrl.claims.verdict import Kind, Level, Mark, Status, Verdict
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.episodic import FederatedEpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load_any
from tabular_fedrl.solvers.exact import Basis, session

FIRST_BITS = 128
MOST_BITS = 16384
"""Precision at which an open question is left undecided."""

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Certified:
    """Verdicts at the certified level and all that is needed to decide them again.

    ``page``: the theorem; ``source``: the SOURCE (or a name made from the problem's content); ``problem``:
    the exact problem; ``parameters``: those that were set; ``bits``: the precision of the last run;
    ``bases``: of the linear programs it solved, by ``KIND:DIGEST``; ``seconds``: over all precisions.
    """

    page: type[Theorem]
    source: str
    problem: FederatedCMDP | FederatedEpisodicMDP
    parameters: dict[str, Any]
    bits: int
    verdicts: list[Verdict]
    bases: dict[str, Basis]
    seconds: float


def certify(
    theorem: type[Theorem],
    case: Case,
    *,
    bits: int = FIRST_BITS,
    most_bits: int = MOST_BITS,
    progress: Progress | None = None,
) -> Certified:
    """Decide every claim of a theorem, and every link of its proof, on one case.

    The precision starts at ``bits`` and is doubled until everything is decided or it exceeds ``most_bits``:
    what is open then stays ``undecided``. ``progress``: called with a text before every attempt.

    Raises
    ------
    InvalidProblem: as for a measured verdict; or the page computes with functions that balls refuse.
    """
    begin = time.perf_counter()
    problem = load_any(case.source, exact=True)
    # One session: what is proved exactly need not be proved again at a higher precision.
    with session() as proofs:
        while True:
            if progress is not None:
                progress(f"{theorem.id} at {bits} bits")
            verdicts, reached = _attempt(theorem, case, problem, bits)
            if bits >= most_bits or all(v.status is not Status.UNDECIDED for v in verdicts):
                break
            # Radii grow by about as many bits in every round: skip precisions that would give out again.
            wanted = bits / reached if reached else 0.0
            bits = min(2 * bits, most_bits)
            while bits < min(wanted, most_bits):
                bits = min(2 * bits, most_bits)
    return Certified(
        page=theorem,
        source=case.instance,
        problem=problem,
        parameters=dict(case.parameters),
        bits=bits,
        verdicts=verdicts,
        bases=dict(proofs.bases),
        seconds=time.perf_counter() - begin,
    )


def certify_at(
    theorem: type[Theorem],
    case: Case,
    problem: FederatedCMDP | FederatedEpisodicMDP,
    bits: int,
) -> list[Verdict]:
    """The verdicts on an exact problem at one precision, in the session at work.

    ``case`` gives the parameters and the name of the instance.
    """
    return _attempt(theorem, case, problem, bits)[0]


def _attempt(
    theorem: type[Theorem], case: Case, problem: FederatedCMDP | FederatedEpisodicMDP, bits: int
) -> tuple[list[Verdict], float | None]:
    """The verdicts, and the share of a run that was done when its balls gave out."""
    if any(claim.confidence is not None for claim in theorem.claims()):
        return [_sampled(theorem, case, claim) for claim in theorem.claims()], None
    try:
        with balls.precision(bits):
            bench = Bench(theorem, case, problem)
            return list(bench.verdicts()), bench.reached
    except TypeError as error:
        if "alls" not in str(error):  # what Balls say when a function of NumPy is called on them
            raise
        raise InvalidProblem(
            f"{theorem.id} cannot be certified: its page calls a function that balls refuse ({error})"
        ) from error


def _sampled(theorem: type[Theorem], case: Case, claim: Any) -> Verdict:
    return Verdict(
        theorem=theorem.id,
        claim=claim.name,
        kind=Kind(claim.kind),
        mark=Mark(theorem.mark),
        instance=case.instance,
        case=case.label,
        parameters=dict(case.parameters),
        status=Status.NOT_APPLICABLE,
        statement=claim.statement,
        level=Level.CERTIFIED,
        reason="a statement about random draws: it is decided with a confidence and cannot be certified",
    )
