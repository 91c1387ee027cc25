"""The dual once a round: what it does to the multipliers, and that only policies travel."""

from __future__ import annotations

import numpy as np
import pytest

from tabular_fedrl.instances import load
from tabular_fedrl.runner import run

STEPS = {"eta_dual": 0.1, "dual_cap": 0.3}


def test_multipliers_move_by_all_local_steps_at_once_at_the_broadcast_policy():
    problem = load("textbook:heterogeneous-bandit")
    result = run("round-dual", problem, 2, local_steps=4, eta=0.0, **STEPS)
    # eta = 0 keeps the policy uniform: V_c - d = 1/3 - 1/5, and E eta_dual times that each round
    first = 4 * 0.1 * (1 / 3 - 1 / 5)
    own = result.multipliers[:, [0, 1], :, [0, 1]]
    assert own[:, 0] == pytest.approx(np.full((2, 4), first), abs=1e-15)
    assert own[:, 1] == pytest.approx(np.full((2, 4), 2 * first), abs=1e-15)
    assert np.diag(result.final_multipliers) == pytest.approx(2 * first)


def test_cap_and_zero_hold():
    problem = load("textbook:heterogeneous-bandit")
    result = run("round-dual", problem, 50, local_steps=4, eta=0.0, **STEPS)
    assert np.diag(result.final_multipliers) == pytest.approx(0.3)


def test_ledger_is_that_of_fednpg():
    problem = load("random-mdp:seed=1")
    ours, plain = (run(name, problem, 3, local_steps=2) for name in ("round-dual", "fednpg"))
    assert (ours.bytes_up, ours.bytes_down) == (plain.bytes_up, plain.bytes_down)
    assert {message["kind"] for message in ours.ledger.to_dict()["messages"]} == {"policy"}
