"""Linear programs by HiGHS' simplex method, at the least tolerances it takes.

The number of threads is not set: in one process HiGHS refuses every other number than its first.
"""

from __future__ import annotations

from collections.abc import Iterable

import highspy
import numpy as np

from tabular_fedrl.measured import Array

OPTIONS: dict[str, str | float] = {
    "solver": "simplex",
    "primal_feasibility_tolerance": 1e-10,
    "dual_feasibility_tolerance": 1e-10,
}


def maximise(
    gain: Array,
    bounds: tuple[Array, Array],
    columns: Array,
    limits: tuple[Array, Array],
    start: Iterable[int] = (),
) -> highspy.Highs:
    """HiGHS after maximising ``gain @ x`` for x ``(n,)`` between the ``bounds`` ``(n,)``, with ``x @
    columns`` between the ``limits`` ``(k,)``; ``columns (n, k)``: a variable's coefficients in all rows.

    ``start``: k variables, rows counted on from n, that are basic at first, the others at their lower bound
    and the rows at their upper limit; none: HiGHS chooses.
    """
    used = columns != 0
    lp = highspy.HighsLp()
    lp.num_col_, lp.num_row_ = columns.shape
    lp.sense_ = highspy.ObjSense.kMaximize
    lp.col_cost_ = gain
    lp.col_lower_, lp.col_upper_ = bounds
    lp.row_lower_, lp.row_upper_ = limits
    lp.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    lp.a_matrix_.start_ = np.append(0, np.cumsum(used.sum(axis=1))).astype(np.int32)
    lp.a_matrix_.index_ = np.nonzero(used)[1].astype(np.int32)
    lp.a_matrix_.value_ = columns[used]
    highs = highspy.Highs()
    highs.silent()
    for name, value in OPTIONS.items():
        highs.setOptionValue(name, value)
    highs.passModel(lp)
    if basic := set(start):
        n, k = columns.shape
        status = highspy.HighsBasisStatus
        first = highspy.HighsBasis()
        first.col_status = [status.kBasic if i in basic else status.kLower for i in range(n)]
        first.row_status = [status.kBasic if n + j in basic else status.kUpper for j in range(k)]
        first.valid = True
        highs.setBasis(first)
    highs.run()
    return highs
