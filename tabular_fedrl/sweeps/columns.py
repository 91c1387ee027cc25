r"""The columns of a sweep, and the rows that runs fill.

What was run:

``cell``
    the row's number in the sweep;
``algorithm, source, digest``
    the algorithm, the problem's SOURCE (``given:i`` for an object) and the SHA-256 of its content;
``S, A, m, agents, gamma``
    sizes and discount of that problem;
``rounds, local_steps, eta, eta_dual, dual_cap, seed``
    as used, the theory's values filled in; a step that is not one number for all constraints is null;
further names of the grid
    as given: numbers, or text where some value is text or a list (as JSON).

What came out; values are unnormalised (units of reward or cost times :math:`1/(1-\gamma)`), each with
``NAME_error``, a rigorous bound on its evaluation error:

In lockstep there are no bounds but ``optimum_error``, and what is not an average or the drift is null.

``optimum``
    :math:`V_r^\star`, the comparator's value;
``average_value, gap, average_costs, violations``
    over the global policies of all rounds: mean of :math:`V_r`, :math:`V_r^\star` less that mean, mean of
    every :math:`V_{c_j}`, and :math:`[\text{mean } V_{c_j} - d_j]_+`; lists hold an entry for each constraint
    (``thresholds`` the :math:`d_j`);
``violation``
    the largest of ``violations``, 0 without constraints;
``last_gap, last_violation``
    the same of the last round's policy alone;
``local_average_value, local_average_costs``
    over the local policies, of the agents that see the constraint;
``kl_first, kl_last``
    :math:`E_{d^\star} KL(\pi^\star\|\bar\pi_k)` before the first round and after the last;
``drift``
    the largest :math:`\max_s \|\pi_i^{k,E} - \bar\pi_k\|_1` of any agent and round, without an error bound;
``transitions, bytes_up, bytes_down``
    simulated and sent in all.

``status``
    ``ok``, or what kept the cell from being run: ``infeasible``, ``not-slater``, ``invalid`` (a value out of
    range) or ``solver`` (it gave up); ``message`` says more, and the results are null.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InfeasibleCMDP, InvalidProblem, NotSlater, TabularFedRLError
from tabular_fedrl.instances.text import one_line
from tabular_fedrl.measured import Measured
from tabular_fedrl.runner import Run
from tabular_fedrl.sweeps.plan import Cell, Plan

WHOLE, REAL, REALS, TEXT = pa.int64(), pa.float64(), pa.list_(pa.float64()), pa.string()

INPUT = {
    "cell": WHOLE,
    "algorithm": TEXT,
    "source": TEXT,
    "digest": TEXT,
    "S": WHOLE,
    "A": WHOLE,
    "m": WHOLE,
    "agents": WHOLE,
    "gamma": REAL,
    "rounds": WHOLE,
    "local_steps": WHOLE,
    "eta": REAL,
    "eta_dual": REAL,
    "dual_cap": REAL,
    "seed": WHOLE,
}
ENCLOSED = {
    "optimum": REAL,
    "average_value": REAL,
    "gap": REAL,
    "violation": REAL,
    "last_gap": REAL,
    "last_violation": REAL,
    "local_average_value": REAL,
    "kl_first": REAL,
    "kl_last": REAL,
    "average_costs": REALS,
    "violations": REALS,
    "local_average_costs": REALS,
}
PLAIN = {
    "drift": REAL,
    "thresholds": REALS,
    "transitions": WHOLE,
    "bytes_up": WHOLE,
    "bytes_down": WHOLE,
}

Outcome: TypeAlias = tuple[dict[str, Any], dict[str, Any] | Exception]
"""The columns that describe a cell's problem, if it could be read, and its results or what went wrong."""

METADATA = b"tabular_fedrl.sweep"
"""Where a file says what was swept."""


def schema_of(plan: Plan) -> pa.Schema:
    """The columns of a sweep, with its identity as metadata."""
    names = sorted({name for grid in plan.grids for name in grid} - set(INPUT))
    own = {name: _kind([x for grid in plan.grids for x in grid.get(name, ())]) for name in names}
    results = {
        key: kind for name, kind in ENCLOSED.items() for key, kind in ((name, kind), (f"{name}_error", kind))
    }
    columns = {**INPUT, **own, "status": TEXT, **results, **PLAIN, "message": TEXT}
    return pa.schema(list(columns.items()), {METADATA: json.dumps(plan.identity, sort_keys=True)})


