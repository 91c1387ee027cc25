"""Problems from SOURCEs: discounted ones, finite-horizon ones, in floats or in exact rationals.

In exact rationals every float is read exactly (0.9 is 8106479329266893/9007199254740992), then every row of P
and rho is divided by its exact sum. What a source says in text is taken as it stands: fractions and decimals
in the text arrays of an ``.npz`` file and in overrides (``gamma=9/10``, ``d=0.1``). Families, environments,
DRN files and textbook examples compute in floats, and their floats are read exactly.
"""

from __future__ import annotations

import os
from typing import TypeAlias

from tabular_fedrl import cmdp as discounted
from tabular_fedrl import episodic
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.episodic import EpisodicMDP, FederatedEpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.source import read_source

Problem: TypeAlias = CMDP | FederatedCMDP | EpisodicMDP | FederatedEpisodicMDP
Source: TypeAlias = str | os.PathLike[str]


def load(source: Source) -> FederatedCMDP:
    """The discounted problem that a SOURCE names (see :mod:`tabular_fedrl.instances.source` for the syntax).

    Raises
    ------
    InvalidProblem: one line that names the place; or the source names a finite-horizon problem.
    """
    return _discounted(source, load_any(source))


def load_episodic(source: Source) -> FederatedEpisodicMDP:
    """The finite-horizon problem that a SOURCE names.

    Raises
    ------
    InvalidProblem: one line that names the place; or the source names a discounted problem.
    """
    problem = load_any(source)
    if isinstance(problem, FederatedCMDP):
        raise InvalidProblem(
            f"{os.fspath(source)} is a discounted problem, where a finite-horizon one is needed "
            f"(episodic:{os.fspath(source)},H=... makes one)"
        )
    return problem


def load_exact(source: Source | CMDP | FederatedCMDP) -> FederatedCMDP:
    """The discounted problem of a SOURCE, or one that is already there, in exact rationals.

    Raises
    ------
    InvalidProblem: as :func:`load`, and for more states than exact arithmetic takes.
    """
    return _discounted(source, load_any(source, exact=True))


def load_any(source: Source | Problem, exact: bool = False) -> FederatedCMDP | FederatedEpisodicMDP:
    """The problem of a SOURCE, or one that is already there, of either kind; ``exact``: in exact rationals.

    Raises
    ------
    InvalidProblem: one line that names the place.
    """
    if isinstance(source, CMDP | FederatedCMDP):
        return discounted.exact(source) if exact else discounted.federated(source)
    if isinstance(source, EpisodicMDP | FederatedEpisodicMDP):
        return episodic.exact(source) if exact else episodic.environments(source)
    return read_source(source, exact)[0]


def _discounted(source: Source | Problem, problem: FederatedCMDP | FederatedEpisodicMDP) -> FederatedCMDP:
    if isinstance(problem, FederatedEpisodicMDP):
        named = os.fspath(source) if isinstance(source, str | os.PathLike) else repr(source)
        raise InvalidProblem(f"{named} is a finite-horizon problem, where a discounted one is needed")
    return problem
