"""FedNPG and its relatives on one small problem, round after round without Python, with rigorous radii.

The iterations are those of ``algorithms/``; tables are ``(A, S)``, as in
:mod:`tabular_fedrl.kernels.single`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tabular_fedrl.kernels.divergence import Target, normaliser
from tabular_fedrl.kernels.lanes import compiled, largest_move, log_softmax, mean_logits
from tabular_fedrl.kernels.single import assign, is_finite, largest
from tabular_fedrl.loops.batch import Mask
from tabular_fedrl.loops.single_steps import clipped, direction, dual_step, lagrangian, sampled
from tabular_fedrl.loops.single_tables import (
    Kept,
    Problem,
    Rows,
    Steps,
    Values,
    evaluate,
    record_end,
    record_start,
    room,
)
from tabular_fedrl.loops.variants import ALONE, CLIPPED, GEOMETRIC, SAMPLED, TABLE, Variant
from tabular_fedrl.measured import Array


@compiled
def advance(
    x: Problem,
    steps: Steps,
    variant: Variant,
    target: Target,
    log_pibar: Array,
    multipliers: Array,
    streams: NDArray[np.uint64],
    keep: Mask,
    rows: Rows,
    kept: Kept,
) -> int:
    """As many rounds as ``keep (n,)`` is long, recording those it marks; returns how many left only finite
    policies behind, having stopped after the first that did not.

    ``log_pibar (G, 1, A, S)``, ``multipliers (N, m)`` and the random ``streams (N, 4)`` move along.
    """
    G, _, A, S = log_pibar.shape
    N, m = multipliers.shape
    E, K = rows.local.shape[2], 1 + m
    n = K + 1 if variant.tau > 0 else K
    z = room(x, n)
    shared = Values(np.empty((n, S)), np.empty(n), np.empty(n), np.empty((K, 2)))
    own = Values(np.empty((n, S)), np.empty(n), np.empty(n), np.empty((K, 2)))
    log_pi, pi, pibar = np.empty((N, 1, A, S)), np.empty((1, A, S)), np.empty((G, 1, A, S))
    step, logits, after = np.empty((A, S)), np.empty((A, S)), np.empty((1, A, S))
    before, moved, stepped = np.empty((1, A, S)), np.empty(S), np.empty(S)
    private = steps.kernels.shape[0] > 0
    inside = Values(np.empty((n, S)), np.empty(n), np.empty(n), np.empty((K, 2)))
    for g in range(G):
        assign(log_pibar[g, 0], after[0])
        log_softmax(after, pibar[g], z.lines)
    r = -1
    for k in range(keep.size):
        r += keep[k]
        if keep[k]:
            record_start(target, log_pibar, r, kept, z.lines[0])
        for s in range(S):
            moved[s] = 0.0
        for i in range(N):
            g = i if variant.sharing == ALONE else 0
            if variant.sharing == TABLE and i > 0:
                assign(log_pi[i - 1, 0], log_pi[i, 0])
            else:
                assign(log_pibar[g, 0], log_pi[i, 0])
                assign(pibar[g, 0], pi[0])
            lam, P = multipliers[i], steps.kernels[i] if private else x.P
            rows.transitions[k, i] = 0
            for s in range(S):
                stepped[s] = 0.0
            for e in range(E):
                values = shared if e == 0 else own
                if e > 0 or i == 0 or variant.sharing >= TABLE or variant.vanilla or variant.step == CLIPPED:
                    evaluate(x, x.P, variant, log_pi[i, 0], pi[0], z, values)
                for c in range(K):
                    rows.local[k, i, e, c, 0] = values.at_rho[c, 0]
                    rows.local[k, i, e, c, 1] = values.at_rho[c, 1]
                if private:
                    evaluate(x, P, variant, log_pi[i, 0], pi[0], z, inside)
                    values = inside
                if variant.dual_once and e == 0:
                    dual_step(x, steps, values.at_rho, i, E, 0.0, lam)
                if keep[k]:
                    for j in range(m):
                        kept.multipliers[r, i, e, j] = lam[j] if x.mask[i, j] else np.nan
                if keep[k] and kept.local.size > 0:
                    assign(log_pi[i, 0], kept.local[r, i, e])
                assign(pi[0], before[0])
                off = 0.0
                if variant.step == CLIPPED:
                    dual_step(x, steps, values.at_rho, i, 1, 0.0, lam)
                    clipped(x, steps, k, variant, values, log_pi[i, 0], lam, z, step, after, pi)
                else:
                    lagrangian(variant, lam, z.weights)
                    if variant.step == SAMPLED:
                        values = inside
                        rows.transitions[k, i] += sampled(
                            x, steps, k, z.weights, pi[0], streams[i], step, values.at_rho
                        )
                    else:
                        off = direction(x, P, steps.exponents[k], variant, values, pi[0], z, step)
                    if not variant.dual_once:
                        dual_step(x, steps, values.at_rho, i, 1, variant.tau, lam)
                    for a in range(A):
                        for s in range(S):
                            logits[a, s] = log_pi[i, 0, a, s] + step[a, s]
                            after[0, a, s] = logits[a, s]
                    log_softmax(after, pi, z.lines)
                largest_move(pi, before, z.lines, stepped)
                if keep[k] and kept.log_z.size > 0:
                    found = normaliser(target, log_pi[i, 0], logits, after[0], off, z.lines)
                    kept.log_z[r, i, e, 0], kept.log_z[r, i, e, 1] = found
                assign(after[0], log_pi[i, 0])
            rows.step[k, i] = largest(stepped)
            largest_move(pi, pibar[g], z.lines, moved)
            if keep[k]:
                record_end(target, log_pi[i, 0], r, i, kept, z.lines[0])
            if variant.sharing == ALONE:
                assign(log_pi[i, 0], log_pibar[i, 0])
                assign(pi[0], pibar[i, 0])
        rows.drift[k] = largest(moved)
        if variant.sharing < TABLE and N > 1:
            mean_logits(log_pi, steps.weights, variant.sharing == GEOMETRIC, z.lines, log_pibar[0])
            log_softmax(log_pibar[0], pibar[0], z.lines)
        elif variant.sharing != ALONE:
            assign(log_pi[N - 1, 0], log_pibar[0, 0])
            assign(pi[0], pibar[0, 0])
        if not (is_finite(log_pi.reshape(N * A * S)) and is_finite(log_pibar.reshape(G * A * S))):
            return k
    return keep.size
