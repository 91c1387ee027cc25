"""Eight lanes at a time in a vector register, or another number of them.

In compiled code a *pack* is a number like any other: ``load`` reads one from eight neighbouring entries of an
array, ``+ - * /`` work lane by lane, :func:`store` writes it. A sum kept in a pack stays in its register,
where a loop over lanes inside would send it to memory and back at every term.
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


class _Pack(types.Type):
    def __init__(self, lanes: int) -> None:
        super().__init__(name=f"pack({lanes})")
        self.vector = ir.VectorType(ir.DoubleType(), lanes)


@register_model(_Pack)
class _Model(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, kind.vector)


def packs_of(lanes: int) -> tuple[Any, Any, Any]:
    """For packs of so many lanes: ``load(x, place)``, the pack of ``x`` that starts at the index ``place``, a
    tuple (the last axis of x is contiguous); ``load_some(x, place, filled)``, of which only the first
    ``filled`` lanes are read and the others 0; and ``spread(number)``, a float in all lanes."""
    kind = _Pack(lanes)
    several = ir.VectorType(ir.IntType(64), lanes)

    def all_lanes(builder: Any, number: Any, vector: Any) -> Any:
        empty = ir.Constant(vector, ir.Undefined)
        one = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
        first = ir.Constant(ir.VectorType(ir.IntType(32), lanes), [0] * lanes)
        return builder.shuffle_vector(one, empty, first)

    @intrinsic
    def load(typing: Any, x: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.load(_pointer(context, builder, kind, signature.args[0], *arguments), align=8)

        return kind(x, place), generate

    @intrinsic
    def load_some(typing: Any, x: Any, place: Any, filled: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            *where, filled = arguments
            pointer = _pointer(context, builder, kind, signature.args[0], *where)
            lane = ir.Constant(several, list(range(lanes)))
            mask = builder.icmp_unsigned("<", lane, all_lanes(builder, filled, several))
            of = (pointer, ir.Constant(ir.IntType(32), 8), mask, ir.Constant(kind.vector, [0.0] * lanes))
            kinds = ir.FunctionType(kind.vector, [argument.type for argument in of])
            name = f"llvm.masked.load.v{lanes}f64.p0"
            return builder.call(cgutils.get_or_insert_function(builder.module, kinds, name), of)

        return kind(x, place, types.uint64), generate

    @intrinsic
    def spread(typing: Any, number: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return all_lanes(builder, arguments[0], kind.vector)

        return kind(types.float64), generate

    return load, load_some, spread


load, load_some, spread = packs_of(PACK)


@intrinsic
def store(typing: Any, pack: Any, x: Any, place: Any) -> Any:
    """Write a pack where its ``load`` would read it."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kind, array, _ = signature.args
        builder.store(arguments[0], _pointer(context, builder, kind, array, *arguments[1:]), align=8)
        return context.get_dummy_value()

    return types.void(pack, x, place), generate


def _prefetch(locality: int) -> Any:
    @intrinsic
    def ask(typing: Any, x: Any, place: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            kind, _ = signature.args
            struct = context.make_array(kind)(context, builder, arguments[0])
            where = cgutils.unpack_tuple(builder, arguments[1])
            entry = cgutils.get_item_pointer(context, builder, kind, struct, where)
            pointer = builder.bitcast(entry, ir.IntType(8).as_pointer())
            to_read = [ir.Constant(ir.IntType(32), number) for number in (0, locality, 1)]
            kinds = ir.FunctionType(ir.VoidType(), [pointer.type] + 3 * [ir.IntType(32)])
            builder.call(
                cgutils.get_or_insert_function(builder.module, kinds, "llvm.prefetch.p0"), (pointer, *to_read)
            )
            return context.get_dummy_value()

        return types.void(x, place), generate

    return ask


prefetch = _prefetch(3)
"""``prefetch(x, place)``: ask for the cache line of the entry of x at an index, a tuple, without waiting for
it. The entry may lie beyond the end."""

prefetch_once = _prefetch(0)
"""The same for what is used once: it does not drive anything else out of the caches."""


@register_jitable
def aligned(shape: tuple[int, ...]) -> Array:
    """An array that starts with a cache line, not filled; in compiled code and outside."""
    size = 1
    for n in shape:
        size *= n
    raw = np.empty(size + LINE // 8)
    skip = -(raw.ctypes.data // 8) % (LINE // 8)
    return raw[skip : skip + size].reshape(shape)


def _pointer(context: Any, builder: Any, pack: Any, kind: Any, array: Any, place: Any) -> Any:
    struct = context.make_array(kind)(context, builder, array)
    entry = cgutils.get_item_pointer(context, builder, kind, struct, cgutils.unpack_tuple(builder, place))
    return builder.bitcast(entry, pack.vector.as_pointer())


def _lane_by_lane(symbol: Any, instruction: str) -> None:
    @intrinsic
    def combine(typing: Any, x: Any, y: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, instruction)(*arguments)

        return x(x, y), generate

    # Without annotations, because Numba wants its signature to be the lambda's.
    @overload(symbol)
    def operation(x, y):  # type: ignore[no-untyped-def]
        packs = isinstance(x, _Pack) and x == y
        return (lambda x, y: combine(x, y)) if packs else None


for _symbol, _instruction in (
    (operator.add, "fadd"),
    (operator.iadd, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _lane_by_lane(_symbol, _instruction)
