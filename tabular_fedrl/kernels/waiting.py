"""Waiting for another thread's sign without going to sleep."""

from __future__ import annotations

import platform
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numpy.typing import NDArray

from tabular_fedrl.kernels.lanes import compiled
from tabular_fedrl.kernels.packs import intrinsic

_X86 = platform.machine().lower() in ("x86_64", "amd64")


@intrinsic
def _glance(typing: Any, x: Any) -> Any:
    """The first entry of x as it is in memory now."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        if _X86:  # leaves the core to its other thread for a moment
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, "llvm.x86.sse2.pause"), ())
        struct = context.make_array(signature.args[0])(context, builder, arguments[0])
        return builder.load_atomic(struct.data, "acquire", 8)

    return types.int64(x), generate


@compiled
def await_change(x: NDArray[np.int64], seen: int, turns: int) -> bool:
    """Whether the first entry of x becomes other than ``seen`` within so many looks at it."""
    while turns > 0 and _glance(x) == seen:
        turns -= 1
    return turns > 0
