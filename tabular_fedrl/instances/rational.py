"""Problems in exact rationals, from the same sources as everything else.

Every float is read exactly (0.9 is 8106479329266893/9007199254740992), then every row of P and rho is divided
by its exact sum. What a source says in text is taken as it stands: fractions and decimals in the text arrays
of an ``.npz`` file and in overrides (``gamma=9/10``, ``d=0.1``). Families, environments, DRN files and
textbook examples compute in floats, and their floats are read exactly.
"""

from __future__ import annotations

import os

import scipy.sparse as sp

from tabular_fedrl.cmdp import CMDP, FederatedCMDP, exact
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.draft import densified, limit_exact
from tabular_fedrl.instances.source import read_draft


def load_exact(source: str | os.PathLike[str] | CMDP | FederatedCMDP) -> FederatedCMDP:
    """The problem of a SOURCE, or a problem that is already there, in exact rationals.

    Raises
    ------
    InvalidProblem: as :func:`tabular_fedrl.instances.load`, and for more states than exact arithmetic takes.
    """
    if isinstance(source, CMDP | FederatedCMDP):
        return exact(source)
    draft = read_draft(source, exact=True)
    S, A = draft.r.shape
    limit_exact(draft.origin, S, A)
    P = draft.P
    if sp.issparse(P):
        P = densified(draft.origin, P.data.tolist(), P.indices, P.indptr, S, A)
    try:
        cmdp = CMDP.exact(
            P, draft.r, draft.c, draft.d, draft.rho, draft.gamma,
            state_names=draft.state_names, action_names=draft.action_names,
        )  # fmt: skip
        return FederatedCMDP(cmdp, draft.visible)
    except InvalidProblem as error:
        raise InvalidProblem(f"{draft.origin}: {error}") from None
