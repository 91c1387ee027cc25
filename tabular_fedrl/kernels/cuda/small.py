r"""FedNPG from the first round to the last, one block of threads for each of many small problems.

The block keeps :math:`[I - \gamma P_\pi \mid f_\pi]` in its shared memory, assembles it and eliminates it by
Gauss-Jordan without pivoting, which is stable here: the matrix is strictly diagonally dominant by rows and
stays so. One barrier for each state, no back substitution. Threads stand in a rectangle, x along the columns;
where work goes state by state, a state always belongs to the same thread, so that policies need no barrier of
their own and the maxima over states are left to the host.

Arrays have the problem first: ``P (B, S, A, S)``, ``f (B, k, S, A)`` with k = 1+m and the reward first, and
the rest as in :func:`tabular_fedrl.loops.cuda.fednpg`.
"""

from __future__ import annotations

import math
from functools import cache
from typing import Any

from numba import float64

from tabular_fedrl.kernels.cuda import cuda, limited

SHARED_BYTES = 48 * 1024
"""Shared memory that every device gives a block without asking."""

REGISTERS = 96
"""Registers a thread: the compiler would take all 255 for addresses, and two blocks would fill a
multiprocessor. (A guess until it is measured; ``benchmarks/gpu.py`` tries others.)"""


def shared_bytes(S: int, k: int) -> int:
    """What the kernel for S states and k signals takes."""
    return 8 * (S * (S + k) + 2 * S * k + S + 3 * k)


@cuda.jit(device=True)
def assemble(P, f, pi, gamma, matrix):
    r"""``matrix (S, S + k)``: :math:`I - \gamma P_\pi` and, beside it, :math:`f_\pi`."""
    S, A = pi.shape
    for s in range(cuda.threadIdx.y, S, cuda.blockDim.y):
        for t in range(cuda.threadIdx.x, matrix.shape[1], cuda.blockDim.x):
            total = 0.0
            if t < S:
                for a in range(A):
                    total += pi[s, a] * P[s, a, t]
                matrix[s, t] = (1.0 if s == t else 0.0) - gamma * total
            else:
                for a in range(A):
                    total += pi[s, a] * f[t - S, s, a]
                matrix[s, t] = total
    cuda.syncthreads()


@cuda.jit(device=True)
def eliminate(matrix, S):
    """Clear every column of the first S but for its diagonal; the right-hand sides go along."""
    for i in range(S):
        inverse = 1.0 / matrix[i, i]
        for s in range(cuda.threadIdx.y, S, cuda.blockDim.y):
            if s != i:
                factor = matrix[s, i] * inverse
                for t in range(i + 1 + cuda.threadIdx.x, matrix.shape[1], cuda.blockDim.x):
                    matrix[s, t] -= factor * matrix[i, t]
        cuda.syncthreads()


@cuda.jit(device=True)
def softmax(log_pi, pi, s):
    """Turn the logits of state s into its log-policy, write its probabilities, and return how far they
    moved (1-norm)."""
    A = log_pi.shape[1]
    top = log_pi[s, 0]
    for a in range(1, A):
        top = max(top, log_pi[s, a])
    total = 0.0
    for a in range(A):
        total += math.exp(log_pi[s, a] - top)
    shift, moved = top + math.log(total), 0.0
    for a in range(A):
        p = math.exp(log_pi[s, a] - top) / total
        log_pi[s, a] -= shift
        moved += abs(p - pi[s, a])
        pi[s, a] = p
    return moved


@cuda.jit(device=True)
def mean_logit(log_pi, s, a, geometric):
    """The mean of log-policies ``(N, S, A)`` at one place, up to a constant for the state."""
    N = log_pi.shape[0]
    total = 0.0
    if geometric:
        for i in range(N):
            total += log_pi[i, s, a]
        return total / N
    top = log_pi[0, s, a]
    for i in range(1, N):
        top = max(top, log_pi[i, s, a])
    for i in range(N):
        total += math.exp(log_pi[i, s, a] - top)
    return top + math.log(total)


