"""Batches of small problems against the specification, and against each other."""

import time
from dataclasses import replace

import numba
import numpy as np
import pytest
from test_backends import options
from test_federation import random_problem
from test_loops import drifts

from tabular_fedrl.algorithms import ALGORITHMS
from tabular_fedrl.errors import InvalidProblem, StepsTooLarge
from tabular_fedrl.loops import Iterated
from tabular_fedrl.loops.variants import LANES, NAMES, SINGLE
from tabular_fedrl.runner import engine_small, run, run_batch, side_by_side


def several(name, B=3):
    """Problems of one shape, each with parameters of its own."""
    own, each = ALGORITHMS[name].parameters, []
    for i in range(B):
        wanted = {"tau": 0.1 * (1 + i), "theta": 10.0 * (1 + i), "tolerance": 0.05 * i, "samples": 1 + i}
        wanted["initial_multipliers"] = 0.1 * i
        each.append(options(name) | {key: value for key, value in wanted.items() if key in own})
    return [random_problem(seed) for seed in range(B)], each


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_batches_are_the_specification(name):
    problems, each = several(name)
    ours = run_batch(name, problems, 12, each, seeds=[5, 6, 7])
    for i, problem in enumerate(problems):
        spec = run(name, problem, 12, seed=5 + i, compare=False, record="iterates", **each[i])
        moves, away = drifts(spec)
        assert np.abs(ours.step[i] - moves).max() <= 1e-10
        assert np.abs(ours.value_drift[i] - away).max() <= 1e-10
        assert abs(ours.value[i] - spec.average_value.value) <= 1e-10
        assert np.abs(ours.costs[i] - spec.average_costs.value).max(initial=0.0) <= 1e-10
        assert abs(ours.local_value[i] - spec.local_average_value.value) <= 1e-10
        assert np.abs(ours.local_costs[i] - spec.local_average_costs.value).max(initial=0.0) <= 1e-10
        assert abs(ours.drift[i] - spec.overall.drift) <= 1e-10
        assert np.abs(np.exp(ours.log_policy[i]) - np.exp(spec.final_log_policy)).max() <= 1e-10
        assert np.allclose(ours.multipliers[i], spec.final_multipliers, rtol=0, atol=1e-10, equal_nan=True)


@pytest.mark.parametrize("name", ["fednpg", *sorted(set(SINGLE) - set(NAMES))])
def test_batches_take_the_theory_s_steps(name):
    problems = [random_problem(seed) for seed in range(2)]
    ours = run_batch(name, problems, 10)
    for i, problem in enumerate(problems):
        assert abs(ours.value[i] - run(name, problem, 10).average_value.value) <= 1e-10


def alike(x, y):
    """Bit for bit, field by field."""
    return all(np.array_equal(a, b, equal_nan=True) for a, b in zip(vars(x).values(), vars(y).values()))


def of(batch, chosen):
    """The results of some problems of a batch."""
    return Iterated(*(x[chosen] for x in vars(batch).values()))


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_problems_of_a_batch_do_not_feel_each_other(monkeypatch, name):
    """Bit for bit, in any order and over any number of threads."""
    problems, each = several(name, 7)
    whole = run_batch(name, problems, 9, each, seeds=range(7))
    order = [3, 0, 6, 5, 1, 4, 2]
    for threads in (1, 2, 3):
        monkeypatch.setattr(numba, "get_num_threads", lambda count=threads: count)
        for chosen in (order, [5]):
            some = [[x[i] for i in chosen] for x in (problems, each)]
            assert alike(run_batch(name, some[0], 9, some[1], seeds=chosen), of(whole, chosen))


@pytest.mark.parametrize("name", sorted(set(SINGLE) - set(LANES)))
def test_batches_in_stretches(monkeypatch, name):
    problems, each = several(name)
    whole = run_batch(name, problems, 9, each)
    monkeypatch.setattr(engine_small, "WORK", 1)
    cut = run_batch(name, problems, 9, each)
    for field, x in vars(whole).items():
        assert np.allclose(getattr(cut, field), x, rtol=1e-12, atol=1e-12, equal_nan=True), field


@pytest.mark.parametrize("name", sorted(SINGLE))
def test_a_batch_outlives_absurd_steps(name):
    """What ends a run on its own leaves a NaN in the policy, and the other problems as they are."""
    problems, each = several(name)
    calm = run_batch(name, problems, 9, each)
    wild = {"eta": 1e308, "eta_dual": 1e300, "dual_cap": 1e300}
    each[1] |= {key: value for key, value in wild.items() if key in each[1]}
    ours = run_batch(name, problems, 9, each)
    try:
        alone = run(name, problems[1], 9, backend="numba", compare=False, **each[1])
    except StepsTooLarge:
        assert np.isnan(ours.log_policy[1]).any()
    else:
        assert np.array_equal(ours.log_policy[1], alone.final_log_policy)
    assert alike(of(ours, [0, 2]), of(calm, [0, 2]))


@pytest.fixture
def stretches(monkeypatch):
    """Put another engine in the place of that of batches: round by round, after each a call with the
    problem's number and the rounds done."""

    def replaced(then):
        true = engine_small.ENGINE.stretches

        def of(task, state):
            for stretch in true(task, state):
                yield stretch
                then(task.seed, stretch.state.round)

        monkeypatch.setattr(engine_small, "WORK", 1)
        monkeypatch.setattr(side_by_side, "ENGINE", replace(engine_small.ENGINE, stretches=of))

    return replaced


@pytest.mark.parametrize("threads", [1, 3])
def test_the_first_problem_that_is_refused_is_named(monkeypatch, stretches, threads):
    """Though another thread is quicker; what comes after it is not run."""
    begun = set()

    def refuse(i, done):
        begun.add(i)
        time.sleep(0.05 if i == 3 else 0.0)
        if i in (3, 5) and done == 2:
            raise InvalidProblem(f"no. {i}")

    stretches(refuse)
    monkeypatch.setattr(numba, "get_num_threads", lambda: threads)
    with pytest.raises(InvalidProblem, match=r"no\. 3"):
        run_batch("pmd-pd", [random_problem()] * 40, 4, options("pmd-pd"), seeds=range(40))
    assert len(begun) == 4 if threads == 1 else len(begun) < 40


def test_an_interrupt_ends_a_batch(monkeypatch, stretches):
    """Those that run end after a stretch, and no other begins."""
    rounds = []

    def interrupt(i, done):
        rounds.append(i)
        if i == 2:
            raise KeyboardInterrupt

    stretches(interrupt)
    monkeypatch.setattr(numba, "get_num_threads", lambda: 3)
    with pytest.raises(KeyboardInterrupt):
        run_batch("pmd-pd", [random_problem()] * 20, 5000, options("pmd-pd"), seeds=range(20))
    assert len(rounds) < 5000
