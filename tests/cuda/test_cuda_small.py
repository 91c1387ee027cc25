"""One block for each small problem, against the lockstep loop and, through it, the specification."""

from dataclasses import fields, replace

import numpy as np
import pytest
from test_loops import random_batch, random_steps

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.kernels.cuda import small
from tabular_fedrl.loops import cuda, fednpg
from tabular_fedrl.runner import run, run_batch


def differences(ours, theirs):
    """Largest difference of each field; NaN agrees with NaN."""
    pairs = {x.name: (getattr(ours, x.name), getattr(theirs, x.name)) for x in fields(ours)}
    assert all(np.shape(x) == np.shape(y) for x, y in pairs.values())
    return {
        name: np.nanmax(np.where(np.isnan(x) & np.isnan(y), 0, abs(x - y)), initial=0)
        for name, (x, y) in pairs.items()
    }


@pytest.mark.parametrize("geometric", [False, True])
@pytest.mark.parametrize("B, S, A, m, N, E", [(2, 3, 2, 2, 2, 2), (1, 5, 3, 1, 3, 1), (3, 1, 2, 1, 1, 2)])
def test_the_kernel_is_the_lockstep_loop(B, S, A, m, N, E, geometric):
    batch = random_batch(B + S, B, S, A, m, N)
    steps = random_steps(N, batch)
    ours = cuda.fednpg(batch, 3, E, *steps, geometric=geometric)
    theirs = fednpg(batch, 3, E, *steps, geometric=geometric)
    size = np.abs(batch.signals).max() / (1 - batch.gamma.max())
    assert {name: x for name, x in differences(ours, theirs).items() if not x <= 1e-12 * size} == {}


def test_the_kernel_is_the_specification():
    batch = random_batch(5, 1, 3, 2, 2, 2)
    eta, eta_dual, cap = random_steps(6, batch)
    ours = cuda.fednpg(batch, 4, 2, eta, eta_dual, cap)
    steps = {"eta": eta[0], "eta_dual": eta_dual[0], "dual_cap": cap[0]}
    r = run("fednpg", batch.problem(0), 4, local_steps=2, compare=False, **steps)
    assert abs(ours.value[0] - r.average_value.value) < 1e-10
    assert np.abs(ours.costs[0] - r.average_costs.value).max() < 1e-10
    assert np.abs(ours.log_policy[0] - r.final_log_policy).max() < 1e-10
    assert np.allclose(ours.multipliers[0], r.final_multipliers, rtol=0, atol=1e-10, equal_nan=True)


def test_batches_by_name():
    batch = random_batch(7, 2, 3, 2, 2, 2)
    problems, eta = [batch.problem(i) for i in range(2)], random_steps(8, batch)[0]
    each = [{"eta": x, "eta_dual": 0.1, "dual_cap": 2.0, "local_steps": 2} for x in eta]
    ours, theirs = (run_batch("fednpg", problems, 3, each, backend=where) for where in ("cuda", "numba"))
    assert max(differences(ours, theirs).values()) < 1e-10


def test_the_other_mean_is_told_apart():
    """A control: the agreement above is no accident of short runs."""
    batch = replace(random_batch(1, 1, 3, 2, 2, 2), mask=np.eye(2))
    eta, *dual = random_steps(2, batch)
    ours = cuda.fednpg(batch, 4, 3, 20 * eta, *dual, geometric=True)
    assert differences(ours, fednpg(batch, 4, 3, 20 * eta, *dual))["log_policy"] > 1e-6


def test_a_problem_does_not_feel_its_neighbours(monkeypatch):
    """Bit for bit, whatever the batch and the pieces it is cut into."""
    batch = random_batch(9, 3, 2, 2, 1, 2)
    steps = random_steps(10, batch)
    together = cuda.fednpg(batch, 2, 2, *steps)
    monkeypatch.setattr(cuda, "PIECE_BYTES", batch.P[0].nbytes)
    assert set(differences(cuda.fednpg(batch, 2, 2, *steps), together).values()) == {0}


def test_too_many_states_for_a_block():
    assert small.shared_bytes(64, 10) <= small.SHARED_BYTES
    batch = random_batch(11, 1, 80, 2, 1, 1)
    with pytest.raises(InvalidProblem, match=r"80 states with m = 1 .* a block has 49152"):
        cuda.fednpg(batch, 1, 1, 0.1, 0.1, 1.0)