def _kind(values: Sequence[Any]) -> pa.DataType:
    """The type of a column that holds these values of an axis."""
    kinds = {type(x) for x in values if x is not None}
    if kinds <= {bool}:
        return pa.bool_()
    return WHOLE if kinds <= {int} else REAL if kinds <= {int, float} else TEXT


def asked(cell: Cell, schema: pa.Schema) -> dict[str, Any]:
    """What a row holds before anything is run."""
    row: dict[str, Any] = {
        "cell": cell.number,
        "algorithm": cell.algorithm,
        "source": cell.instance.source,
        "rounds": cell.rounds,
        "seed": cell.seed,
    }
    for name, value in {**cell.instance.axes, **cell.settings}.items():
        kind = schema.field(name).type
        if kind == TEXT and value is not None:
            row[name] = value if isinstance(value, str) else json.dumps(value)
        elif value is None or isinstance(value, int | float):
            row[name] = value
    return row


def described(problem: FederatedCMDP) -> dict[str, Any]:
    """The columns that describe a problem."""
    cmdp = problem.cmdp
    return {
        "digest": cmdp.digest,
        "S": cmdp.S,
        "A": cmdp.A,
        "m": cmdp.m,
        "agents": problem.N,
        "gamma": cmdp.gamma,
        "thresholds": cmdp.d.tolist(),
    }


def measured(run: Run) -> dict[str, Any]:
    """The results of a run."""
    d = run.problem.cmdp.d
    enclosed: dict[str, Measured] = {
        "average_value": run.average_value,
        "violation": _largest(run.violations),
        "last_violation": _largest((run.costs[-1] - d).positive()),
        "local_average_value": run.local_average_value,
        "average_costs": run.average_costs,
        "violations": run.violations,
        "local_average_costs": run.local_average_costs,
    }
    if run.solution is not None:
        enclosed |= {"optimum": run.solution.value, "gap": run.gap}
        enclosed["last_gap"] = run.solution.value - run.value[-1]
    if run.kl is not None:
        enclosed |= {"kl_first": run.kl[0], "kl_last": run.kl[-1]}
    row: dict[str, Any] = {"status": "ok", "local_steps": run.local_steps}
    for name, x in enclosed.items():
        row[name], row[f"{name}_error"] = x.value.tolist(), x.error.tolist()
    return row | {
        **steps_used(run.parameters),
        "drift": float(run.overall.drift),
        "transitions": int(run.overall.transitions.sum()),
        "bytes_up": run.bytes_up,
        "bytes_down": run.bytes_down,
    }


def steps_used(parameters: Mapping[str, Any]) -> dict[str, float | None]:
    """The steps of a run; None for one that is not the same for all constraints."""
    return {
        name: None if isinstance(parameters[name], list) else parameters[name]
        for name in ("eta", "eta_dual", "dual_cap")
    }


def _largest(x: Measured) -> Measured:
    return x.max() if x.size else Measured(0.0)


def failed(error: TabularFedRLError) -> dict[str, Any]:
    """The row's end where there is no result."""
    kinds = {InfeasibleCMDP: "infeasible", NotSlater: "not-slater", InvalidProblem: "invalid"}
    status = next((word for kind, word in kinds.items() if isinstance(error, kind)), "solver")
    return {"status": status, "message": one_line(error)}


def message(rows: Sequence[dict[str, Any]], schema: pa.Schema) -> bytes:
    """Rows as one message of an Arrow stream, compressed to about a third."""
    stream = pa.BufferOutputStream()
    with pa.ipc.new_stream(stream, schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=schema))
    # Without the schema in front and the mark of the end behind.
    return stream.getvalue().to_pybytes()[schema.serialize().size : -8]


def arrays(table: pa.Table) -> dict[str, Any]:
    """Columns as NumPy arrays, in the cells' order.

    Lists become ``(rows, most entries)`` with NaN where a row has fewer; nulls are NaN, and None in text;
    whole numbers with nulls become floats.
    """
    order = np.argsort(table["cell"].to_numpy(), kind="stable")
    return {name: _array(table[name].combine_chunks())[order] for name in table.column_names}


def _array(column: pa.Array) -> np.ndarray[Any, Any]:
    if column.type != REALS:
        # Equal texts share one object.
        kept = column.dictionary_encode().dictionary_decode() if column.type == TEXT else column
        return np.asarray(kept.to_numpy(zero_copy_only=False))
    lengths = np.asarray(column.value_lengths().fill_null(0), dtype=np.int64)
    out = np.full((len(column), lengths.max(initial=0)), np.nan)
    out[np.arange(out.shape[1]) < lengths[:, None]] = column.flatten().to_numpy(zero_copy_only=False)
    return out
