"""Where the hypotheses of the rates' pages end: edges that they cover, and parameters that they do not."""

from __future__ import annotations

import numpy as np
import pytest

from proofs_check.rates.entropy_dual import EntropyDual
from proofs_check.rates.opg_pd import OPGPD, circling
from tabular_fedrl.claims import verify
from tabular_fedrl.claims.verdict import Status
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.instances import load


@pytest.mark.parametrize(
    ("theorem", "source", "parameters"),
    [
        ("rates.crpo", "textbook:two-arm", {"tolerance": 1.0}),
        ("rates.decentralised", "textbook:two-arm", {"eta": 0.0}),
        ("rates.entropy-dual", "textbook:three-state", {"stretch": 0.1}),
        ("rates.mirror-descent", "random-mdp:seed=1", {"eta": 0.0}),
        ("rates.mirror-descent", "random-mdp:seed=1,gamma=0", {}),
        ("rates.mirror-descent", "random-mdp:seed=1,gamma=0", {"theta": 1.0}),
        ("rates.opg-pd", "textbook:two-arm", {"rounds": 3}),
    ],
)
def test_nothing_is_claimed_where_a_hypothesis_is_not_met(theorem, source, parameters):
    verdicts = verify(theorem, source, **parameters)
    assert {v.status for v in verdicts} == {Status.NOT_APPLICABLE}


def test_mirror_descent_without_a_future_needs_a_theta():
    verdicts = verify("rates.mirror-descent", "random-mdp:seed=1,gamma=0", theta=2.0, rounds=20)
    assert {v.status for v in verdicts} == {Status.HOLDS}


@pytest.mark.parametrize("theorem", ["rates.entropy-npg", "rates.decentralised-entropy"])
def test_a_single_action_has_no_entropy(theorem):
    P = np.array([[[0.3, 0.7]], [[0.6, 0.4]]])
    forced = CMDP(P, [[1.0], [0.0]], np.zeros((0, 2, 1)), [], [0.5, 0.5], 0.5)
    parameters = {"step": 0.1} if theorem == "rates.decentralised-entropy" else {}
    verdicts = verify(theorem, FederatedCMDP(forced, [()]), rounds=10, **parameters)
    assert Status.FAILS not in {v.status for v in verdicts}
    assert all(abs(v.lhs) < 1e-12 for v in verdicts)


def test_a_tenth_of_the_dual_methods_step_is_too_short_for_its_bound():
    page = EntropyDual()
    x = page.setup(load("textbook:three-state"), stretch=0.1)
    left, right, _ = page.excess.function(page, x)
    assert (left.lower > right.upper).any()


def test_plain_projected_steps_on_two_arms_by_hand():
    x = OPGPD().setup(load("textbook:two-arm"), rounds=300, eta=0.1)
    away, (p, lam) = circling(x.run).value, (0.5, 0.0)
    for t in range(300):
        assert away[t] == pytest.approx(2 * abs(p - 0.5), abs=1e-12)
        p, lam = np.clip(p + 0.1 * (1 - lam) / 2, 0, 1), max(lam + 0.1 * (p - 0.5), 0.0)
