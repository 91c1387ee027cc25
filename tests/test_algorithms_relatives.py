"""FedNPG's relatives against what they reduce to, and against their definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_fedrl.algorithms import ALGORITHMS
from tabular_fedrl.algorithms.averaging import mean_kernel, own_kernels
from tabular_fedrl.algorithms.crpo import balanced_tolerance
from tabular_fedrl.algorithms.decentralised import GRAPHS, mixing_gap, mixing_matrix
from tabular_fedrl.algorithms.fedppo import logit_gradient, surrogate_weights
from tabular_fedrl.algorithms.unconstrained import mismatch
from tabular_fedrl.balls import precision
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate, visitation
from tabular_fedrl.instances import load
from tabular_fedrl.policies import projected, softmax
from tabular_fedrl.runner import run
from tabular_fedrl.solvers import solve


def policies(result):
    return np.exp(result.iterates.log_policies)


def test_npg_is_npg_pd_without_constraints():
    problem = load("random-mdp:seed=1")
    cmdp = problem.cmdp
    alone = FederatedCMDP(cmdp.replace(c=cmdp.c[:0], d=cmdp.d[:0]), [()])
    ours = run("npg", problem, 30, eta=0.1, record="iterates", compare=False)
    theirs = run("npg-pd", alone, 30, eta=0.1, record="iterates", compare=False)
    assert (policies(ours) == policies(theirs)).all()
    assert ours.costs.shape == (30, 0)


def test_rpg_pd_is_regularised_fednpg_of_one_agent():
    problem = load("random-mdp:seed=1")
    central = FederatedCMDP(problem.cmdp, [range(problem.cmdp.m)])
    ours = run("rpg-pd", problem, 30, tau=0.2, record="iterates", compare=False)
    theirs = run("regularised-fednpg", central, 30, tau=0.2, record="iterates", compare=False)
    assert (policies(ours) == policies(theirs)).all()


def test_the_longest_step_of_entropy_npg_is_soft_policy_iteration():
    problem, tau = load("random-mdp:seed=3"), 0.3
    near = 1 - problem.cmdp.gamma
    result = run("entropy-npg", problem, 4, tau=tau, eta=near / tau, record="iterates", compare=False)
    before, after = policies(result)[2:4]
    entropy = -(before * np.log(before)).sum(axis=1, keepdims=True)
    plain = evaluate(result.problem.cmdp, np.log(before), (problem.cmdp.r + tau * entropy)[None])
    assert np.abs(after - softmax((plain.Q.value[0] - tau * entropy) / tau)).max() < 1e-12


def test_mirror_descent_steps_grow_by_the_prescribed_factor():
    problem = load("random-mdp:seed=1")
    result = run("mirror-descent", problem, 5, theta=4.0, eta=0.01, record="iterates", compare=False)
    for k in range(4):
        before, after = policies(result)[k : k + 2]
        Q = evaluate(result.problem.cmdp, np.log(before)).Q.value[0]
        assert np.abs(after - softmax(np.log(before) + 0.01 * (4 / 3) ** k * Q)).max() < 1e-12


def test_mismatch():
    cmdp = load("random-mdp:seed=1").cmdp
    alone = cmdp.replace(c=cmdp.c[:0], d=cmdp.d[:0])
    d = visitation(alone, solve(alone).log_policy).value
    assert mismatch(alone) == pytest.approx((d / alone.rho).max() / (1 - alone.gamma))
    with pytest.raises(InvalidProblem, match=r"rho\[1\] = 0"):
        mismatch(alone.replace(rho=[1.0, 0.0, 0.0]))
    with pytest.raises(InvalidProblem, match=r"theta = 1\.0"):
        run("mirror-descent", alone, 2, theta=1.0)


def test_crpo_goes_down_a_violated_cost_and_up_the_reward_otherwise():
    problem = load("random-mdp:seed=1")
    result = run("crpo", problem, 400, eta=0.05, tolerance=0.01, record="iterates")
    cmdp = problem.cmdp
    spans = np.ptp(cmdp.c, axis=(1, 2))
    chosen = np.concatenate([result.multipliers[1:, 0, 0], result.final_multipliers])
    violated = result.costs.value > cmdp.d + 0.01 * spans
    assert ((chosen.sum(axis=1) == 0) == ~violated.any(axis=1)).all()
    assert 0 < chosen.sum() < len(chosen)
    for k in np.flatnonzero(violated.any(axis=1)):
        assert chosen[k].argmax() == violated[k].argmax()
    k = int(np.flatnonzero(violated.any(axis=1))[0])
    j = chosen[k].argmax()
    Q = evaluate(cmdp, np.log(policies(result)[k])).Q.value[1 + j]
    step = 0.05 / (1 - cmdp.gamma) / spans[j]
    assert np.abs(policies(result)[k + 1] - softmax(np.log(policies(result)[k]) - step * Q)).max() < 1e-12


def test_the_balanced_tolerance():
    cmdp, T = load("textbook:three-state").cmdp, 50
    alpha = (1 - cmdp.gamma) ** 2 * np.sqrt(8 * np.log(cmdp.A) / T)
    assert balanced_tolerance(alpha, cmdp) == pytest.approx(
        np.sqrt(np.log(cmdp.A) / (2 * T)) / (1 - cmdp.gamma) ** 2
    )


def test_a_proximal_step_beats_other_policies():
    """PMD-PD's step maximises the Lagrangian less the divergence, which any other policy shows."""
    problem = load("random-mdp:seed=1")
    result = run("pmd-pd", problem, 3, eta_dual=0.05, record="iterates")
    cmdp, (before, after) = problem.cmdp, policies(result)[1:3]
    f = result.costs.value[1] - cmdp.d
    weights = result.multipliers[1, 0, 0] + 0.05 * f
    alpha = 0.05 * (np.ptp(cmdp.c, axis=(1, 2)) ** 2).sum() / (4 * (1 - cmdp.gamma) ** 3)

    def objective(p):
        values = evaluate(cmdp, np.log(p)).at_rho.value
        divergence = (p * np.log(p / before)).sum(axis=1)
        d = visitation(cmdp, np.log(p)).value
        return values[0] - weights @ values[1:] - alpha / (1 - cmdp.gamma) * (d @ divergence)

    rng = np.random.default_rng(0)
    best = objective(after)
    for scale in (1e-3, 1e-2, 1e-1, 1.0):
        for _ in range(20):
            assert objective(softmax(np.log(after) + scale * rng.normal(size=after.shape))) <= best + 1e-10
    assert objective(before) < best - 1e-6


