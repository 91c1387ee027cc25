"""Every CUDA kernel against NumPy and the package's specification, on inputs drawn afresh.

Sweeps, solutions and steps are held against SciPy's products and not against the compiled loops for the
processor, which may share a mistake. Outputs are poisoned with NaN first, so that one which was never written
is seen too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.gpu_inputs import Check, largest, poisoned, sparse_problem, tables, worst
from benchmarks.gpu_loop_checks import loop_checks, small_checks
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.kernels.cuda import BLOCK, PARTIALS, cuda, krylov, sweeps
from tabular_fedrl.kernels.cuda.rows import upload, upload_transposed
from tabular_fedrl.loops.cuda_solve import Workspace
from tabular_fedrl.loops.large_cuda import Device
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import (
    CompactPolicy,
    arithmetic_mean,
    geometric_mean,
    kl,
    log_softmax,
    random_log_policy,
)


def all_checks(g: np.random.Generator, S: int, problems: int, sizes: tuple[int, ...]) -> Iterator[Check]:
    """The large kernels at ``S`` states, the small one on ``problems`` problems of each of the ``sizes``."""
    for uneven in (False, True):
        cmdp = sparse_problem(g, S, 4, 5 if S > 50 else 2, 2, uneven=uneven)
        kind = "uneven rows" if uneven else "even rows"
        yield from ((f"{name}, {kind}", *rest) for name, *rest in sweep_checks(g, cmdp))
    yield from reduction_checks(g, S)
    yield from krylov_checks(g, S)
    yield from step_checks(g, sparse_problem(g, S, 4, 5 if S > 50 else 2, 2))
    for size in sizes:
        yield from small_checks(g, size, problems)
    yield from loop_checks(g, min(S, 50))


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
    yield from solution_checks(cmdp, pi, Device(cmdp), handle)


def solution_checks(cmdp: CMDP, pi: np.ndarray, device: Device, handle: Any) -> Iterator[Check]:
    """What the device solves for: one plain sweep of its answer bounds how far off that is."""
    S, A, far = cmdp.S, cmdp.A, 1 / (1 - cmdp.gamma)
    V = device.values()
    at_rho = device.evaluate(device.hold(np.log(pi)), V)
    found = device.array_values(V)
    off = far * largest(plain_sweep(cmdp, pi, np.swapaxes(cmdp.signals, 0, 1), found), found)
    yield "evaluation", off, 1e-9
    outside = np.abs(at_rho.value - cmdp.rho @ found) - at_rho.error - off
    yield "its enclosure", worst(outside), 0.0
    yield "its radius", worst(at_rho.error), 1e-8
    visits = device.visitation(handle).copy_to_host()[:, 0]
    yield "visitation", far * float(np.abs(plain_flow(cmdp, pi, visits) - visits).sum()), 1e-10
    best = device.optimise(1e-9)
    v, actions = best.values.copy_to_host()[:, 0], best.actions.copy_to_host()
    Q = cmdp.r + cmdp.gamma * (cmdp.P @ v).reshape(S, A)
    low, high = (cmdp.rho @ v + far * x for x in ((Q.max(axis=1) - v).min(), (Q.max(axis=1) - v).max()))
    yield "the optimum, by a plain sweep", float(high - low), 1e-8
    apart = max(low - float(best.value.value), float(best.value.value) - high)
    yield "its enclosure", apart - float(best.value.error), 0.0
    yield "its width", float(best.value.error), 1e-8
    yield "its policy", largest(Q[np.arange(S), actions], Q.max(axis=1)), 1e-8


def plain_sweep(cmdp: CMDP, pi: np.ndarray, f: np.ndarray, V: np.ndarray) -> np.ndarray:
    """One sweep of values ``(S, k)`` of signals ``f (S, k, A)``."""
    ahead = (cmdp.P @ V).reshape(cmdp.S, cmdp.A, -1).swapaxes(1, 2)
    return ((f + cmdp.gamma * ahead) * pi[:, None]).sum(axis=2)


def plain_flow(cmdp: CMDP, pi: np.ndarray, d: np.ndarray) -> np.ndarray:
    """One sweep of a normalised visitation ``(S,)``."""
    return (1 - cmdp.gamma) * cmdp.rho + cmdp.gamma * (cmdp.P.T @ (d[:, None] * pi).ravel())


def settled(sweep: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    """The fixed point of a sweep: as often as it takes a factor of 0.99 from 1 to 1e-15."""
    for _ in range(3500):
        x = sweep(x)
    return x


def reduction_checks(g: np.random.Generator, S: int) -> Iterator[Check]:
    x, y, space = g.normal(size=(S, 3)), g.normal(size=(S, 3)), Workspace(S, 3)
    on_device = cuda.to_device(x), cuda.to_device(y)
    yield "dot products", largest(space.dot(*on_device), (x * y).sum(axis=0)), 1e-14 * S
    found = [(y - x).max(axis=0), (x - y).max(axis=0), np.abs(x).max(axis=0)]
    yield "extremes", largest(space.extremes(*on_device), np.array(found)), 0.0
    bad = np.array([True, False, True])
    space.each(krylov.restore, cuda.to_device(bad), *on_device)
    yield "columns put back", largest(on_device[1].copy_to_host(), np.where(bad, x, y)), 0.0


def krylov_checks(g: np.random.Generator, S: int) -> Iterator[Check]:
    """One iteration of BiCGSTAB, kernel by kernel, with a sweep that is drawn instead of taken."""
    b, x, noise, more = g.normal(size=(4, S, 2))
    space, d_b, d_x = Workspace(S, 2), cuda.to_device(b), cuda.to_device(x)
    d_r, d_shadow, d_p, d_v = (poisoned(S, 2) for _ in range(4))
    partial = poisoned(PARTIALS, 2, 2)
    scalars = cuda.to_device(np.zeros((6, 2)))

    def sums(kernel: Any, *arguments: Any) -> Any:
        kernel[PARTIALS, BLOCK](*arguments, partial)
        return cuda.to_device(partial.copy_to_host().sum(axis=0))

    krylov.first[1, BLOCK](sums(krylov.start, d_b, d_x, d_r, d_shadow, d_p, d_v), scalars)
    shadow = r = p = b - x
    v, rho = r + noise, (r * r).sum(axis=0)
    apart = [relative(d_r, r), relative(d_shadow, r), relative(d_p, 0 * r), relative(d_v, 0 * r)]
    yield "start of an iteration", worst(apart), 0.0
    space.each(krylov.direction, scalars, d_r, d_v, d_p)
    yield "the first direction", relative(d_p, p), 0.0
    d_v.copy_to_device(v)
    krylov.alpha[1, BLOCK](cuda.to_device(np.stack([(shadow * v).sum(axis=0)] * 2)), scalars)
    alpha = rho / (shadow * v).sum(axis=0)
    space.each(krylov.half_step, scalars, d_v, d_r)
    half = r - alpha * v
    yield "half a step", relative(d_r, half), 1e-9
    t = half + more
    d_t = cuda.to_device(t)
    krylov.omega[1, BLOCK](sums(krylov.pair_partials, d_t, d_r), scalars)
    omega = (t * half).sum(axis=0) / (t * t).sum(axis=0)
    ahead = sums(krylov.full_step, scalars, d_p, d_t, d_shadow, d_x, d_r)
    left = half - omega * t
    yield "a step's answer", relative(d_x, x + alpha * p + omega * half), 1e-9
    yield "a step's residual", relative(d_r, left), 1e-9
    krylov.beta[1, BLOCK](ahead, scalars)
    following = (shadow * left).sum(axis=0)
    beta = following / rho * (alpha / omega)
    expected = np.array([following, alpha, omega, beta, (left * left).sum(axis=0), 0 * beta])
    yield "its scalars", relative(scalars, expected), 1e-9
    space.each(krylov.direction, scalars, d_r, d_v, d_p)
    yield "the next direction", relative(d_p, left + beta * (p - omega * v)), 1e-9


def relative(held: Any, expected: np.ndarray) -> float:
    """Largest difference from an array on the device, in units of the entry expected, or of 1."""
    size = 1 + np.abs(expected)
    return largest(held.copy_to_host() / size, expected / size)


def step_checks(g: np.random.Generator, cmdp: CMDP) -> Iterator[Check]:
    S, A = cmdp.S, cmdp.A
    log_pi, other = random_log_policy(g, S, A), random_log_policy(g, S, A)
    pi, weights, values = np.exp(log_pi), np.array([0.5, -0.3, -0.2]), g.normal(size=(S, 3))
    d = Measured(g.dirichlet(np.ones(S)), 1e-15)
    device = Device(cmdp, (CompactPolicy.of(other), d))
    table, out, V = device.hold(log_pi), device.hold(other), device.hold_values(values)
    signal, v = np.einsum("k,ksa->sa", weights, cmdp.signals), values @ weights
    advantage = signal + cmdp.gamma * (cmdp.P @ v).reshape(S, A) - v[:, None]
    finite = device.natural_step(table, device.mix(V, weights), weights, 0.1, out)
    yield "natural step", largest(device.array(out), log_softmax(log_pi + 0.1 * advantage)), 1e-10
    yield "which is finite", float(not finite), 0.0
    device.vanilla_step(table, device.mix(V, weights), weights, 10.0, out)
    visits = settled(lambda d: plain_flow(cmdp, pi, d), cmdp.rho)
    direction = visits[:, None] * pi * advantage
    yield "vanilla step", largest(device.array(out), log_softmax(log_pi + 10 * direction)), 1e-10
    device.soft_step(table, device.mix(V, weights), weights, 0.2, 0.1, out)
    signal -= 0.2 * log_pi
    soft = settled(lambda v: plain_sweep(cmdp, pi, signal[:, None], v), np.zeros((S, 1)))[:, 0]
    advantage = signal + cmdp.gamma * (cmdp.P @ soft).reshape(S, A) - soft[:, None]
    yield "soft step", largest(device.array(out), log_softmax(log_pi + 0.1 * advantage)), 1e-9
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
