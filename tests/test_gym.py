"""Gymnasium's tables: replayed in the environments themselves, and every transformation of ours checked."""

import gymnasium
import numpy as np
import pytest

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.instances import GYM, load, notes
from tabular_fedrl.instances.gym import _terminal
from tabular_fedrl.policies import uniform
from tabular_fedrl.solvers import optimise, solve, value_range

VARIANTS = [
    ("FrozenLake-v1", {}),
    ("FrozenLake-v1", {"is_slippery": False}),
    ("FrozenLake8x8-v1", {}),
    ("CliffWalking-v1", {}),
    ("CliffWalking-v1", {"is_slippery": True}),
    ("Taxi-v4", {}),
    ("Taxi-v4", {"is_rainy": True}),
]


def source(name, options):
    return ",".join([f"gym:{name}", *(f"{key}={str(value).lower()}" for key, value in options.items())])


@pytest.mark.parametrize("name, options", VARIANTS, ids=lambda x: str(x))
def test_replayed_episodes_agree_with_the_table(name, options):
    """Random episodes of the real environment: every step has positive probability; over many steps the
    empirical mean of (reward, mishap) agrees with the signals of the visited pairs within 5 standard
    errors."""
    problem = load(source(name, options) + ",d=1").cmdp
    env = gymnasium.make(name, **options)
    draw = np.random.default_rng(3)
    rewards, expected = [], []
    finished = 0
    for episode in range(60):
        s, _ = env.reset(seed=episode)
        assert problem.rho[s] > 0
        for _ in range(150):
            a = int(draw.integers(problem.A))
            successor, reward, terminated, truncated, _ = env.step(a)
            assert problem.P[s, a, successor] > 0
            rewards.append(reward)
            expected.append(problem.r[s, a])
            if terminated:
                finished += 1
                assert (problem.P[successor, :, successor] == 1).all()
                assert not problem.signals[:, successor].any()
            s = successor
            if terminated or truncated:
                break
    difference = np.array(rewards) - np.array(expected)
    assert abs(difference.mean()) <= 5 * difference.std() / np.sqrt(len(difference)) + 1e-12
    env.close()


@pytest.mark.parametrize("name, options", VARIANTS, ids=lambda x: str(x))
def test_thresholds_lie_halfway(name, options):
    problem = load(source(name, options)).cmdp
    least, _ = value_range(problem, problem.c[0])
    greedy = float(evaluate(problem, optimise(problem).log_policy).at_rho.value[1])
    assert problem.gamma == 0.99
    assert problem.d[0] == pytest.approx((float(least) + greedy) / 2, abs=1e-9)


def test_frozen_lake_cost_is_the_probability_of_a_hole():
    """From state 4 of the 4 x 4 map, `right` slips down, right or up with 1/3 each: 5 is a hole, 8 and 0 are
    not."""
    problem = load("gym:FrozenLake-v1,d=1").cmdp
    assert problem.c[0, 4, 2] == pytest.approx(1 / 3)
    assert problem.c[0, 0].tolist() == [0, 0, 0, 0]
    assert problem.r[14, 1] == pytest.approx(1 / 3)  # the goal lies right of 14
    assert problem.state_names[5] == "row 1 column 1 (H)"
    assert problem.action_names == ("left", "down", "right", "up")
    # Falling ends the episode, so the cost's value is a probability for every policy.
    assert 0 <= value_range(problem, problem.c[0])[1].value <= 1


def test_cliff_walking_cost_and_terminal_row():
    problem = load("gym:CliffWalking-v1,d=1").cmdp
    up, right, down, left = range(4)
    assert problem.c[0, 36, right] == 1  # the start steps right onto the cliff, and is put back
    assert problem.P[36, right, 36] == 1
    assert problem.r[36, right] == -100
    assert problem.c[0, 36, [up, down, left]].tolist() == [0, 0, 0]
    assert problem.c[0, 24:35, down].tolist() == [0] + [1] * 10
    assert (problem.P[47, :, 47] == 1).all()
    assert not problem.r[47].any()
    # Along the cliff's edge: 13 steps of -1.
    by_hand = -(1 - 0.99**13) / (1 - 0.99)
    assert float(optimise(problem).value) == pytest.approx(by_hand, abs=1e-9)