def test_the_dual_method_finds_the_regularised_saddle_point():
    """The dual function's slope goes to 0 where a multiplier is positive, and is not positive elsewhere."""
    problem = load("random-mdp:seed=3,gamma=0.5")
    result = run("entropy-dual", problem, 400, tau=0.5, eta_dual=0.3)
    slope, early = (result.costs.value[k] - problem.cmdp.d for k in (-1, 10))
    lam = result.final_multipliers[0]
    assert (lam > 0).any()
    assert np.abs(slope[lam > 0]).max() < 1e-3 * np.abs(early).max()
    assert (slope[lam == 0] <= 0).all()


@settings(max_examples=100)
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(1, 6))
def test_projection(seed, S, A):
    """The projection is a policy, and no policy is nearer (the angle at it is obtuse)."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(S, A)) * 3
    p = projected(x)
    assert (p >= 0).all()
    assert np.abs(p.sum(axis=1) - 1).max() < 1e-12
    for other in rng.dirichlet(np.ones(A), size=(10, S)):
        assert (((x - p) * (other - p)).sum(axis=1) <= 1e-9).all()


@pytest.mark.parametrize("graph", GRAPHS)
@pytest.mark.parametrize("N", [1, 2, 3, 6])
def test_mixing_matrices(graph, N):
    W = mixing_matrix(graph, N, seed=5)
    assert (W == W.T).all()
    assert (W >= 0).all()
    assert np.abs(W.sum(axis=1) - 1).max() < 1e-15 * N
    assert 0 <= mixing_gap(W) < 1 - 1e-9
    if graph == "complete":
        assert mixing_gap(W) < 1e-15


@pytest.mark.parametrize("graph", GRAPHS)
def test_mixing_matrices_are_doubly_stochastic_in_exact_arithmetic(graph):
    with precision(64):
        W = mixing_matrix(graph, 3, seed=5)
        assert W.is_rational
        assert (W.sum(axis=0) == 1.0).all()
        assert (W.sum(axis=1) == 1.0).all()


def test_trackers_keep_the_mean_of_the_q_functions():
    """Mixing and adding differences keeps the mean of the trackers at the mean of the agents' own Q."""
    from tabular_fedrl.algorithms.decentralised import decentralised_fednpg, own_q
    from tabular_fedrl.federation import PublicSteps, federate

    problem = load("random-mdp:seed=1")
    federation = federate(problem, PublicSteps(0.05, np.zeros(4), np.ones(4)), share=False)
    rounds = decentralised_fednpg(federation, mixing_matrix("ring", 4), 0.0)
    for _ in range(5):
        next(rounds)
        tracker, Q = federation.server.memory
        own = [own_q(a.view, x, 0.0) for a, x in zip(federation.agents, federation.server.log_policy)]
        assert np.abs(Q - own).max() < 1e-12
        assert np.abs(tracker.mean(axis=0) - Q.mean(axis=0)).max() < 1e-12
        assert np.abs(tracker - Q).max() > 1e-3
    # Two neighbours, a policy and a tracker each.
    assert federation.ledger.bits("up") == 64 * 5 * 4 * 2 * 2 * 15


