r"""Storm through stormpy.

Its multi-objective engine knows no discount: every choice moves to a sink with probability
:math:`1-\gamma`, and one extra state draws the first state from rho, since a query has a single initial
state. Total rewards of that model are the discounted values.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
import stormpy
from stormpy import datastructures, environments, models

from benchmarks.contenders import Method
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.measured import Array

PRECISION = "1/100000000"
MULTI_PRECISION = "1/1000000"


class Query(NamedTuple):
    model: Any
    formula: Any
    environment: Any
    states: int


def _model(rows: sp.csr_array, groups: Array, signals: dict[str, Array], initial: range) -> Any:
    entries = rows.tocoo()
    builder = datastructures.SparseMatrixBuilder[float](
        rows=rows.shape[0], columns=rows.shape[1], entries=rows.nnz, force_dimensions=True,
        has_custom_row_grouping=True, row_groups=rows.shape[1],
    )  # fmt: skip
    builder.add_next_values(
        entries.row.tolist(), entries.col.tolist(), entries.data.tolist(), groups.tolist()
    )
    labels = models.StateLabeling(rows.shape[1])
    labels.add_label("init")
    for s in initial:
        labels.add_label_to_state("init", s)
    rewards = {
        name: models.SparseRewardModel[float](optional_state_action_reward_vector=x.tolist())
        for name, x in signals.items()
    }
    parts = models.SparseModelComponents[float](
        transition_matrix=builder.build(), state_labeling=labels, reward_models=rewards
    )
    return models.SparseMdp[float](parts)


def _environment() -> Any:
    chosen = environments.sound()
    accuracy = chosen.solver().min_max()
    accuracy.precision = stormpy.Rational(PRECISION)
    accuracy.relative_termination_criterion = False
    return chosen


def _discounted(problem: FederatedCMDP) -> Query:
    cmdp = problem.cmdp
    groups = np.arange(0, cmdp.S * cmdp.A, cmdp.A)
    model = _model(cmdp.rows, groups, {"reward": cmdp.r.ravel()}, range(cmdp.S))
    formula = stormpy.parse_properties(f'R{{"reward"}}max=? [Cdiscount={cmdp.gamma!r}]')[0]
    return Query(model, formula, _environment(), cmdp.S)


def _with_sink(cmdp: CMDP) -> Any:
    S, pairs = cmdp.S, cmdp.S * cmdp.A
    end = sp.csr_array(np.full((pairs, 1), 1 - cmdp.gamma))
    rows = sp.vstack(
        [
            sp.hstack([cmdp.gamma * cmdp.rows, end, sp.csr_array((pairs, 1))]),
            sp.csr_array(([1.0], ([0], [S])), shape=(1, S + 2)),
            sp.csr_array(np.concatenate([cmdp.rho, np.zeros(2)])[None]),
        ]
    ).tocsr()
    names = ["reward", *(f"cost{j}" for j in range(cmdp.m))]
    signals = {name: np.append(f.ravel(), [0.0, 0.0]) for name, f in zip(names, cmdp.signals)}
    groups = np.append(np.arange(0, pairs, cmdp.A), [pairs, pairs + 1])
    return _model(rows, groups, signals, range(S + 1, S + 2))


def _multi(problem: FederatedCMDP) -> Query:
    cmdp = problem.cmdp
    limits = "".join(f', R{{"cost{j}"}}<={float(d)!r} [C]' for j, d in enumerate(cmdp.d))
    formula = stormpy.parse_properties(f'multi(R{{"reward"}}max=? [C]{limits})')[0]
    environment = _environment()
    environment.modelchecker().multi().precision = stormpy.Rational(MULTI_PRECISION)
    return Query(_with_sink(cmdp), formula, environment, cmdp.S)


def _checked(query: Query) -> tuple[Any, int]:
    return stormpy.model_checking(query.model, query.formula, environment=query.environment), query.states


def _values(checked: tuple[Any, int]) -> dict[str, Any]:
    result, S = checked
    return {"values": np.array([float(result.get_value(s)) for s in range(S)])}


def _value(checked: tuple[Any, int]) -> dict[str, Any]:
    result, S = checked
    return {"value": float(result.get_value(S + 1))}


DISCOUNTED = Method(_discounted, _checked, _values)
MULTI = Method(_multi, _checked, _value)
