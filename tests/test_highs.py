"""Linear programs by HiGHS."""

import highspy
import numpy as np
import pytest

from tabular_fedrl.solvers.highs import maximise

BOX = np.zeros(2), np.array([1.0, np.inf])
ROWS = np.array([[1.0, 0.0], [1.0, 1.0]])
LIMITS = np.array([-np.inf, -np.inf]), np.array([2.0, 0.5])


@pytest.fixture(params=[1, 2])
def threads(request):
    """HiGHS has run with so many before: it refuses any other number from then on."""
    highspy.Highs.resetGlobalScheduler(True)
    other = highspy.Highs()
    other.silent()
    other.setOptionValue("threads", request.param)
    other.run()
    yield request.param
    highspy.Highs.resetGlobalScheduler(True)


def test_a_program_by_hand_whatever_ran_before(threads):
    """max 3x + 2y with x + y <= 2, y <= 0.5, 0 <= x <= 1: (1, 0.5), and 2 is what a larger y is worth."""
    highs = maximise(np.array([3.0, 2.0]), BOX, ROWS, LIMITS)
    assert highs.getModelStatus() == highspy.HighsModelStatus.kOptimal
    answer = highs.getSolution()
    assert answer.col_value == pytest.approx([1.0, 0.5])
    assert answer.row_dual == pytest.approx([0.0, 2.0])


@pytest.mark.parametrize(("start", "steps"), [((0, 3), 0), ((1, 3), 1), ((0,), None)])
def test_a_start(start, steps):
    """From the optimal basis (x, and what y leaves of its limit) no step is needed, from its neighbour one;
    what is no basis is a hint."""
    highs = maximise(np.array([3.0, 2.0]), BOX, ROWS, (LIMITS[0], np.array([0.75, 2.0])), start)
    assert highs.getSolution().col_value == pytest.approx([0.75, 0.0])
    assert steps is None or highs.getInfo().simplex_iteration_count == steps


def test_another_number_of_threads_is_refused(threads):
    """What setting the number would risk."""
    highs = highspy.Highs()
    highs.silent()
    highs.setOptionValue("threads", 3 - threads)
    assert highs.run() == highspy.HighsStatus.kError
