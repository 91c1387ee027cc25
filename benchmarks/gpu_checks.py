"""Every CUDA kernel against NumPy and the package's specification, on inputs drawn afresh.

Outputs are poisoned with NaN first, so that one which was never written is seen.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import numpy as np
import scipy.sparse as sp

from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.evaluation import evaluate, evaluate_soft, visitation
from tabular_fedrl.kernels.cuda import cuda, krylov, sweeps
from tabular_fedrl.kernels.cuda.rows import upload, upload_transposed
from tabular_fedrl.loops import Batch, fednpg
from tabular_fedrl.loops import cuda as device_loops
from tabular_fedrl.loops.cuda_solve import Workspace
from tabular_fedrl.loops.large_cuda import Device
from tabular_fedrl.policies import (
    CompactPolicy,
    arithmetic_mean,
    geometric_mean,
    kl,
    log_softmax,
    random_log_policy,
)
from tabular_fedrl.solvers import optimise

Check = tuple[str, float, float]
"""What was compared, the largest difference, and the largest one allowed."""


def sparse_problem(
    g: np.random.Generator, S: int, A: int, width: int, m: int, *, uneven: bool = False, reach: int = 0
) -> CMDP:
    """Rows of ``width`` successors, or of 1 to 2 ``width`` - 1 of them; within ``reach`` states on a ring, or
    anywhere (0)."""
    lengths = g.integers(1, 2 * width, size=S * A) if uneven else np.full(S * A, width)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    row = np.repeat(np.arange(S * A), lengths)
    place = np.arange(starts[-1]) - starts[row]
    # Disjoint stretches, one for each successor, so that none comes twice.
    stretch = (2 * reach + 1 if reach else S) // (2 * width if uneven else width)
    offset = place * stretch + g.integers(stretch, size=starts[-1]) - reach
    successors = (row // A + offset) % S
    weights = g.random(starts[-1]) + 0.01
    weights /= np.bincount(row, weights)[row]
    P = sp.csr_array((weights, successors, starts), shape=(S * A, S))
    P.sort_indices()
    d = g.random(m)
    return CMDP(P, g.random((S, A)), g.random((m, S, A)), d, np.full(S, 1 / S), 0.99)


def tables(x: np.ndarray) -> np.ndarray:
    """``(..., S, A)`` with the state innermost."""
    return np.array(np.swapaxes(x, -1, -2), order="C")


def poisoned(*shape: int) -> np.ndarray:
    return cuda.to_device(np.full(shape, np.nan))


def largest(x: np.ndarray, y: np.ndarray) -> float:
    """Largest difference; NaN agrees with NaN only."""
    both = np.isnan(x) & np.isnan(y)
    return float(np.max(np.where(both, 0.0, np.abs(np.where(both, 0.0, x - y))), initial=0.0))


def all_checks(g: np.random.Generator, S: int, problems: int, sizes: tuple[int, ...]) -> Iterator[Check]:
    """The large kernels at ``S`` states, the small one on ``problems`` problems of each of the ``sizes``."""
    for uneven in (False, True):
        cmdp = sparse_problem(g, S, 4, 5 if S > 50 else 2, 2, uneven=uneven)
        kind = "uneven rows" if uneven else "even rows"
        yield from ((f"{name}, {kind}", *rest) for name, *rest in sweep_checks(g, cmdp))
    yield from reduction_checks(g, S)
    yield from step_checks(g, sparse_problem(g, S, 4, 5 if S > 50 else 2, 2))
    for size in sizes:
        yield from small_checks(g, size, problems)


def sweep_checks(g: np.random.Generator, cmdp: CMDP) -> Iterator[Check]:
    S, A = cmdp.S, cmdp.A
    log_pi = random_log_policy(g, S, A)
    pi, x, add = np.exp(log_pi), g.normal(size=(S, 3)), g.normal(size=(S, 3))
    expected = cmdp.P @ x
    handle, column = cuda.to_device(tables(pi)), cuda.to_device(x[:, :1].copy())
    for storage, tolerance in ((np.float64, 1e-12), (np.float32, 1e-5)):
        rows, word = upload(cmdp.P, storage), np.dtype(storage).name
        out = poisoned(S, 3)
        rows.policy(handle, -0.7, cuda.to_device(x), cuda.to_device(add), out)
        mean = add - 0.7 * (pi[:, :, None] * expected.reshape(S, A, 3)).sum(axis=1)
        yield f"policy sweep, {word}", largest(out.copy_to_host(), mean), tolerance
        again = poisoned(S, 3)
        rows.policy(handle, -0.7, cuda.to_device(x), cuda.to_device(add), again)
        same = again.copy_to_host().tobytes() == out.copy_to_host().tobytes()
        yield f"the same bits twice, {word}", float(not same), 0.0
        means = poisoned(A, S)
        rows.means(column, means)
        Q = expected[:, 0].reshape(S, A)
        yield f"row means, {word}", largest(means.copy_to_host().T, Q), tolerance
        best, actions = poisoned(S, 1), cuda.to_device(np.zeros(S, dtype=np.int32))
        rows.greedy(cuda.to_device(tables(cmdp.r)), 0.9, column, 0.0, actions, best)
        Q = cmdp.r + 0.9 * Q
        yield f"optimal sweep, {word}", largest(best.copy_to_host()[:, 0], Q.max(axis=1)), tolerance
        chosen = Q[np.arange(S), actions.copy_to_host()]
        yield f"its actions, {word}", largest(chosen, Q.max(axis=1)), 2 * tolerance
    d, through, out = g.random((S, 1)), poisoned(A * S, 1), poisoned(S, 1)
    Workspace(S, 1).each(sweeps.flow, cuda.to_device(d), handle, through)
    upload_transposed(cmdp.P).sum(0.9, through, column, out)
    flow = x[:, 0] + 0.9 * (cmdp.P.T @ (d * pi).ravel())
    yield "transposed sweep", largest(out.copy_to_host()[:, 0], flow), 1e-10
    device, reference = Device(cmdp), evaluate(cmdp, log_pi)
    V = device.values()
    at_rho = device.evaluate(device.hold(log_pi), V)
    yield "evaluation", largest(device.array_values(V), reference.V.value.T), 1e-9
    outside = np.abs(at_rho.value - reference.at_rho.value) - at_rho.error - reference.at_rho.error
    yield "its enclosure", float(np.max(outside)), 0.0
    visits = device.visitation(handle).copy_to_host()[:, 0]
    yield "visitation", largest(visits, visitation(cmdp, log_pi).value), 1e-10
    optimum, exact = device.optimise(1e-9), optimise(cmdp)
    apart = abs(float(optimum.value.value) - float(exact.value.value))
    yield "the optimum's enclosure", apart - float(optimum.value.error) - float(exact.value.error), 0.0
    yield "its width", float(optimum.value.error), 1e-8


def reduction_checks(g: np.random.Generator, S: int) -> Iterator[Check]:
    x, y, space = g.normal(size=(S, 3)), g.normal(size=(S, 3)), Workspace(S, 3)
    on_device = cuda.to_device(x), cuda.to_device(y)
    yield "dot products", largest(space.dot(*on_device), (x * y).sum(axis=0)), 1e-14 * S
    found = [(y - x).max(axis=0), (x - y).max(axis=0), np.abs(x).max(axis=0)]
    yield "extremes", largest(space.extremes(*on_device), np.array(found)), 0.0
    bad = np.array([True, False, True])
    space.each(krylov.restore, cuda.to_device(bad), *on_device)
    yield "columns put back", largest(on_device[1].copy_to_host(), np.where(bad, x, y)), 0.0


def step_checks(g: np.random.Generator, cmdp: CMDP) -> Iterator[Check]:
    S, A = cmdp.S, cmdp.A
    log_pi, other = random_log_policy(g, S, A), random_log_policy(g, S, A)
    weights = np.array([0.5, -0.3, -0.2])
    values, d = evaluate(cmdp, log_pi), visitation(cmdp, other)
    device = Device(cmdp, (CompactPolicy.of(other), d))
    table, out = device.hold(log_pi), device.hold(other)
    V = device.hold_values(values.V.value.T)
    advantage = np.einsum("k,ksa->sa", weights, values.advantage.value)
    finite = device.natural_step(table, device.mix(V, weights), weights, 0.1, out)
    yield "natural step", largest(device.array(out), log_softmax(log_pi + 0.1 * advantage)), 1e-10
    yield "which is finite", float(not finite), 0.0
    device.vanilla_step(table, device.mix(V, weights), weights, 10.0, out)
    direction = visitation(cmdp, log_pi).value[:, None] * np.exp(log_pi) * advantage
    yield "vanilla step", largest(device.array(out), log_softmax(log_pi + 10 * direction)), 1e-10
    device.soft_step(table, device.mix(V, weights), weights, 0.2, 0.1, out)
    signal = np.einsum("k,ksa->sa", weights, cmdp.signals)
    soft = evaluate_soft(cmdp, log_pi, signal[None], 0.2).Q.value[0] - 0.2 * log_pi
    yield "soft step", largest(device.array(out), log_softmax(log_pi + 0.1 * soft)), 1e-9
    for geometric, mean in ((False, arithmetic_mean), (True, geometric_mean)):
        for i, policy in enumerate((log_pi, other)):
            device.add(device.hold(policy), (0.3, 0.7)[i], geometric, i == 0, out)
        device.normalise(out)
        both = mean(np.stack([log_pi, other]), [0.3, 0.7])
        yield f"{mean.__name__.replace('_', ' ')}", largest(device.array(out), both), 1e-12
    move = np.abs(np.exp(log_pi) - np.exp(other)).sum(axis=1).max()
    yield "largest move", abs(device.largest_move(table, device.hold(other)) - move), 1e-13
    found = device.divergence(table)
    apart = abs(float(found.value) - float(d.value @ kl(other, log_pi)))
    yield "divergence", apart, 1e-12
    yield "its enclosure", apart - float(found.error), 0.0


def small_batch(g: np.random.Generator, B: int, S: int, A: int, m: int, N: int) -> tuple[Batch, list]:
    """B dense problems with steps ``eta, eta_dual, dual_cap``; agent i sees constraint i modulo m."""
    mask = np.arange(N)[:, None] % m == np.arange(m)
    P = g.standard_exponential((B, S, A, S))
    P /= P.sum(axis=-1, keepdims=True)
    rho = np.full((B, S), 1 / S)
    signals = g.random((B, S, A)), g.random((B, m, S, A)), 5 * g.random((B, m))
    batch = Batch(P, *signals, rho, np.full(B, 0.9), mask)
    return batch, [0.02 * g.random(B), 0.2 * g.random((B, m)), 1 + g.random((B, m))]


def small_checks(g: np.random.Generator, S: int, B: int) -> Iterator[Check]:
    batch, steps = small_batch(g, B, S, 3, 2, 3)
    for geometric in (False, True):
        ours = device_loops.fednpg(batch, 4, 2, *steps, geometric=geometric)
        theirs = fednpg(batch, 4, 2, *steps, geometric=geometric)
        apart = max(largest(getattr(ours, x.name), getattr(theirs, x.name)) for x in fields(ours))
        mean = "geometric" if geometric else "arithmetic"
        yield f"{B} problems of {S} states, {mean}", apart, 1e-10
