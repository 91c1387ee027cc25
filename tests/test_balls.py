"""Balls: enclosure of exact rational results, monotone in the precision, nothing decided by a midpoint."""

from __future__ import annotations

from fractions import Fraction

import flint
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular_fedrl import arithmetic, balls
from tabular_fedrl.balls import Balls, decimals, ends, precision, rational
from tabular_fedrl.errors import Undecided
from tabular_fedrl.measured import Measured, dot

FRACTIONS = st.fractions(min_value=-50, max_value=50, max_denominator=1000)
LISTS = st.lists(FRACTIONS, min_size=1, max_size=6)
OPERATIONS = st.lists(st.sampled_from("+-*/"), min_size=1, max_size=8)


def exactly(x: Fraction) -> flint.fmpq:
    return flint.fmpq(x.numerator, x.denominator)


def chain(numbers: list, operations: str) -> object:
    """The numbers combined from the left; a division by zero is skipped."""
    out = numbers[0]
    for op, x in zip(operations, (numbers * 8)[1:]):
        if op == "+":
            out = out + x
        elif op == "-":
            out = out - x
        elif op == "*":
            out = out * x
        else:
            out = out / (x * x + 1)
    return out


def encloses(ball: Balls, exact: Fraction) -> bool:
    low, high = ends(ball.items[()])
    return low <= exactly(exact) <= high


@given(LISTS, OPERATIONS, st.sampled_from([20, 53, 128]))
def test_balls_enclose_exact_rational_results(numbers: list[Fraction], ops: str, bits: int) -> None:
    want = chain(numbers, ops)
    with precision(bits):
        thick = [Balls(exactly(x)).balls() for x in numbers]
        assert encloses(chain(thick, ops), want)


@given(LISTS, OPERATIONS)
def test_rational_entries_stay_exact(numbers: list[Fraction], ops: str) -> None:
    with precision(53):
        got = chain([Balls(exactly(x)) for x in numbers], ops)
    assert got.is_rational
    assert got.items[()] == exactly(chain(numbers, ops))


@given(LISTS)
def test_a_higher_precision_encloses_no_more(numbers: list[Fraction]) -> None:
    widths = []
    for bits in (40, 80, 160, 320):
        with precision(bits):
            x = Balls(np.array([exactly(f) for f in numbers], dtype=object))
            y = arithmetic.logsumexp(x / 10)[0] + (x.abs() + 1).log().sum() + (x * x).sum().sqrt()
            widths.append(ends(y.items[()]))
    for (low, high), (lower, higher) in zip(widths[1:], widths):
        # Both enclose one number; the wider one may stick out of the narrower, never beside it.
        assert low <= higher
        assert lower <= high
        assert high - low <= (higher - lower) / 2**30 + flint.fmpq(1, 2**310)


@given(LISTS, LISTS)
def test_maximum_minimum_and_clip_enclose(first: list[Fraction], second: list[Fraction]) -> None:
    a, b = first[0], second[0]
    with precision(30):
        x, y = Balls(exactly(a)).balls(), Balls(exactly(b)).balls()
        assert encloses(x.maximum(y), max(a, b))
        assert encloses(x.minimum(y), min(a, b))
        assert encloses(arithmetic.clip(x, -1.0, 2.0), min(max(a, Fraction(-1)), Fraction(2)))
        row = Balls(np.array([exactly(f) for f in first], dtype=object)).balls()
        assert encloses(row.max(), max(first))
        assert encloses(row.min(), min(first))
        assert encloses(row.sum(), sum(first))
        assert encloses(row.mean(), sum(first) / len(first))


@given(FRACTIONS, FRACTIONS)
def test_comparisons_are_right_or_undecided(a: Fraction, b: Fraction) -> None:
    with precision(20):
        x, y = Balls(exactly(a)).balls(), Balls(exactly(b)).balls()
        for ours, theirs in ((x < y, a < b), (x <= y, a <= b)) if a != b else ():
            assert bool(ours) is theirs
        assert bool(Balls(exactly(a)) == Balls(exactly(b))) is (a == b)


def test_an_open_comparison_raises_and_is_not_decided_by_midpoints() -> None:
    with precision(53):
        third = Balls([1.0]) / 3
        thick = third.balls()
        for compare in (lambda: thick < third, lambda: thick >= third, lambda: thick == third):
            with pytest.raises(Undecided):
                compare()
        assert (thick < 0.4).all()
        assert not (thick > 0.4).any()


@pytest.mark.parametrize(
    "function",
    [np.exp, np.log, np.maximum.reduce, np.max, np.clip, np.abs, np.sum, np.isfinite, np.asarray, float],
)
def test_functions_that_would_use_midpoints_are_refused(function: object) -> None:
    with precision(53):
        x = Balls([1.0, 2.0]).exp()
        with pytest.raises(TypeError):
            function(x, 0.0, 1.0) if function is np.clip else function(x)


def test_numpy_arrays_on_the_left_defer_to_balls() -> None:
    with precision(80):
        x = Balls([0.5, 0.25])
        for got in (np.ones(2) + x, np.ones(2) - x, np.ones(2) * x, np.ones(2) / x, np.float64(2.0) * x):
            assert isinstance(got, Balls)
        assert ((np.ones((3, 2)) @ x.reshape(2, 1)) == 0.75).all()


