"""Storm's explicit DRN format, written. The grammar is in :mod:`tabular_fedrl.instances.drn`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

import numpy as np
import scipy.sparse as sp

from tabular_fedrl.atomic import atomic_path
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.drn_parser import UNNAMED


def write_drn(path: str | os.PathLike[str], problem: FederatedCMDP) -> None:
    """Write a problem as a DRN MDP with the reward models ``reward, cost0, cost1, ..``; floats are kept
    exactly.

    DRN holds no discount, thresholds or agents: a comment in the file says what to add to the source when it
    is read.

    Raises
    ------
    InvalidProblem: if the initial distribution is not uniform over some states (DRN marks initial states
    only).
    """
    cmdp = problem.cmdp
    started = cmdp.rho > 0
    if not np.allclose(cmdp.rho[started], 1.0 / started.sum(), rtol=1e-12, atol=0):
        raise InvalidProblem(
            f"cannot write {os.fspath(path)}: DRN marks initial states, but rho is not uniform over its "
            f"{int(started.sum())} states"
        )
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for line in _lines(problem):
            stream.write(line + "\n")


def overrides(problem: FederatedCMDP) -> str:
    """What must follow the path of a DRN file to give this problem back: ``,gamma=..,d=..``."""
    cmdp = problem.cmdp
    parts = [f"gamma={cmdp.gamma!r}"]
    if cmdp.m:
        parts.append("d=" + "+".join(repr(float(d)) for d in cmdp.d))
        parts.append("visible=" + "/".join("+".join(map(str, seen)) for seen in problem.visible))
    elif problem.N > 1:
        parts.append(f"agents={problem.N}")
    return "," + ",".join(parts)


def _lines(problem: FederatedCMDP) -> Iterator[str]:
    cmdp = problem.cmdp
    yield "// Written by tabular_fedrl. DRN holds no discount, thresholds or agents; load with"
    yield f"// FILE{overrides(problem)}"
    yield "@type: MDP"
    yield "@parameters"
    yield ""
    yield "@reward_models"
    yield " ".join(["reward", *(f"cost{j}" for j in range(cmdp.m))])
    yield "@nr_states"
    yield str(cmdp.S)
    yield "@nr_choices"
    yield str(cmdp.S * cmdp.A)
    yield "@model"
    rows = sp.csr_array(cmdp.rows)
    zeros = " [" + ", ".join(["0"] * (1 + cmdp.m)) + "]"
    states = _words(cmdp.state_names, spaces=True)
    actions = _words(cmdp.action_names, spaces=False) or [str(a) for a in range(cmdp.A)]
    signals = cmdp.signals
    for s in range(cmdp.S):
        name = f' "{states[s]}"' if states else ""
        yield f"state {s}{zeros}{' init' if cmdp.rho[s] > 0 else ''}{name}"
        for a in range(cmdp.A):
            yield f"\taction {actions[a]} [{', '.join(repr(float(x)) for x in signals[:, s, a])}]"
            yield from _row(rows, cmdp, s, a)


def _row(rows: sp.csr_array, cmdp: CMDP, s: int, a: int) -> Iterator[str]:
    begin, end = rows.indptr[s * cmdp.A + a : s * cmdp.A + a + 2]
    order = np.argsort(rows.indices[begin:end], kind="stable")  # Storm wants ascending successors
    for successor, probability in zip(rows.indices[begin:end][order], rows.data[begin:end][order]):
        if probability > 0:
            yield f"\t\t{successor} : {float(probability)!r}"


def _words(names: Sequence[str] | None, spaces: bool) -> list[str] | None:
    """Names as the format can hold them, None if one cannot be written or two are alike."""
    if names is None or len(set(names)) < len(names):
        return None
    for name in names:
        words = name.split()
        if '"' in name or name in ("init", UNNAMED) or " ".join(words) != name or not words:
            return None
        if len(words) > 1 and not spaces:
            return None
    return list(names)
