"""Par-S2ZPO and its relatives: rounds by hand, bits, number systems, exact against sampled votes."""

from itertools import islice

import numpy as np
import pytest

from tabular_fedrl import balls
from tabular_fedrl.algorithms.fedavg_s2zpo import fedavg_s2zpo
from tabular_fedrl.algorithms.par_s2zpo import par_s2zpo
from tabular_fedrl.algorithms.preference_feedback import Feedback, blocks, policy
from tabular_fedrl.algorithms.preference_registry import PREFERENCE_ALGORITHMS
from tabular_fedrl.algorithms.zpg import zbcpg, zpg
from tabular_fedrl.algorithms.zspo import draw, zspo
from tabular_fedrl.balls import Balls
from tabular_fedrl.claims import confidence
from tabular_fedrl.episodic import exact, gradient, start_value
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import Ledger
from tabular_fedrl.instances import load_any
from tabular_fedrl.policies import softmax
from tabular_fedrl.preferences import Comparison, Linear, Logistic, Panel
from tabular_fedrl.runner import run

SOURCE = "episodic-garnet:S=3,A=2,H=2"
SHAPE = (2, 3, 2)
D = 12
METHODS = {
    "par": (par_s2zpo, 4, {}),
    "fedavg": (fedavg_s2zpo, 4, {}),
    "shared": (fedavg_s2zpo, 4, {"shared_seeds": True}),
    "gaussian": (zspo, 1, {}),
    "sphere": (zspo, 1, {"directions": "sphere"}),
}


def feedback(questions: int = 101, K: int = 4, mdp=None, **more) -> Feedback:
    asked = Comparison(Panel(Logistic(0.5), 3), batch=2, questions=questions)
    problem = load_any(SOURCE).mdp if mdp is None else mdp
    return Feedback(problem, asked, K, 0.25, **({"step": 0.125} | more))


def rounds(method: str, T: int, start=None, seed: int = 0, **more):
    function, K, extra = METHODS[method]
    ledger = Ledger()
    theta = np.zeros(SHAPE) if start is None else start
    steps = function(feedback(K=K, **more), theta, np.random.default_rng(seed), ledger, **extra)
    return list(islice(steps, T)), ledger


@pytest.mark.parametrize(
    "method, setup, bits",
    [
        ("par", 0, D + 4),
        ("fedavg", 0, 4 * (D + 1)),
        ("shared", 4 * 64, 4),
        ("gaussian", 0, 64 * D + 1),
        ("sphere", 0, 64 * D + 1),
    ],
)
def test_bits(method, setup, bits):
    _, ledger = rounds(method, 5)
    assert ledger.bits("down") + ledger.bits("up") == setup + 5 * bits


@pytest.mark.parametrize("method", METHODS)
def test_runs_side_by_side_send_their_bits_each(method):
    one, many = (rounds(method, 3, start=np.zeros((n, *SHAPE)))[1] for n in (1, 5))
    assert all(many.bits(way) == 5 * one.bits(way) for way in ("up", "down"))


@pytest.mark.parametrize("method", METHODS)
def test_updates_follow_the_votes(method):
    """Sure votes: each block, or each direction, is followed where it gains and left where it loses."""
    steps, _ = rounds(method, 6, questions=10**18)
    mdp = load_any(SOURCE).mdp
    for step in steps:
        np.testing.assert_array_equal(step.next_theta, step.theta + 0.125 * step.direction)
    first = steps[0]
    if method == "par":
        for own in blocks(SHAPE, 4):
            up = start_value(mdp, softmax(first.theta + 0.25 * own * first.direction))
            assert up >= start_value(mdp, softmax(first.theta))
        assert (np.abs(first.direction) == 1).all()
    elif method in ("gaussian", "sphere"):
        up = start_value(mdp, softmax(first.theta + 0.25 * first.direction))
        assert up > start_value(mdp, softmax(first.theta))
    assert start_value(mdp, softmax(steps[-1].next_theta)) > start_value(mdp, softmax(first.theta))


@pytest.mark.parametrize("method", METHODS)
def test_runs_in_balls_are_those_in_floats(method):
    floats, _ = rounds(method, 4)
    with balls.precision(128):
        exactly, _ = rounds(method, 4, start=Balls(np.zeros(SHAPE)), mdp=exact(load_any(SOURCE)).mdp)
    np.testing.assert_allclose(exactly[-1].next_theta.value, floats[-1].next_theta, atol=1e-15)


def test_runs_side_by_side_are_independent_and_alike():
    steps, ledger = rounds("par", 40, start=np.zeros((300, *SHAPE)))
    values = start_value(load_any(SOURCE).mdp, softmax(steps[-1].next_theta))
    assert values.shape == (300,)
    assert len(np.unique(values)) > 200
    assert ledger.bits("down") == 300 * 40 * D
    single = np.array(
        [
            start_value(load_any(SOURCE).mdp, softmax(rounds("par", 40, seed=s)[0][-1].next_theta))
            for s in range(40)
        ]
    )
    # Four standard errors of the difference of the means.
    far = 4 * np.sqrt(values.var() / 300 + single.var() / 40)
    assert abs(values.mean() - single.mean()) < far


