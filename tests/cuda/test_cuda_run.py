"""``run(..., backend="cuda")`` against the specification."""

import numpy as np
import pytest
from device_problems import sparse_problem

from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.runner import run

STEPS = {"eta": 0.05, "eta_dual": 0.1, "dual_cap": 2.0}


@pytest.fixture(scope="module")
def problem():
    return FederatedCMDP(sparse_problem(1, S=5, m=1, gamma=0.5), [[0], [0]])


@pytest.mark.parametrize("aggregation, rounds, E", [("arithmetic", 1, 2), ("geometric", 2, 1)])
def test_the_device_is_the_specification(problem, aggregation, rounds, E):
    given = {"local_steps": E, "aggregation": aggregation, **STEPS}
    runs = [run("fednpg", problem, rounds, backend=backend, **given) for backend in ("cuda", "numpy")]
    for name in ("value", "costs", "local_value", "local_costs", "kl", "kl_local_end", "average_value"):
        ours, theirs = (getattr(x, name) for x in runs)
        away = np.abs(ours.value - theirs.value)
        assert away.max() < 1e-10, name
        assert (away <= ours.error + theirs.error).all(), name
        assert np.max(ours.error) < 1e-9, name
    for name in ("multipliers", "drift", "final_log_policy", "final_multipliers"):
        ours, theirs = (getattr(x, name) for x in runs)
        assert np.abs(ours - theirs).max() < 1e-10, name


def test_what_it_refuses(problem):
    with pytest.raises(InvalidProblem, match=r"backend .cuda. cannot run sampled-fednpg"):
        run("sampled-fednpg", problem, 2, backend="cuda")


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_absurd_steps_are_named(problem):
    with pytest.raises(InvalidProblem, match="round 0: a policy is not finite; the steps are too large"):
        run("fednpg", problem, 2, backend="cuda", compare=False, **{**STEPS, "eta": 1e308})
