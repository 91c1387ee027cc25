"""Errors of the package. Each message is one line that names the place and the number."""

from __future__ import annotations

from typing import Any, Protocol


class InfeasibilityProof(Protocol):
    """What proves that no policy meets all constraints, in floats or exactly."""

    def check(self, cmdp: Any) -> bool:
        """Is this problem proved infeasible?"""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON."""
        ...


class TabularFedRLError(Exception):
    """Base class: everything the package raises on purpose."""


class InvalidProblem(TabularFedRLError, ValueError):
    """The data do not describe a CMDP, or a parameter is outside its range (exit code 2)."""


class StepsTooLarge(InvalidProblem):
    """A policy of a run is not finite, as its steps are too large (exit code 2)."""


class NotSlater(InvalidProblem):
    """A strictly feasible policy is needed and none exists (exit code 2)."""


class NoDevice(InvalidProblem):
    """CUDA was asked for and cannot be used here (exit code 2); the message says what to install."""


class InfeasibleCMDP(TabularFedRLError):
    """No policy meets all constraints (exit code 3); ``certificate`` proves it and has been checked."""

    def __init__(self, message: str, certificate: InfeasibilityProof) -> None:
        super().__init__(message)
        self.certificate = certificate

    def __reduce__(self) -> tuple[type[InfeasibleCMDP], tuple[str, InfeasibilityProof]]:
        # Unpickling calls the class with args alone: an error from a worker process would break its pool.
        return type(self), (str(self), self.certificate)


class SolverFailure(TabularFedRLError):
    """A numerical solver stopped without an answer that passes its check (exit code 4)."""


class Undecided(TabularFedRLError):
    """An enclosure does not settle a comparison (exit code 5); a higher precision may.

    ``reached``: the share of a run that was done when its enclosures gave out, None outside a run.
    """

    def __init__(self, message: str, reached: float | None = None) -> None:
        super().__init__(message)
        self.reached = reached