def test_measured_constructs_balls_only_inside_precision() -> None:
    assert type(Measured(1.0)) is Measured
    with precision(100):
        assert balls.working() == 100
        assert type(Measured(0.1)) is Balls
        assert Measured(0.1).items[()] == rational(0.1)
        assert type(Measured.stack([Measured(1.0), Measured(2.0)])) is Balls
        assert type(dot([1.0, 2.0], Measured([3.0, 4.0]))) is Balls
        with balls.floats():
            assert type(Measured(1.0)) is Measured
    assert balls.working() is None


def test_measured_from_outside_keeps_its_radius() -> None:
    outside = Measured([1.0, 2.0], [0.5, 0.0])
    with precision(60):
        inside = Balls.of(outside)
        low, high = ends(inside.items[0])
        assert rational(0.499999) < low <= rational(0.5)
        assert rational(1.5) <= high < rational(1.500001)
        assert inside.items[1] == 2


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_read_exactly(x: float) -> None:
    assert Fraction(int(rational(x).p), int(rational(x).q)) == Fraction(x)


@given(FRACTIONS, st.integers(20, 200))
def test_float_enclosures_hold(x: Fraction, bits: int) -> None:
    with precision(bits):
        y = Balls(exactly(x)).exp()
        low, high = ends(y.items[()])
        value, error = Fraction(float(y.value)), Fraction(float(y.error))
    assert value - error <= Fraction(int(low.p), int(low.q))
    assert Fraction(int(high.p), int(high.q)) <= value + error


@given(FRACTIONS, st.integers(4, 40), st.integers(20, 200))
def test_decimals_are_rounded_outward(x: Fraction, digits: int, bits: int) -> None:
    with precision(bits):
        item = Balls(exactly(x)).exp().items[()]
        low, high = ends(item)
        down, up = (Fraction(text) for text in decimals(item, digits))
    assert down <= Fraction(int(low.p), int(low.q))
    assert Fraction(int(high.p), int(high.q)) <= up
    assert up - down <= (abs(up) / 10 ** (digits - 2)) + (Fraction(int(high.p), int(high.q)) - down)


def test_decimals_of_an_unbounded_ball() -> None:
    assert decimals(flint.arb("nan")) == ("-inf", "inf")
    assert decimals(flint.fmpq(0)) == ("0", "0")


def test_zero_probability_has_minus_infinity_as_logarithm_and_back() -> None:
    with precision(64):
        log_p = Balls(np.array([0.0, 1.0, 0.25])).log()
        assert log_p.is_minus_infinity.tolist() == [True, False, False]
        p = log_p.exp()
        assert p.items[0] == 0
        assert p.items[1] == 1
        assert encloses(p[2], Fraction(1, 4))
        assert encloses(arithmetic.logsumexp(log_p[:2])[0], Fraction(0))


def test_a_division_by_zero_says_nothing() -> None:
    with precision(64):
        x = Balls([1.0]) / Balls([0.0])
        assert not x.finite
        with pytest.raises(Undecided):
            x > 0  # noqa: B015
        with pytest.raises(Undecided):
            bool(x)


@given(st.lists(FRACTIONS, min_size=9, max_size=9), st.lists(FRACTIONS, min_size=3, max_size=3))
def test_linear_systems_are_enclosed(entries: list[Fraction], right: list[Fraction]) -> None:
    a = np.array([exactly(x) for x in entries], dtype=object).reshape(3, 3)
    b = np.array([exactly(x) for x in right], dtype=object).reshape(3, 1)
    a = a + np.array([[exactly(Fraction(200 if i == j else 0)) for j in range(3)] for i in range(3)])
    with precision(64):
        exact = balls.solve(Balls(a), Balls(b))
        assert exact.is_rational
        assert ((Balls(a) @ exact) == Balls(b)).all()
        thick = balls.solve(Balls(a).balls(), Balls(b).balls())
        for ball, x in zip(thick.items.ravel(), exact.items.ravel()):
            low, high = ends(ball)
            assert low <= x <= high


def test_a_system_that_may_be_singular_is_undecided() -> None:
    with precision(30):
        third = (Balls([1.0]) / 3).balls().items[0]
        a = Balls(np.array([[third, third], [third, third]], dtype=object))
        with pytest.raises(Undecided):
            balls.solve(a, Balls([[1.0], [1.0]]))


def test_roots_are_exact_where_they_can_be() -> None:
    with precision(64):
        assert Balls(rational("9/4")).sqrt().items[()] == rational("3/2")
        assert (Balls(2.0) ** 0.5 > 1.414).all()
        near_zero = Balls(0.0).widened(1e-9)
        low, high = ends(near_zero.sqrt().items[()])
        assert low <= 0
        assert high**2 >= rational(1e-9)
        with pytest.raises(ValueError, match="whole powers"):
            Balls(2.0) ** 1.5


@pytest.mark.parametrize("power", [1, 2, 3])
def test_powers_of_a_ball_around_zero_are_bounded(power: int) -> None:
    with precision(64):
        near_zero = Balls(0.0).widened(1e-3)
        low, high = ends((near_zero**power).items[()])
        assert -(rational(2e-3) ** power) <= low <= 0
        assert rational(1e-3) ** power <= high <= rational(2e-3) ** power
        assert (Balls(rational("2/3")) ** -1 == rational("3/2")).all()


@pytest.mark.parametrize("text", ["nan", "inf", "1/0", "abc", ""])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises((ValueError, ZeroDivisionError)):
        rational(text)
    with pytest.raises(ValueError, match="finite"):
        rational(float("nan"))


def test_the_largest_of_no_rows():
    with balls.precision(64):
        assert Balls(np.zeros((0, 2, 3))).max(axis=(1, 2)).shape == (0,)
        assert Balls(np.zeros((2, 0))).max(axis=1, initial=1.0).shape == (2,)
