"""NumPy's default random streams in compiled loops that hold many of them, side by side in one array.

A stream is PCG64 (PCG XSL RR 128/64; O'Neill, "PCG: a family of simple fast space-efficient statistically
good algorithms for random number generation", 2014): its 128-bit state and increment as ``(4,)`` uint64, high
half first. Compiled code takes a single ``Generator`` as it is, but no array of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numba import types
from numba.extending import overload
from numpy.typing import NDArray

from tabular_fedrl.kernels.lanes import compiled

HALF = np.uint64(32)
LOW = np.uint64(2**32 - 1)
FACTOR = np.uint64(0x2360ED051FC65DA4), np.uint64(0x4385DF649FCCF645)
"""The multiplier of the state, high half first."""


def draw(stream: Any) -> Any:
    """What ``Generator.random`` draws, of a generator or, in compiled code, of a stream."""
    return stream.random()


@overload(draw)  # which compares the names of parameters with those of what is returned, and their types
def _draw_compiled(stream):  # type: ignore[no-untyped-def]
    if isinstance(stream, types.Array):
        return lambda stream: draw_from_words(stream)
    return lambda stream: stream.random()


@compiled
def draw_from_words(stream: NDArray[np.uint64]) -> float:
    """:func:`draw` of a stream ``(4,)``, which moves on."""
    high, low = FACTOR
    top, bottom = stream[0], stream[1]
    product = _high_product(bottom, low) + bottom * high + top * low
    moved = bottom * low + stream[3]
    stream[0] = product + stream[2] + np.uint64(moved < stream[3])
    stream[1] = moved
    mixed, turn = stream[0] ^ moved, stream[0] >> np.uint64(58)
    turned = (mixed >> turn) | (mixed << ((np.uint64(64) - turn) & np.uint64(63)))
    return np.float64(turned >> np.uint64(11)) * 2.0**-53


@compiled
def _high_product(x: np.uint64, y: np.uint64) -> np.uint64:
    """The upper 64 bits of a product."""
    x1, x0, y1, y0 = x >> HALF, x & LOW, y >> HALF, y & LOW
    middle = x1 * y0 + ((x0 * y0) >> HALF)
    return x1 * y1 + (middle >> HALF) + ((x0 * y1 + (middle & LOW)) >> HALF)


def words(generators: Sequence[np.random.Generator]) -> NDArray[np.uint64]:
    """The streams of generators, ``(N, 4)``."""
    states = [generator.bit_generator.state["state"] for generator in generators]
    numbers = [
        [x[key] >> 64 if upper else x[key] & (2**64 - 1) for key in ("state", "inc") for upper in (1, 0)]
        for x in states
    ]
    return np.array(numbers, dtype=np.uint64).reshape(len(states), 4)


def wind(generator: np.random.Generator, stream: NDArray[np.uint64]) -> None:
    """Put a generator where the stream made of it has come to."""
    state = generator.bit_generator.state
    state["state"]["state"] = (int(stream[0]) << 64) | int(stream[1])
    generator.bit_generator.state = state
