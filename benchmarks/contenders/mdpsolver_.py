"""mdpsolver. A model that is solved twice starts from its last answer without a word: each call gets a new
one."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import mdpsolver
import numpy as np

from benchmarks.contenders import Method
from tabular_fedrl.cmdp import FederatedCMDP

TOLERANCE = 1e-8


def _fresh(problem: FederatedCMDP) -> Any:
    cmdp = problem.cmdp
    starts = cmdp.rows.indptr.tolist()
    data, columns = cmdp.rows.data.tolist(), cmdp.rows.indices.tolist()

    def nested(entries: list[Any]) -> list[list[list[Any]]]:
        rows = [entries[i:j] for i, j in pairwise(starts)]
        return [rows[s * cmdp.A : (s + 1) * cmdp.A] for s in range(cmdp.S)]

    model = mdpsolver.model()
    model.mdp(
        discount=cmdp.gamma,
        rewards=cmdp.r.tolist(),
        tranMatProbs=nested(data),
        tranMatColumns=nested(columns),
    )
    return model


def _solved(model: Any) -> Any:
    # On several cores it spins between its steps: slower on few, and lost beside any other process.
    model.solve(algorithm="mpi", tolerance=TOLERANCE, parallel=False)
    return model


def _answer(model: Any) -> dict[str, Any]:
    return {"values": np.array(model.getValueVector())}


MODIFIED = Method(_fresh, _solved, _answer)
