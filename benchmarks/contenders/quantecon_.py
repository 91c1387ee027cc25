"""QuantEcon's ``DiscreteDP`` on the sparse state-action form."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from quantecon.markov import DiscreteDP

from benchmarks.contenders import Method
from tabular_fedrl.cmdp import FederatedCMDP

EPSILON = 1e-8
MOST_ITERATIONS = 100_000


def _fresh(problem: FederatedCMDP) -> DiscreteDP:
    cmdp = problem.cmdp
    states, actions = np.divmod(np.arange(cmdp.S * cmdp.A), cmdp.A)
    return DiscreteDP(cmdp.r.ravel(), sp.csr_matrix(cmdp.rows), cmdp.gamma, states, actions)


def _answer(result: Any) -> dict[str, Any]:
    return {"values": result.v}


MODIFIED = Method(
    _fresh,
    lambda model: model.solve("modified_policy_iteration", epsilon=EPSILON, max_iter=MOST_ITERATIONS),
    _answer,
)
HOWARD = Method(_fresh, lambda model: model.solve("policy_iteration"), _answer)
