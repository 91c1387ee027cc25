"""Compile every kernel to PTX for compute capability 9.0; no device is needed, but NVIDIA's compiler library.

The signatures are those that the loops launch with. A kernel without a signature here is an error.
"""

import sys
from types import SimpleNamespace

import numba.cuda.dispatcher
from numba import boolean, float32, float64, int32, int64

from tabular_fedrl.kernels.cuda import cuda, krylov, reductions, small, steps, sweeps

CAPABILITY = (9, 0)

F, F1, F2, F3, F4 = float64, float64[::1], float64[:, ::1], float64[:, :, ::1], float64[:, :, :, ::1]
I1, I3, B, L = int32[::1], int32[:, :, ::1], boolean, int64


def signatures():
    """(name, kernel, types of its arguments)."""
    for weight in (float64, float32):
        W1, W3 = weight[::1], weight[:, :, ::1]
        for k in (1, 3):
            yield f"policy_sweep({k})", sweeps.policy_sweep(k, 5), (I3, W3, F2, F, F2, F2, F2)
            for adds in (False, True):
                yield f"team_sweep({k})", sweeps.team_sweep(k, adds), (I1, I1, W1, F, F2, F2, F2)
        yield "row_sweep", sweeps.row_sweep(5), (I3, W3, F2, F2)
        yield "greedy_sweep", sweeps.greedy_sweep(5), (I3, W3, F2, F, F2, F, I1, F2)
    yield "policy_mean", sweeps.policy_mean(3), (F2, F, F3, F2, F2)
    for S, k in ((5, 1), (20, 3), (64, 3)):
        problem = (F4, F4, F2, F2, F1, F1, F2, F2, boolean[:, ::1], L, L, B)
        yield f"fednpg({S}, {k})", small.fednpg(S, k, 96), (*problem, F4, F3, F3, F3, F3, F2, F2, F2, F3, F3)
    for module, types in (
        (sweeps, {"greedy_of_rows": (F2, F, F2, F, I1, F2), "one_hot": (I1, F2), "flow": (F2, F2, F2)}),
        (
            reductions,
            {
                "dot_partials": (F2, F2, F3),
                "sums": (F3, F2),
                "extreme_partials": (F2, F2, F3),
                "maxima": (F3, F2),
            },
        ),
        (
            krylov,
            {
                "start": (*[F2] * 6, F3),
                "first": (F2, F2),
                "direction": [F2] * 4,
                "alpha": (F2, F2),
                "half_step": [F2] * 3,
                "pair_partials": (F2, F2, F3),
                "omega": (F2, F2),
                "full_step": (*[F2] * 6, F3),
                "beta": (F2, F2),
                "restore": (boolean[::1], F2, F2),
            },
        ),
        (
            steps,
            {
                "log_softmax": (F2, F2),
                "softmax": (F2, F2),
                "policy_signals": (F3, F2, F2),
                "scale": (F, F2, F2),
                "combine": (F1, F2, F2),
                "primal_step": (F1, F3, F2, F, F2, F2, B, F, F2, F2, F2),
                "soft_signal": (F1, F3, F, F2, F3),
                "add": (F2, F, B, B, F2),
                "moves": (F2, F2, F2),
                "divergence": (F2, F2, F2),
            },
        ),
    ):
        kernels = {
            name: x
            for name, x in vars(module).items()
            if isinstance(x, numba.cuda.dispatcher.CUDADispatcher)
            and not x.targetoptions.get("device")
            and x.py_func.__module__ == module.__name__
        }
        if kernels.keys() != types.keys():
            raise SystemExit(f"{module.__name__} without signatures: {sorted(kernels.keys() ^ types.keys())}")
        yield from ((name, kernels[name], tuple(types[name])) for name in types)


def main():
    # Device functions are otherwise compiled for the device at hand.
    numba.cuda.dispatcher.get_current_device = lambda: SimpleNamespace(compute_capability=CAPABILITY)
    try:
        cuda.compile_ptx(lambda x: None, (F1,), cc=CAPABILITY)
    except Exception as missing:
        print(f"cannot compile here: {type(missing).__name__}: {str(missing).splitlines()[0]}")
        return
    for name, kernel, types in signatures():
        ptx, _ = cuda.compile_ptx(kernel.py_func, types, cc=CAPABILITY)
        assert ".entry" in ptx, name
        if "--ptx" in sys.argv:
            with open(f"{sys.argv[-1]}/{name.replace('(', '-').strip(')')}.ptx", "w") as file:
                file.write(ptx)
        print(name)


if __name__ == "__main__":
    main()