def test_taxi_costs_and_terminal_states():
    problem = load("gym:Taxi-v4,d=1").cmdp
    pickup, dropoff = 4, 5
    env = gymnasium.make("Taxi-v4").unwrapped
    at_red = env.encode(0, 0, 0, 1)
    assert problem.c[0, at_red, pickup] == 0
    assert problem.c[0, at_red, dropoff] == 1
    elsewhere = env.encode(2, 2, 0, 1)
    assert problem.c[0, elsewhere].tolist() == [0, 0, 0, 0, 1, 1]
    delivered = env.encode(0, 4, 1, 1)
    assert (problem.P[delivered, :, delivered] == 1).all()
    assert not problem.signals[:, delivered].any()
    assert problem.r[env.encode(0, 4, 4, 1), dropoff] == 20
    assert problem.rho.sum() == pytest.approx(1)
    assert (problem.rho > 0).sum() == 300
    assert "passenger red" in problem.state_names[at_red]


@pytest.mark.parametrize("name", GYM)
def test_uniform_policy_value_by_power_series(name):
    """An oracle of another kind: 4000 steps of the state distribution, propagated through Gymnasium's own
    table with episodes cut at their ends."""
    problem = load(f"gym:{name},d=1").cmdp
    env = gymnasium.make(name).unwrapped
    alive, total = np.array(env.initial_state_distrib), 0.0
    steps = [
        (s, p / problem.A, successor, reward, done)
        for s in env.P for a in env.P[s] for p, successor, reward, done in env.P[s][a]
    ]  # fmt: skip
    s, p, successor, reward, done = (np.array(column) for column in zip(*steps))
    for t in range(4000):
        flow = alive[s] * p
        total += 0.99**t * float(flow @ reward)
        alive = np.bincount(successor[~done], flow[~done], minlength=problem.S)
    ours = evaluate(problem, uniform(problem.S, problem.A)).at_rho.value[0]
    assert ours == pytest.approx(total, abs=1e-8)


def test_notes_say_where_thresholds_come_from():
    text = "\n".join(notes("gym:FrozenLake-v1"))
    assert "halfway between the least possible cost 0 and the cost 0.118" in text
    assert "gamma = 0.99" in text
    assert "5 terminal states" in text
    assert "no slack" in "\n".join(notes("gym:Taxi-v4"))
    assert not any("halfway" in note for note in notes("gym:FrozenLake-v1,d=0.2"))


def test_overrides_recompute_thresholds():
    base, discounted = load("gym:FrozenLake-v1").cmdp, load("gym:FrozenLake-v1,gamma=0.9").cmdp
    assert discounted.gamma == 0.9
    assert discounted.d[0] != base.d[0]
    assert load("gym:FrozenLake-v1,gamma=0.95,d=0.2").cmdp.d.tolist() == [0.2]
    moved = load("gym:FrozenLake-v1,rho=14").cmdp
    assert np.flatnonzero(moved.rho).tolist() == [14]


def test_frozen_lake_constraint_binds():
    solution = solve(load("gym:FrozenLake-v1").cmdp)
    assert solution.active == (0,)
    assert solution.slater_slack > 0


@pytest.mark.parametrize(
    "name, message",
    [
        ("Nope-v1", "doesn't exist"),
        ("Taxi-v3", "Taxi-v4"),
        ("CliffWalking-v0", "CliffWalking-v1"),
        ("FrozenLake-v99", "v99"),
        ("CartPole-v1", "no table"),
        ("FrozenLake-v1,colour=red", "unexpected keyword argument 'colour'"),
        ("FrozenLake-v1,map_name=9x9", "'9x9' is unknown"),
        ("Taxi-v4,fickle_passenger=true", "not in the table"),
        ("os:Nope-v1", "names no module"),
        ("", "Malformed"),
        ("FrozenLake-v1,rho=16", "state 16"),
        ("Taxi-v4,d=1+2", "2 thresholds for 1 constraints"),
    ],
)
def test_bad_environments(name, message):
    with pytest.raises(InvalidProblem, match=message) as caught:
        load(f"gym:{name}")
    assert "\n" not in str(caught.value)


def test_state_that_ends_only_some_episodes_is_refused():
    """0 -> 1 ends the episode by one action and goes on by the other."""
    transitions = [(0, 0, 1.0, 1, 0.0, True), (0, 1, 1.0, 1, 0.0, False), (1, 0, 1.0, 0, 0.0, False)]
    with pytest.raises(InvalidProblem, match="state 1 ends some episodes"):
        _terminal("gym:made-up", transitions, np.array([1.0, 0.0]), 2)
    unreachable = [(0, 0, 1.0, 1, 0.0, True), (2, 0, 1.0, 1, 0.0, False)]
    assert _terminal("gym:made-up", unreachable, np.array([1.0, 0.0, 0.0]), 3).tolist() == [
        False,
        True,
        False,
    ]
