"""Eight lanes at a time in a vector register.

In compiled code a *pack* is a number like any other: :func:`load` reads one from eight neighbouring entries
of an array, ``+ - * /`` work lane by lane, :func:`store` writes it. A sum kept in a pack stays in its
register, where a loop over lanes inside would send it to memory and back at every term.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending, types
from numba.core import cgutils
from numba.extending import models, overload, register_jitable, register_model

from tabular_fedrl.measured import Array

PACK = 8
"""Lanes of a pack: a register of 512 bits, two of 256."""

LINE = 64
"""Bytes of a cache line: a pack that lies across two costs twice."""

# Called from compiled code, without its first parameter.
intrinsic: Any = extending.intrinsic

_VECTOR = ir.VectorType(ir.DoubleType(), PACK)


class _Pack(types.Type):
    def __init__(self) -> None:
        super().__init__(name=f"pack({PACK})")


_PACK = _Pack()


@register_model(_Pack)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)


@intrinsic
def load(typing: Any, x: Any, place: Any) -> Any:
    """The pack of ``x`` that starts at the index ``place``, a tuple; the last axis of x is contiguous."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_pointer(context, builder, signature.args[0], *arguments), align=8)

    return _PACK(x, place), generate


@intrinsic
def store(typing: Any, pack: Any, x: Any, place: Any) -> Any:
    """Write a pack where :func:`load` would read it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pack, *where = arguments
        builder.store(pack, _pointer(context, builder, signature.args[1], *where), align=8)
        return context.get_dummy_value()

    return types.void(pack, x, place), generate


@intrinsic
def spread(typing: Any, number: Any) -> Any:
    """A float in all lanes of a pack."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        empty = ir.Constant(_VECTOR, ir.Undefined)
        first = ir.Constant(ir.VectorType(ir.IntType(32), PACK), [0] * PACK)
        one = builder.insert_element(empty, arguments[0], ir.Constant(ir.IntType(32), 0))
        return builder.shuffle_vector(one, empty, first)

    return _PACK(types.float64), generate


@register_jitable
def aligned(shape: tuple[int, ...]) -> Array:
    """An array that starts with a cache line, not filled; in compiled code and outside."""
    size = 1
    for n in shape:
        size *= n
    raw = np.empty(size + LINE // 8)
    skip = -(raw.ctypes.data // 8) % (LINE // 8)
    return raw[skip : skip + size].reshape(shape)


def _pointer(context: Any, builder: Any, kind: Any, array: Any, place: Any) -> Any:
    struct = context.make_array(kind)(context, builder, array)
    entry = cgutils.get_item_pointer(context, builder, kind, struct, cgutils.unpack_tuple(builder, place))
    return builder.bitcast(entry, _VECTOR.as_pointer())


def _lane_by_lane(symbol: Any, instruction: str) -> None:
    @intrinsic
    def combine(typing: Any, x: Any, y: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(*arguments)

        return _PACK(x, y), generate

    # Without annotations, because Numba wants its signature to be the lambda's.
    @overload(symbol)
    def operation(x, y):  # type: ignore[no-untyped-def]
        packs = isinstance(x, _Pack) and isinstance(y, _Pack)
        return (lambda x, y: combine(x, y)) if packs else None


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _lane_by_lane(_symbol, _instruction)
