"""Steps, means and what is read off policies, against the specification."""

import numpy as np
import pytest
from device_problems import sparse_problem

from tabular_fedrl.evaluation import evaluate, evaluate_soft, visitation
from tabular_fedrl.loops.large_cuda import Device
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import (
    CompactPolicy,
    arithmetic_mean,
    geometric_mean,
    kl,
    log_softmax,
    random_log_policy,
)


@pytest.fixture(scope="module")
def cmdp():
    return sparse_problem(1, S=7, A=3)


WEIGHTS = np.array([0.5, -0.3, 0.0])


def policies(seed, count):
    g = np.random.default_rng(seed)
    return np.stack([random_log_policy(g, 7, 3) for _ in range(count)])


def exact_values(device, log_pi):
    return device.mix(device.hold_values(evaluate(device.cmdp, log_pi).V.value.T), WEIGHTS)


def test_an_evaluation_that_adds_the_values_of_a_mixed_signal(cmdp):
    log_pi, device = policies(8, 1)[0], Device(cmdp)
    near, room = device.values(), device.hold(log_pi)
    found, once = device.evaluate_mixed(device.hold(log_pi), near, WEIGHTS)
    again, twice = device.evaluate_mixed(room, near, WEIGHTS, once, room)
    assert once is twice
    assert (found.value == again.value).all()
    assert (device.array_values(near) == 0).all()
    assert np.abs(device.array(room) - np.exp(log_pi)).max() < 1e-14
    expected = 2 * WEIGHTS @ evaluate(cmdp, log_pi).V.value
    assert np.abs(device.array_values(twice)[:, 0] - expected).max() < 1e-11


def test_the_natural_step(cmdp):
    log_pi, device = policies(2, 1)[0], Device(cmdp)
    table, mixed, out = device.hold(log_pi), exact_values(device, log_pi), device.table()
    assert device.natural_step(table, mixed, WEIGHTS, 0.7, out)
    advantage = np.einsum("k,ksa->sa", WEIGHTS, evaluate(cmdp, log_pi).advantage.value)
    assert np.abs(device.array(out) - log_softmax(log_pi + 0.7 * advantage)).max() < 1e-12
    assert device.natural_step(table, mixed, WEIGHTS, 0.7, table)
    assert device.array(table).tobytes() == device.array(out).tobytes()


def test_the_vanilla_step(cmdp):
    log_pi, device = policies(3, 1)[0], Device(cmdp)
    table, mixed = device.hold(log_pi), exact_values(device, log_pi)
    assert device.vanilla_step(table, mixed, WEIGHTS, 2.0, table)
    advantage = np.einsum("k,ksa->sa", WEIGHTS, evaluate(cmdp, log_pi).advantage.value)
    direction = visitation(cmdp, log_pi).value[:, None] * np.exp(log_pi) * advantage
    assert np.abs(device.array(table) - log_softmax(log_pi + 2 * direction)).max() < 1e-12


def test_the_soft_step(cmdp):
    log_pi, device = policies(4, 1)[0], Device(cmdp)
    table, mixed = device.hold(log_pi), exact_values(device, log_pi)
    assert device.soft_step(table, mixed, WEIGHTS, 0.2, 0.4, table)
    signal = np.einsum("k,ksa->sa", WEIGHTS, cmdp.signals)
    soft = evaluate_soft(cmdp, log_pi, signal[None], 0.2)
    direction = soft.Q.value[0] - 0.2 * log_pi
    assert np.abs(device.array(table) - log_softmax(log_pi + 0.4 * direction)).max() < 1e-12


@pytest.mark.parametrize("geometric, mean", [(False, arithmetic_mean), (True, geometric_mean)])
def test_means(cmdp, geometric, mean):
    tables, weights, device = policies(5, 3), np.array([0.2, 0.3, 0.5]), Device(cmdp)
    # Far apart: neither exponential may overflow.
    tables[1] = log_softmax(400 * tables[1])
    out = device.table()
    for i in range(3):
        device.add(device.hold(tables[i]), weights[i], geometric, i == 0, out)
    assert device.normalise(out)
    assert np.abs(device.array(out) - mean(tables, weights)).max() < 1e-11
    other = (arithmetic_mean if geometric else geometric_mean)(tables, weights)
    assert np.abs(device.array(out) - other).max() > 1e-3


@pytest.mark.filterwarnings("ignore:.*invalid value:RuntimeWarning")
def test_a_policy_that_is_not_finite_is_told(cmdp):
    device = Device(cmdp)
    table, mixed = device.hold(policies(6, 1)[0]), exact_values(device, policies(6, 1)[0])
    assert not device.natural_step(table, mixed, WEIGHTS, np.inf, table)
    logits = policies(6, 1)[0]
    logits[5, 1] = np.nan
    assert not device.normalise(device.hold(logits))


def test_moves_and_divergences(cmdp):
    p, q = policies(7, 2)
    device = Device(cmdp)
    move = np.abs(np.exp(p) - np.exp(q)).sum(axis=1).max()
    assert abs(device.largest_move(device.hold(p), device.hold(q)) - move) < 1e-14
    best = np.full((7, 3), -np.inf)
    best[np.arange(7), np.arange(7) % 3] = 0.0
    for reference in (p, best):
        d = visitation(cmdp, reference)
        found = Device(cmdp, (CompactPolicy.of(reference), d)).divergence(device.hold(q))
        assert isinstance(found, Measured)
        assert abs(found.value - d.value @ kl(reference, q)) < 1e-13
        assert found.error < 1e-9
