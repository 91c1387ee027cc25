"""The comparison on real environments, on small ones."""

import json
from dataclasses import replace

import numpy as np
import pytest

from proofs_check.drpo.real_data import inside_event
from proofs_check.drpo.real_data_study import comparison_study
from tabular_fedrl.algorithms.drpo_cql import cql_step
from tabular_fedrl.algorithms.drpo_evidence import evidence, gain_over, value_between
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.instances import load
from tabular_fedrl.plots import PLOTS
from tabular_fedrl.policies import uniform
from tabular_fedrl.runner import run
from tabular_fedrl.runner.offline_comparison import METHODS, WEIGHT, compare, counted, surely_gained

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


def test_the_value_lies_between_what_the_data_say():
    cmdp = load(SOURCE).cmdp.only([])
    counts = counted(cmdp, 2, 50, 0)
    start = uniform(16, 4)
    known = evidence(counts, cmdp.gamma, cmdp.rho, start, 0.05, (0.0, 1 / 3))
    path = np.array([start, start, np.log(np.full((16, 4), 0.1) + 0.6 * np.eye(4)[np.zeros(16, int)])])
    low, high = value_between(known, path[2])
    assert low <= evaluate(cmdp, path[2]).at_rho[0].value <= high
    one_by_one = [gain_over(known, path[1], path[0]), gain_over(known, path[2], path[1])]
    assert surely_gained(known, path).tolist() == one_by_one


def test_the_study_has_a_row_for_every_method_and_client():
    data = comparison_study([SOURCE, "gym:CliffWalking-v1"], **SMALL)
    assert data.arrays["lacking"].shape == (2, len(METHODS), SMALL["rounds"] + 1)
    assert data.arrays["lacking"][:, :, 0].tolist() == [[1.0] * len(METHODS)] * 2
    methods, clients, *_ = data.summary["tables"]
    assert [row[0] for row in methods["rows"]] == list(METHODS)
    assert [row[0] for row in clients["rows"]] == ["0", "1"]
    for table in data.summary["tables"]:
        assert {len(row) for row in table["rows"]} == {len(table["head"])}
    rows, _ = compare(SOURCE, **SMALL)
    for row, told in zip(rows, methods["rows"], strict=True):
        assert float(told[2]) == pytest.approx(row.values[-1], rel=1e-5)
        assert float(told[4]) == pytest.approx(row.score, abs=1e-4)
        assert told[1] == METHODS[row.method].mark
    PLOTS["comparison"](data.arrays)


def test_rounds_in_which_nothing_moves_are_not_counted():
    data = comparison_study([SOURCE], **SMALL)
    table = {row[0]: row for row in data.summary["tables"][0]["rows"]}
    assert table["behaviour cloning"][5] == "1 of 1"
    assert table["behaviour cloning"][7] == "0 of 1"
    assert table["local only"][7] == "no global policy"


def test_the_certificates_of_the_page_are_those_of_the_event():
    """The data as they are lie within the event; told a thousandfold, they do not."""
    cmdp = load(SOURCE).cmdp.only([])
    (table,) = counted(cmdp, 1, 2000, 0)
    assert inside_event(cmdp, table, 0.05)
    many = replace(table, pairs=table.pairs * 1000, successors=table.successors * 1000)
    assert not inside_event(cmdp, many, 0.05)
    wrong = replace(table, reward=table.reward + 0.3)
    assert not inside_event(cmdp, wrong, 0.05)


def test_a_client_whose_actions_the_average_lost_abstains():
    """A temperature at which one client's weight underflows."""
    result = run(
        "fedora",
        load(SOURCE),
        4,
        clients=3,
        data="simulated",
        transitions=100,
        alpha=0.006,
        beta=0.006,
        temperature=1e-5,
    )
    assert np.isfinite(result.value.value).all()


def test_the_step_of_the_cql_reading_ends_where_rounding_does():
    """A global policy that is nearly sure makes exponents large."""
    log_pi = np.log([[1.0 - 3e-16, 1e-300, 1e-16, 2e-16]])
    log_b = np.log([[0.01, 0.49, 0.25, 0.25]])
    for Q in (0.0, 10.0, 300.0):
        log_p = cql_step(log_pi, log_b, np.array([[0.0, Q, 1.0, 2.0]]), 0.01, 0.01)
        assert np.exp(log_p).sum() == pytest.approx(1.0, abs=1e-12)
