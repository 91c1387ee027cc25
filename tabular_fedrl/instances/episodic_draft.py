"""What a source gives of a finite-horizon problem, and how the SOURCE ``episodic:SOURCE,H=...`` is read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse as sp

from tabular_fedrl.cmdp import MOST_EXACT_STATES
from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP, environments
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.draft import DENSE_ENTRIES, Draft
from tabular_fedrl.instances.text import parse_integer, shorten

_BOUNDARY = re.compile(r",(?=[^,=]*=)")


@dataclass(frozen=True)
class EpisodicDraft:
    """The parts of a finite-horizon problem.

    ``origin``: how messages call the source. ``parts``: ``(P, r, rho)`` of every environment, as
    :class:`EpisodicMDP` takes them, floats or rationals (dtype object). ``notes``: as in :class:`Draft`.
    """

    origin: str
    parts: tuple[tuple[Any, Any, Any], ...]
    H: Any
    state_names: tuple[str, ...] | None = None
    action_names: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, origin: str, problem: EpisodicMDP | FederatedEpisodicMDP, notes: tuple[str, ...] = ()
    ) -> EpisodicDraft:
        """A draft with nothing missing."""
        mdps = environments(problem).mdps
        fields = [mdp.fields() for mdp in mdps]
        parts = tuple((f["P"], f["r"], f["rho"]) for f in fields)
        return cls(origin, parts, mdps[0].H, mdps[0].state_names, mdps[0].action_names, notes)

    def problem(self, exact: bool = False) -> FederatedEpisodicMDP:
        """The problem, in floats or in exact rationals.

        Raises
        ------
        InvalidProblem: naming the source; more than exact arithmetic takes.
        """
        names: Any = {"state_names": self.state_names, "action_names": self.action_names}
        build = EpisodicMDP.exact if exact else EpisodicMDP
        try:
            if exact:
                self._limit_exact()
            return FederatedEpisodicMDP([build(P, r, rho, self.H, **names) for P, r, rho in self.parts])
        except InvalidProblem as error:
            raise InvalidProblem(f"{self.origin}: {error}") from None

    def _limit_exact(self) -> None:
        states = np.shape(self.parts[0][2])[0] if np.ndim(self.parts[0][2]) else 0
        entries = sum(np.size(P) for P, _, _ in self.parts)
        if states > MOST_EXACT_STATES or entries > DENSE_ENTRIES:
            raise InvalidProblem(
                f"{states} states and {entries} entries of P, but exact arithmetic ends at "
                f"{MOST_EXACT_STATES} states and {DENSE_ENTRIES} entries"
            )


def split_steps(text: str) -> tuple[str, int]:
    """The SOURCE and the H of ``SOURCE,...,H=...``, in which H may stand anywhere after the name.

    Raises
    ------
    InvalidProblem: no H, or one that is not a whole number.
    """
    pieces = _BOUNDARY.split(text)
    steps = [piece for piece in pieces[1:] if piece.startswith("H=")]
    if len(steps) != 1:
        raise InvalidProblem(f"episodic:{shorten(text)}: add ,H=5 or another number of steps, once")
    pieces.remove(steps[0])
    return ",".join(pieces), parse_integer(steps[0].removeprefix("H="), "H", 1)


def with_steps(draft: Draft, H: int) -> EpisodicDraft:
    """The kernel, the reward and the initial law of a source as a problem of H steps.

    Raises
    ------
    InvalidProblem: a kernel too large to be held dense, or no initial law.
    """
    origin = f"episodic:{draft.origin.rstrip(':')}"
    S, A = draft.r.shape
    P = draft.P
    if sp.issparse(P):
        if S * A * S > DENSE_ENTRIES:
            raise InvalidProblem(
                f"{origin}: a dense kernel of {S * A * S:.3g} entries is over the limit of {DENSE_ENTRIES}"
            )
        P = P.toarray().reshape(S, A, S)
    if draft.rho is None:
        raise InvalidProblem(f"{origin} holds no rho: add ,rho=0 (a state) or ,rho=uniform")
    notes = ("without discount" + (" and constraints" if len(draft.c) else ""),)
    return EpisodicDraft(origin, ((P, draft.r, draft.rho),), H, draft.state_names, draft.action_names, notes)
