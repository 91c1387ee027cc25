"""Every operation on enclosures encloses its exact result."""

from __future__ import annotations

import numpy as np
import pytest
from flint import arb, ctx, fmpq
from hypothesis import assume, given
from hypothesis import strategies as st

from tabular_fedrl.measured import Measured, dot
from tests.exact import rational

floats = st.one_of(
    st.floats(-1e3, 1e3, allow_nan=False),
    st.floats(-1e-290, 1e-290, allow_nan=False),
    st.floats(-1e150, 1e150, allow_nan=False),
    st.floats(-1e300, 1e300, allow_nan=False),
    st.sampled_from([0.0, 1.0, -1.0, 0.1, 5e-324]),
)
radii = st.one_of(st.just(0.0), st.floats(0, 1e-3), st.floats(0, 1e3), st.just(5e-324))
positions = st.fractions(-1, 1, max_denominator=8)


class Drawn:
    """An enclosure, and an exact point inside it."""

    def __init__(self, value: float, error: float, position) -> None:
        self.measured = Measured(value, error)
        self.point = rational(value) + fmpq(position.numerator, position.denominator) * rational(error)

    def __repr__(self) -> str:
        return f"Drawn({float(self.measured.value)!r} +- {float(self.measured.error)!r}, {self.point})"


drawn = st.builds(Drawn, floats, radii, positions)
relative = st.builds(lambda x, r, p: Drawn(x, abs(x) * r, p), floats, st.floats(0, 0.5), positions)
small = st.builds(
    Drawn,
    st.floats(-1100, 700),
    st.one_of(st.floats(0, 5), st.floats(0, 400), st.floats(0, 1e-300)),
    positions,
)


def holds(measured: Measured, exact) -> bool:
    value, error = float(measured.value), float(measured.error)
    return error == np.inf or abs(exact - rational(value)) <= rational(error)


@given(drawn, drawn)
def test_ring_operations(x, y):
    a, b = x.measured, y.measured
    assert holds(a + b, x.point + y.point)
    assert holds(a - b, x.point - y.point)
    assert holds(a * b, x.point * y.point)
    assert holds(-a, -x.point)
    assert holds(a**3, x.point**3)
    assert holds(a.maximum(b), max(x.point, y.point))
    assert holds(a.minimum(b), min(x.point, y.point))
    assert holds(a.positive(), max(x.point, fmpq(0)))
    assert holds(a.abs(), abs(x.point))
    if y.point != 0:
        assert holds(a / b, x.point / y.point)
    assert rational(float(a.lower)) <= x.point <= rational(float(a.upper))


@given(drawn, floats)
def test_floats_on_either_side(x, number):
    a, exact = x.measured, rational(number)
    assert holds(number + a, exact + x.point)
    assert holds(number - a, exact - x.point)
    assert holds(number * a, exact * x.point)
    if x.point != 0:
        assert holds(number / a, exact / x.point)


@given(st.lists(drawn, min_size=1, max_size=20), st.data())
def test_reductions(parts, data):
    together = Measured([float(p.measured.value) for p in parts], [float(p.measured.error) for p in parts])
    points = [p.point for p in parts]
    assert holds(together.sum(), sum(points, fmpq(0)))
    assert holds(together.mean(), sum(points, fmpq(0)) / len(points))
    assert holds(together.max(), max(points))
    assert holds(together.min(), min(points))
    weights = [data.draw(floats) for _ in parts]
    assert holds(dot(together, weights), sum((p * rational(w) for p, w in zip(points, weights)), fmpq(0)))


@given(small)
@pytest.mark.parametrize("name", ["exp", "expm1", "log", "log1p", "sqrt"])
def test_functions(name, x):
    exact = x.point
    if name in ("log", "sqrt"):
        assume(exact > 0)
    if name == "log1p":
        assume(exact > -1)
    ctx.prec = 2400
    ball = getattr(arb(exact), name)()
    result = getattr(x.measured, name)()
    value, error = float(result.value), float(result.error)
    assert error == np.inf or bool(abs(ball - arb(value)) <= arb(error))


@given(drawn, drawn)
def test_between_encloses_both_ends(x, y):
    low, high = sorted([float(x.measured.value), float(y.measured.value)])
    hull = Measured.between(low, high)
    assert holds(hull, rational(low))
    assert holds(hull, rational(high))
    assert low <= float(hull.value) <= high


def test_radii_are_tight():
    """Exact operands cost a few ulps, no more; exact zeros stay exact."""
    x = Measured(np.linspace(0.1, 3, 30))
    for result in (x + x, x * x, x / x, x.exp(), x.log(), x.sqrt()):
        assert (result.error <= 1e-15 * np.maximum(np.abs(result.value), 1)).all()
    assert (Measured(0.0) * Measured(3.0, 1.0)).error == 0
    assert Measured(-2.0, 1.0).positive().error == 0
    assert Measured(-0.5, 1.0).positive().error == pytest.approx(0.5)
    assert Measured(1.0, 1e-20).maximum(0.0).error == 1e-20


@pytest.mark.parametrize("size", [1e-300, 1e-200, 1e154, 1e300])
def test_quotients_of_any_size(size):
    """Radii neither vanish nor become infinite where squares overflow and underflow."""
    result = 1.0 / Measured(size, 0.25 * size)
    assert holds(result, 4 / rational(3 * size) * (1 - fmpq(1, 2**50)))
    assert result.error * size == pytest.approx(1 / 3)


@given(relative, relative)
def test_quotients(x, y):
    assume(abs(y.point) > 0)
    assert holds(x.measured / y.measured, x.point / y.point)


def test_what_cannot_be_enclosed_has_an_infinite_radius():
    assert (1 / Measured(0.0, 1.0)).error == np.inf
    assert (Measured(1e200) * 1e200).error == np.inf
    assert Measured(1.0, 2.0).log().error == np.inf
    assert Measured(1000.0).exp().error == np.inf
    assert Measured(np.nan).error == np.inf
    # 0 times the unknown is 0
    assert (Measured(0.0) * Measured(np.nan)).error == 0


def test_arrays_defer_and_shapes_follow():
    x = Measured(np.ones((2, 3)), 0.5)
    assert isinstance(np.ones(3) * x, Measured)
    assert (np.ones(3) - x).shape == (2, 3)
    assert x[0].shape == (3,)
    assert len(x) == 2
    assert x.reshape(3, 2).shape == (3, 2)
    assert x.sum(axis=0).shape == (3,)
    assert repr(Measured(0.5, 1e-9)) == "0.5 +- 1.0e-09"
    with pytest.raises(ValueError, match="whole powers"):
        x**0.5  # type: ignore[operator]


@given(st.integers(0, 1000), st.sampled_from([1, 1024, 2048, 2049, 5000, 5120]))
def test_long_sums_are_taken_in_blocks(seed, n):
    """Enclosed, and a sum of 5000 terms is charged as many roundings as a block and the blocks have terms."""
    draw = np.random.default_rng(seed)
    x = Measured(draw.normal(size=(2, n)) * 10.0 ** draw.uniform(-5, 5, (2, n)), 1e-9 * draw.random((2, n)))
    exact = sum((rational(v) for v in x.value[0]), fmpq(0))
    radius = sum((rational(e) for e in x.error[0]), fmpq(0))
    total = x.sum(axis=-1)
    assert holds(total[0], exact - radius)
    assert holds(total[0], exact + radius)
    assert holds(x[0].sum(), exact)
    assert total.error[0] <= 1.001 * float(radius) + 2100 * 2.0**-53 * np.abs(x.value[0]).sum()