@pytest.mark.parametrize("method", ["par", "fedavg", "gaussian"])
def test_sampled_votes_fall_as_often_as_computed(method):
    """The first vote of the first agent, over many seeds with the same direction."""
    function, K, _ = METHODS[method]
    exactly, sampled = feedback(5, K), feedback(5, K, sampled=True)
    start, rng = np.zeros(SHAPE), np.random.default_rng(3)
    ahead = start + 0.25 * rng.choice([-1.0, 1.0], SHAPE)
    chance = float(exactly.chance(ahead, start))
    trials = 4000
    yes = sampled.decide(np.broadcast_to(ahead, (trials, *SHAPE)), start, rng).sum()
    seen = confidence.binomial(yes, trials, 0.9999)
    assert seen.lower <= chance <= seen.upper
    drawn = exactly.decide(np.broadcast_to(ahead, (trials, *SHAPE)), start, rng).sum()
    again = confidence.binomial(drawn, trials, 0.9999)
    assert again.lower <= chance <= again.upper
    assert abs(chance - 0.5) > 0.02
    step = next(function(sampled, start, rng, Ledger()))
    assert step.episodes == K * 2 * 5 * 2


def test_stationary_logits_are_those_of_every_step():
    mdp = load_any(SOURCE).mdp
    theta = np.random.default_rng(0).standard_normal((5, 1, 3, 2))
    np.testing.assert_array_equal(policy(theta, 2), softmax(np.repeat(theta, 2, axis=1)))
    step = next(par_s2zpo(feedback(K=3), theta, np.random.default_rng(0), Ledger()))
    assert step.next_theta.shape == theta.shape
    assert mdp.H == 2


def test_steps():
    assert feedback(step=0.5).alpha(7) == 0.5
    assert feedback(step=None, scale=2.0).alpha(3) == 1.0


def test_directions():
    sphere = draw("sphere", (100, *SHAPE), np.random.default_rng(0))
    np.testing.assert_allclose((sphere**2).sum((1, 2, 3)), 1, rtol=1e-12)
    with pytest.raises(InvalidProblem, match="directions 'cube'"):
        draw("cube", SHAPE, np.random.default_rng(0))


def test_bad_numbers_of_agents():
    with pytest.raises(InvalidProblem, match="5 agents cannot share 12 coordinates"):
        blocks(SHAPE, 5)
    with pytest.raises(InvalidProblem, match="one agent, not 4"):
        next(zspo(feedback(), np.zeros(SHAPE), np.random.default_rng(0), Ledger()))


@pytest.mark.parametrize("method, K", [(zpg, 1), (zbcpg, 4)])
def test_inverting_methods_step_along_the_gradient_on_average(method, K):
    """The mean direction of many single rounds against the gradient, with a linear link that is true."""
    mdp = load_any(SOURCE).mdp
    asked = Comparison(Panel(Linear(0.2), 15), batch=1, questions=400)
    theta, runs = np.zeros((20_000, *SHAPE)), Ledger()
    step = next(method(Feedback(mdp, asked, K, 0.25), theta, np.random.default_rng(0), runs))
    slope, mean = gradient(mdp, softmax(theta[0])), step.direction.mean(axis=0)
    spread = np.sqrt(step.direction.var(axis=0).sum() / len(theta))
    assert np.sqrt(((mean - slope) ** 2).sum()) < 4 * spread + 0.25
    assert (mean * slope).sum() > 0.5 * (slope**2).sum()
    assert runs.bits("up") == 64 * len(theta)


# ---- run ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", PREFERENCE_ALGORITHMS)
def test_run_measures_what_the_rounds_do(name):
    result = run(name, load_any(SOURCE), 5, seed=3, questions=11, people=3)
    assert result.theta.shape == (6, *SHAPE)
    assert result.bits[0] == result.episodes[0] == 0
    assert result.bits[-1] == result.ledger.bits("down") + result.ledger.bits("up")
    values = start_value(load_any(SOURCE).mdp, softmax(result.theta))
    assert (np.abs(values - result.value.value) <= result.value.error + 1e-14).all()
    slopes = gradient(load_any(SOURCE).mdp, softmax(result.theta))
    np.testing.assert_allclose(result.norm.value, np.sqrt((slopes**2).sum((1, 2, 3))), atol=1e-12)
    again = run(name, load_any(SOURCE), 5, seed=3, questions=11, people=3)
    np.testing.assert_array_equal(again.theta, result.theta)


def test_run_with_shared_logits():
    result = run("par-s2zpo", load_any(SOURCE), 3, stationary=True, agents=2)
    assert result.theta.shape == (4, 1, 3, 2)
    assert (result.block_norm.value >= result.norm.value).all()
    assert result.memory == 3


def test_run_in_balls():
    with balls.precision(128):
        exactly = run("par-s2zpo", exact(load_any(SOURCE).mdp), 3, agents=2, step=0.125)
    floats = run("par-s2zpo", load_any(SOURCE), 3, agents=2, step=0.125)
    np.testing.assert_allclose(exactly.value.value, floats.value.value, atol=1e-14)


@pytest.mark.parametrize(
    "parameters, message",
    [
        ({"agents": 0}, "agents = 0"),
        ({"mu": -1.0}, "mu = -1 is not positive"),
        ({"mu": 1e308}, "mu = 1e.308: expected a number from 1e-100 to 1e.100"),
        ({"link": "probit"}, "link 'probit'"),
        ({"question": 3}, "did you mean 'questions'"),
        ({"sampled": 2}, "expected true or false"),
    ],
)
def test_run_refuses(parameters, message):
    with pytest.raises(InvalidProblem, match=message):
        run("par-s2zpo", load_any(SOURCE), 3, **parameters)


def test_run_refuses_unknown_names():
    with pytest.raises(InvalidProblem, match="did you mean 'par-s2zpo'"):
        run("par_s2zpo", load_any(SOURCE), 3)
