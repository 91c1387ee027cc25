"""Random streams and projections of the compiled loops, against NumPy's and the specification's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular_fedrl.algorithms.sampled import simulator, starts
from tabular_fedrl.instances import load
from tabular_fedrl.kernels.projection import project
from tabular_fedrl.kernels.rollouts import rollouts
from tabular_fedrl.kernels.streams import draw_from_words, wind, words
from tabular_fedrl.policies import projected


@given(st.integers(0, 2**128 - 1), st.integers(0, 2**127 - 1))
def test_streams_are_numpy_s(state, increment):
    """Any state and any odd increment; the generator goes on where the stream has come to."""
    generator = np.random.default_rng(0)
    told = generator.bit_generator.state
    told["state"] = {"state": state, "inc": 2 * increment + 1}
    generator.bit_generator.state = told
    (stream,) = words([generator])
    drawn = [draw_from_words(stream) for _ in range(40)]
    twin = np.random.default_rng(1)
    twin.bit_generator.state = told
    assert drawn == twin.random(40).tolist()
    wind(generator, stream)
    assert generator.random() == twin.random()


def test_rollouts_draw_from_either():
    cmdp = load("textbook:three-state").cmdp
    policy = np.cumsum(np.full((cmdp.S, cmdp.A), 1.0 / cmdp.A), axis=1)
    generator = np.random.default_rng(7)
    (stream,) = words([generator])
    told = [
        rollouts(*simulator(cmdp), policy, cmdp.gamma, *starts(cmdp.S, cmdp.A), 5, source)
        for source in (stream, generator)
    ]
    assert np.array_equal(told[0][0], told[1][0])
    assert told[0][1] == told[1][1]
    assert draw_from_words(stream) == generator.random()


@given(
    seed=st.integers(0, 2**32 - 1),
    R=st.integers(1, 3),
    A=st.integers(1, 9),
    W=st.integers(1, 20),
    size=st.sampled_from([0.1, 1.0, 100.0]),
    ties=st.booleans(),
)
def test_projections_are_the_specification_s(seed, R, A, W, size, ties):
    x, step = size * np.random.default_rng(seed).normal(size=(2, R, A, W))
    if ties:
        x, step = np.round(x), np.round(step)
    expected = np.swapaxes(projected(np.swapaxes(x + step, 1, 2)), 1, 2)
    project(x, step, np.empty((A + 3, W)))
    assert x == pytest.approx(expected, abs=1e-14 * max(size, 1.0))


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("value", [1e300, 1e17, -1e300, np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_what_cannot_be_projected_is_no_distribution(value, place):
    """As in the specification, and in its own lane only."""
    x = np.random.default_rng(0).normal(size=(2, 3, 4))
    x[1, place, 2] = value
    expected = np.swapaxes(projected(np.swapaxes(x, 1, 2)), 1, 2)
    project(x, np.zeros(x.shape), np.empty((6, 4)))
    assert x == pytest.approx(expected, abs=1e-14, nan_ok=True)
    assert np.isnan(x[1, :, 2]).all() == (not value < 0)
