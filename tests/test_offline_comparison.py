"""The comparison on real environments, on small ones."""

import json

import numpy as np
import pytest

from tabular_fedrl.algorithms.drpo_evidence import evidence, gain_over
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load
from tabular_fedrl.policies import uniform
from tabular_fedrl.runner import run
from tabular_fedrl.runner.offline_comparison import METHODS, WEIGHT, compare, counted

SOURCE = "gym:FrozenLake-v1"
SMALL = {"clients": 2, "transitions": 400, "rounds": 3, "seed": 1}


def test_every_method_gets_a_row_of_its_run():
    seen = []
    rows, data = compare(SOURCE, **SMALL, progress=seen.append)
    assert seen == [row.method for row in rows] == list(METHODS)
    assert [d.client for d in data] == [0, 1]
    assert data[0].trajectory_quality < data[1].trajectory_quality
    unit = WEIGHT / 3
    result = run(
        "drpo",
        load(SOURCE),
        4,
        alpha=unit,
        beta=unit,
        clients=2,
        data="simulated",
        transitions=400,
        data_seed=1,
    )
    row = rows[0]
    assert row.values == pytest.approx(result.value.value, abs=1e-12)
    assert row.improvements == pytest.approx(np.diff(result.value.value), abs=1e-12)
    for row in rows:
        assert row.values[-1] <= row.optimum + 1e-9
        assert (row.certified is None) == (row.method == "local only")
        if row.certified is not None:
            # One event for all rounds; these data are within it.
            assert (row.certified <= row.improvements + 1e-12).all()
        json.dumps(row.to_dict(), allow_nan=False)


def test_the_score_is_one_at_the_optimum():
    rows, _ = compare(SOURCE, **SMALL, methods={"cloning": METHODS["behaviour cloning"]})
    (row,) = rows
    assert row.score == pytest.approx((row.values[-1] - row.values[0]) / (row.optimum - row.values[0]))
    assert row.to_dict()["rounds_improved"] == 1


def test_no_bound_is_below_what_rewards_allow():
    cmdp = load(SOURCE).cmdp.only([])
    counts = counted(cmdp, 2, 50, 0)
    known = evidence(counts, cmdp.gamma, cmdp.rho, uniform(16, 4), 0.05, (0.0, 1 / 3))
    other = np.log(np.full((16, 4), 0.1) + 0.6 * np.eye(4)[np.zeros(16, int)])
    assert gain_over(known, other, uniform(16, 4)) == pytest.approx(-1 / 3 / 0.01)


def test_nothing_to_learn_is_said(tmp_path):
    from tabular_fedrl.cmdp import CMDP
    from tabular_fedrl.instances import save

    path = tmp_path / "flat.npz"
    save(path, CMDP(np.ones((1, 2, 1)), [[1.0, 1.0]], [], [], [1.0], 0.5))
    with pytest.raises(InvalidProblem, match="nothing to learn"):
        compare(str(path))