@pytest.mark.parametrize("name", ["opg-pd", "decentralised-fednpg", "entropy-dual", "mirror-descent"])
def test_what_the_server_remembers_survives_an_interrupt(tmp_path, name):
    """A run stopped between two stretches and resumed is the uninterrupted one."""
    problem, rounds = load("random-mdp:seed=1"), 700
    whole = run(name, problem, rounds, compare=False)

    def stop(done, _):
        if done >= 100:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(name, problem, rounds, compare=False, out=tmp_path / "run.npz", progress=stop)
    resumed = run(name, problem, rounds, compare=False, out=tmp_path / "run.npz", resume=True)
    assert (resumed.final_log_policy == whole.final_log_policy).all()
    assert (resumed.value.value == whole.value.value).all()


def test_own_kernels():
    problem = load("random-mdp:seed=1")
    mean = mean_kernel(problem, {"spread": 0.3, "kernel_seed": 1})
    own = own_kernels(mean.cmdp, problem.N, 0.3, 1)
    assert np.abs(np.mean([x.P for x in own], axis=0) - mean.cmdp.P).max() < 1e-15
    assert np.abs(own[0].P - mean.cmdp.P).max() > 0.01
    with pytest.raises(InvalidProblem, match="spread = 2"):
        run("policy-averaging", problem, 2, spread=2)


def test_policy_averaging_without_spread_is_fednpg_without_constraints():
    problem = load("random-mdp:seed=1")
    cmdp = problem.cmdp
    alone = FederatedCMDP(cmdp.replace(c=cmdp.c[:0], d=cmdp.d[:0]), [()] * 4)
    ours = run("policy-averaging", problem, 20, spread=0.0, local_steps=3, eta=0.1, compare=False)
    theirs = run("fednpg", alone, 20, local_steps=3, eta=0.1, dual_cap=0.0, compare=False)
    assert np.abs(np.exp(ours.final_log_policy) - np.exp(theirs.final_log_policy)).max() < 1e-13


