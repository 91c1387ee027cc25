"""Several finite-horizon problems with common sizes: the environments of N agents."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from tabular_fedrl.cmdp import MOST_EXACT_STATES
from tabular_fedrl.episodic.mdp import EpisodicMDP, stacked
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.frozen import Frozen


class FederatedEpisodicMDP(Frozen):
    """N finite-horizon problems with common S, A and H: the environments of N agents.

    Parameters
    ----------
    mdps: the environments, at least one, all exact or all floats.
    """

    mdps: tuple[EpisodicMDP, ...]

    def __init__(self, mdps: Sequence[EpisodicMDP]) -> None:
        all_ = tuple(mdps)
        if not all_:
            raise InvalidProblem("no environment: at least one finite-horizon problem is needed")
        sizes = [(m.S, m.A, m.H) for m in all_]
        for i, size in enumerate(sizes):
            if size != sizes[0]:
                raise InvalidProblem(f"environment {i} has (S, A, H) = {size}, environment 0 has {sizes[0]}")
            if all_[i].is_exact != all_[0].is_exact:
                raise InvalidProblem(f"environment {i} and environment 0 are not both exact or both floats")
        self.__dict__.update(mdps=all_)

    @property
    def mdp(self) -> EpisodicMDP:
        """The environment, where there is one only.

        Raises
        ------
        InvalidProblem: there are several.
        """
        if self.N != 1:
            raise InvalidProblem(f"{self.N} environments, where a single one is needed")
        return self.mdps[0]

    @property
    def N(self) -> int:
        """The number of environments."""
        return len(self.mdps)

    @property
    def S(self) -> int:
        return self.mdps[0].S

    @property
    def A(self) -> int:
        return self.mdps[0].A

    @property
    def H(self) -> int:
        return self.mdps[0].H

    @property
    def is_exact(self) -> bool:
        return self.mdps[0].is_exact

    @property
    def P(self) -> Any:
        """The kernels ``(N, H, S, A, S)``."""
        return self._remember("P", lambda: stacked([m.P for m in self.mdps]))

    @property
    def r(self) -> Any:
        """The rewards ``(N, H, S, A)``."""
        return self._remember("r", lambda: stacked([m.r for m in self.mdps]))

    @property
    def rho(self) -> Any:
        """The initial distributions ``(N, S)``."""
        return self._remember("rho", lambda: stacked([m.rho for m in self.mdps]))

    @property
    def row_error(self) -> float:
        """Bound on ``|sum of a row - 1|`` over the rows of all P and rho."""
        return max(m.row_error for m in self.mdps)

    @property
    def digest(self) -> str:
        return hashlib.sha256(" ".join(m.digest for m in self.mdps).encode()).hexdigest()

    def __repr__(self) -> str:
        return f"FederatedEpisodicMDP(N={self.N}, S={self.S}, A={self.A}, H={self.H})"


def environments(problem: EpisodicMDP | FederatedEpisodicMDP) -> FederatedEpisodicMDP:
    """``problem`` itself, or a single one as a federation of one environment."""
    return problem if isinstance(problem, FederatedEpisodicMDP) else FederatedEpisodicMDP([problem])


def exact(problem: EpisodicMDP | FederatedEpisodicMDP) -> FederatedEpisodicMDP:
    """The problem with its floats read exactly; an exact one is returned as it is.

    Raises
    ------
    InvalidProblem: more than :data:`~tabular_fedrl.cmdp.MOST_EXACT_STATES` states.
    """
    given = environments(problem)
    if given.is_exact:
        return given
    if given.S > MOST_EXACT_STATES:
        raise InvalidProblem(
            f"{given.S} states: exact arithmetic is for problems of at most {MOST_EXACT_STATES} states"
        )
    return FederatedEpisodicMDP([EpisodicMDP.exact(**mdp.fields()) for mdp in given.mdps])