@cache
def fednpg(S: int, k: int, registers: int) -> Any:
    """The kernel for problems of S states and k signals."""
    columns = S + k

    @cuda.jit(device=True)
    def policy_values(P, f, pi, rho, gamma, matrix, V, v):
        """Values ``V (S, k)`` of a policy and ``v (k,)`` at rho; the same barriers in every thread."""
        first = cuda.threadIdx.x + cuda.threadIdx.y * cuda.blockDim.x
        threads = cuda.blockDim.x * cuda.blockDim.y
        assemble(P, f, pi, gamma, matrix)
        eliminate(matrix, S)
        for s in range(first, S, threads):
            for q in range(k):
                V[s, q] = matrix[s, S + q] / matrix[s, s]
        cuda.syncthreads()
        for q in range(first, k, threads):
            total = 0.0
            for s in range(S):
                total += rho[s] * V[s, q]
            v[q] = total
        cuda.syncthreads()

    @limited(registers)
    def kernel(
        P,
        f,
        d,
        rho,
        gamma,
        eta,
        eta_dual,
        cap,
        seen,
        rounds,
        local_steps,
        geometric,
        log_pi,
        pi,
        log_pibar,
        pibar,
        lam,
        shared_total,
        local_total,
        drift,
        step,
        value_drift,
    ):
        matrix = cuda.shared.array((S, columns), float64)
        V_shared = cuda.shared.array((S, k), float64)
        V_own = cuda.shared.array((S, k), float64)
        combined = cuda.shared.array(S, float64)
        weights = cuda.shared.array(k, float64)
        v_shared = cuda.shared.array(k, float64)
        v_own = cuda.shared.array(k, float64)
        b = cuda.blockIdx.x
        first = cuda.threadIdx.x + cuda.threadIdx.y * cuda.blockDim.x
        threads = cuda.blockDim.x * cuda.blockDim.y
        N, A = log_pi.shape[1], log_pi.shape[3]
        discount, length = gamma[b], eta[b] / (1.0 - gamma[b])
        for s in range(first, S, threads):
            softmax(log_pibar[b], pibar[b], s)
        cuda.syncthreads()
        for _ in range(rounds):
            for i in range(N):
                for s in range(first, S, threads):
                    for a in range(A):
                        log_pi[b, i, s, a] = log_pibar[b, s, a]
                        pi[b, s, a] = pibar[b, s, a]
                cuda.syncthreads()
                for e in range(local_steps):
                    V = V_own if e > 0 else V_shared
                    v = v_own if e > 0 else v_shared
                    # The global policy is evaluated once, for the first agent.
                    if e > 0 or i == 0:
                        policy_values(P[b], f[b], pi[b], rho[b], discount, matrix, V, v)
                    for q in range(first, k, threads):
                        if e > 0:
                            away = abs(v[q] - v_shared[q]) / e
                            value_drift[b, i, q] = max(value_drift[b, i, q], away)
                        elif i == 0:
                            shared_total[b, q] += v[q]
                        if q == 0:
                            local_total[b, 0] += v[0]
                            weights[0] = 1.0 / N
                        elif seen[i, q - 1]:
                            j = q - 1
                            local_total[b, q] += v[q]
                            weights[q] = -lam[b, i, j]
                            moved = lam[b, i, j] + eta_dual[b, j] * (v[q] - d[b, j])
                            lam[b, i, j] = min(max(moved, 0.0), cap[b, j])
                        else:
                            weights[q] = 0.0
                    cuda.syncthreads()
                    for s in range(first, S, threads):
                        total = 0.0
                        for q in range(k):
                            total += weights[q] * V[s, q]
                        combined[s] = total
                    cuda.syncthreads()
                    for x in range(first, S * A, threads):
                        s, a = x // A, x % A
                        total = 0.0
                        for t in range(S):
                            total += P[b, s, a, t] * combined[t]
                        total = discount * total - combined[s]
                        for q in range(k):
                            total += weights[q] * f[b, q, s, a]
                        log_pi[b, i, s, a] += length * total
                    cuda.syncthreads()
                    for s in range(first, S, threads):
                        moved = softmax(log_pi[b, i], pi[b], s)
                        step[b, i, s] = max(step[b, i, s], moved)
                    cuda.syncthreads()
                for s in range(first, S, threads):
                    away = 0.0
                    for a in range(A):
                        away += abs(pi[b, s, a] - pibar[b, s, a])
                    drift[b, s] = max(drift[b, s], away)
            for s in range(first, S, threads):
                for a in range(A):
                    log_pibar[b, s, a] = mean_logit(log_pi[b], s, a, geometric)
                softmax(log_pibar[b], pibar[b], s)
            cuda.syncthreads()

    return kernel