def test_the_gradient_of_the_surrogate():
    """Against differences, where some ratios are clipped."""
    rng = np.random.default_rng(3)
    S, A, m, clip, factor = 2, 4, 2, 0.2, 0.5
    old = rng.dirichlet(np.ones(A), size=S)
    logits = np.log(old) + 0.5 * rng.normal(size=(S, A))
    advantages, lam, d = rng.normal(size=(1 + m, S, A)), rng.random(m), rng.dirichlet(np.ones(S))

    def surrogate(logits):
        q = softmax(logits) / old
        reward = np.minimum(q * advantages[0], np.clip(q, 1 - clip, 1 + clip) * advantages[0])
        costs = (lam[:, None, None] * q * advantages[1:]).sum(axis=0)
        return (d[:, None] * old * (factor * reward - costs)).sum() / (factor + lam.sum())

    ratio = softmax(logits) / old
    assert (ratio > 1.2).any()
    weights = surrogate_weights(advantages, lam, factor, ratio, clip)
    gradient = logit_gradient(softmax(logits), d, weights)
    for s in range(S):
        for a in range(A):
            h = np.zeros((S, A))
            h[s, a] = 1e-6
            slope = (surrogate(logits + h) - surrogate(logits - h)) / 2e-6
            assert gradient[s, a] == pytest.approx(slope, abs=1e-8)


def test_gradient_steps_start_from_policies():
    """Each of an update's steps is taken at the policy of its logits, of mass 1."""
    problem = load("textbook:three-state")
    cmdp, clip, eta = problem.cmdp, 0.05, 3.0
    given = {"eta": eta, "eta_dual": 0.0, "initial_multipliers": 0.5, "dual_cap": 1.0}
    result = run("fedppo", problem, 1, clip=clip, epochs=3, target=1e9, compare=False, **given)
    start = np.full((cmdp.S, cmdp.A), -np.log(cmdp.A))
    values, d = evaluate(cmdp, start), visitation(cmdp, start).value
    lam, logits = np.full(cmdp.m, 0.5), start
    for _ in range(3):
        weights = surrogate_weights(values.advantage.value, lam, 1.0, softmax(logits) / softmax(start), clip)
        logits = logits + eta * logit_gradient(softmax(logits), d, weights)
    assert problem.N == 1
    assert np.abs(softmax(logits) - softmax(start)).max() > clip
    assert np.exp(result.final_log_policy) == pytest.approx(softmax(logits), abs=1e-12)


@pytest.mark.parametrize("name", ["pmd-pd", "opg-pd", "crpo", "rpg-pd", "npg", "entropy-npg", "fedppo"])
def test_they_come_near_the_optimum(name):
    """On two arms, the last iterate or the average of the second half."""
    given = {"opg-pd": {"eta": 0.3}, "rpg-pd": {"tau": 0.01}, "fedppo": {"eta": 0.3}}.get(name, {})
    problem = load("textbook:two-arm")
    result = run(name, problem, 2000, **given)
    half = slice(1000, None)
    assert abs(float((result.solution.value - result.value[half].mean()).value)) < 0.06
    assert (result.costs[half].mean(axis=0).value <= result.problem.cmdp.d + 0.06).all()


def test_pmd_pd_needs_a_cost():
    constant = CMDP(np.ones((1, 2, 1)), [[0.0, 1.0]], np.ones((1, 1, 2)), [2.0], [1.0], 0.0)
    with pytest.raises(InvalidProblem, match="not constant"):
        run("pmd-pd", constant, 2)


def test_all_are_listed():
    names = {"npg", "entropy-npg", "mirror-descent", "rpg-pd", "opg-pd", "pmd-pd", "crpo", "entropy-dual"}
    assert names | {"decentralised-fednpg", "policy-averaging", "fedppo"} <= set(ALGORITHMS)
