"""Whether a problem is a named one: what was measured on an instance is claimed for that instance only."""

from __future__ import annotations

from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.instances import load, load_exact


def is_named(problem: FederatedCMDP, source: str) -> bool:
    """Whether ``problem`` has the content of what ``source`` names, seen by the same agents."""
    return problem == (load_exact(source) if problem.cmdp.is_exact else load(source))
