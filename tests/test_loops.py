"""The compiled loops against the specification, problem by problem."""

from dataclasses import replace

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_fedrl.cmdp import CMDP, FederatedCMDP, exact
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.kernels import lanes
from tabular_fedrl.kernels.packs import PACK, aligned
from tabular_fedrl.loops import Batch, fednpg
from tabular_fedrl.loops.lanes import lanes as width
from tabular_fedrl.loops.lanes import to_lanes
from tabular_fedrl.runner import run

ULP = 2.0**-52


def random_mask(g, N, m):
    """Every agent sees a constraint, every constraint is seen; overlaps as they come."""
    mask = g.random((N, m)) < 0.2
    mask[np.arange(N), g.integers(m, size=N)] = True
    mask[g.integers(N, size=m), np.arange(m)] = True
    return mask


def random_batch(seed, B, S, A, m, N):
    """Sparse Dirichlet rows, signals of any sign and scale, a discount from 0 to 0.95 for each problem."""
    g = np.random.default_rng(seed)
    P = g.dirichlet(np.ones(S), size=(B, S, A)) * (g.random((B, S, A, S)) < 0.7)
    P[..., 0] += 1e-3
    gamma = g.choice([0.0, 0.5, 0.9, 0.95], size=B)
    scale = 10.0 ** g.uniform(-1, 1, size=(B, 1, 1, 1))
    return Batch(
        P=P / P.sum(axis=-1, keepdims=True),
        r=g.uniform(-1, 1, size=(B, S, A)) * scale[:, 0],
        c=g.uniform(-1, 1, size=(B, m, S, A)),
        d=g.uniform(-0.5, 0.2, size=(B, m)) / (1 - gamma[:, None]),
        rho=g.dirichlet(np.ones(S), size=B),
        gamma=gamma,
        mask=random_mask(g, N, m),
    )


def random_steps(seed, batch):
    g = np.random.default_rng(seed)
    eta = 10.0 ** g.uniform(-2, 0.3, size=batch.B) * (1 - batch.gamma) ** 2
    eta_dual = g.uniform(0, 3, size=(batch.B, batch.m)) * (1 - batch.gamma[:, None])
    return eta, eta_dual, g.uniform(0.1, 5, size=(batch.B, batch.m))


def specification(batch, i, K, E, steps, geometric):
    eta, eta_dual, cap = (x[i] for x in steps)
    return run(
        "fednpg",
        batch.problem(i),
        K,
        local_steps=E,
        eta=eta,
        eta_dual=eta_dual,
        dual_cap=cap,
        aggregation="geometric" if geometric else "arithmetic",
        compare=False,
        record="iterates",
    )


def drifts(r):
    """L3's quantities from the iterates: moves of a step ``(N,)``, drift of values per step ``(N, 1+m)``."""
    moves = np.abs(np.diff(np.exp(r.iterates.local), axis=2)).sum(axis=-1).max(axis=(0, 2, 3))
    local = np.concatenate([r.local_value.value[..., None], r.local_costs.value], axis=-1)
    away = np.abs(local - local[:, :, :1]).max(axis=0)
    steps = np.maximum(np.arange(away.shape[1]), 1)
    return moves, (away / steps[:, None]).max(axis=1)


@settings(max_examples=150)
@given(
    seed=st.integers(0, 2**32 - 1),
    B=st.integers(1, 5),
    S=st.integers(1, 5),
    A=st.integers(2, 4),
    m=st.integers(1, 3),
    N=st.integers(1, 4),
    E=st.integers(1, 5),
    geometric=st.booleans(),
)
def test_the_loop_is_the_specification(seed, B, S, A, m, N, E, geometric):
    batch = random_batch(seed, B, S, A, m, N)
    steps = random_steps(seed + 1, batch)
    K = 12
    ours = fednpg(batch, K, E, *steps, geometric=geometric)
    for i in range(B):
        r = specification(batch, i, K, E, steps, geometric)
        size = 1e-10 * np.abs(batch.signals[i]).max() / (1 - batch.gamma[i])
        assert abs(ours.value[i] - r.average_value.value) <= size
        assert np.abs(ours.costs[i] - r.average_costs.value).max() <= size
        assert abs(ours.local_value[i] - r.local_average_value.value) <= size
        assert np.abs(ours.local_costs[i] - r.local_average_costs.value).max() <= size
        assert np.abs(np.exp(ours.log_policy[i]) - np.exp(r.final_log_policy)).max() <= 1e-10
        assert np.allclose(ours.multipliers[i], r.final_multipliers, rtol=0, atol=1e-9, equal_nan=True)
        moves, away = drifts(r)
        assert abs(ours.drift[i] - r.drift.max()) <= 1e-10
        assert np.abs(ours.step[i] - moves).max() <= 1e-10
        assert np.abs(ours.value_drift[i] - away).max() <= size


def test_the_other_mean_is_told_apart():
    """A control: the agreement above is no accident of short runs."""
    batch = replace(random_batch(1, 3, 3, 2, 2, 2), mask=np.eye(2))
    steps = random_steps(2, batch)
    ours = fednpg(batch, 12, 3, *steps, geometric=True)
    others = [specification(batch, i, 12, 3, steps, False).average_value.value for i in range(3)]
    assert np.abs(ours.value - others).min() > 1e-6


@pytest.mark.parametrize("E", [1, 3])
def test_one_agent_that_sees_everything_is_npg_pd(E):
    batch = random_batch(3, 4, 3, 3, 2, 3)
    eta, eta_dual, cap = random_steps(4, batch)
    ours = fednpg(batch.central(), 20, E, eta, eta_dual, cap)
    name, local = ("npg-pd", {}) if E == 1 else ("omniscient", {"local_steps": E})
    for i in range(batch.B):
        steps = {"eta": eta[i], "eta_dual": eta_dual[i], "dual_cap": cap[i]}
        r = run(name, batch.problem(i), 20, compare=False, **local, **steps)
        assert abs(ours.value[i] - r.average_value.value) <= 1e-10 * (1 + abs(ours.value[i]))
        assert np.abs(ours.multipliers[i] - r.final_multipliers).max() <= 1e-10


def test_without_constraints():
    g = np.random.default_rng(5)
    cmdp = CMDP(g.dirichlet(np.ones(3), size=(3, 2)), g.random((3, 2)), [], [], [1, 0, 0], 0.8)
    problem = FederatedCMDP(cmdp, [(), ()])
    ours = fednpg(Batch.of([problem]), 10, 2, 0.3, 0.0, 0.0)
    r = run("fednpg", problem, 10, local_steps=2, eta=0.3, compare=False)
    assert abs(ours.value[0] - r.average_value.value) <= 1e-12
    assert ours.costs.shape == (1, 0)


def test_a_problem_does_not_feel_its_neighbours():
    """Bit for bit, whatever the batch, its block and the number of threads."""
    batch = random_batch(6, 300, 3, 2, 2, 2)
    steps = random_steps(7, batch)
    together = fednpg(batch, 30, 2, *steps)
    some = np.array([299, 0, 131, 255, 256])
    apart = fednpg(batch.take(some), 30, 2, *(x[some] for x in steps))
    threads = numba.get_num_threads()
    try:
        numba.set_num_threads(1)
        alone = fednpg(batch, 30, 2, *steps)
    finally:
        numba.set_num_threads(threads)
    for name in ("value", "costs", "local_costs", "drift", "step", "value_drift", "log_policy"):
        assert np.array_equal(getattr(together, name)[some], getattr(apart, name))
        assert np.array_equal(getattr(together, name), getattr(alone, name))


def test_an_overflow_stays_in_its_lane():
    batch = random_batch(8, 4, 3, 2, 1, 2)
    eta, eta_dual, cap = random_steps(9, batch)
    wild = np.where(np.arange(4) == 2, 1e308, eta)
    ours, calm = fednpg(batch, 20, 2, wild, eta_dual, cap), fednpg(batch, 20, 2, eta, eta_dual, cap)
    assert np.array_equal(np.isnan(ours.log_policy).any(axis=(1, 2)), [False, False, True, False])
    assert np.array_equal(ours.value[[0, 1, 3]], calm.value[[0, 1, 3]])


# ---- building blocks --------------------------------------------------------------------------------------
def test_exponential_and_logarithm():
    x = np.concatenate([np.linspace(-708, 700, 100_001), np.linspace(-1, 1, 10_001), [0.0, -1e-300]])
    ours = np.array([lanes.exp(v) for v in x])
    assert np.abs(ours / np.exp(x) - 1).max() <= 2 * ULP
    assert lanes.exp(0.0) == 1.0
    assert lanes.exp(-1e4) == 0.0
    assert np.isnan(lanes.exp(np.nan))
    y = np.concatenate([np.exp(np.linspace(-700, 700, 100_001)), 1 + np.linspace(-0.3, 0.5, 10_001)])
    error = np.abs(np.array([lanes.log(v) for v in y]) - np.log(y))
    assert (error <= 2 * ULP * np.maximum(np.abs(np.log(y)), 1e-3)).all()
    assert lanes.log(1.0) == 0.0


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.9999])
def test_elimination_without_pivoting_is_stable(gamma):
    g = np.random.default_rng(10)
    S, A, W = 20, 2, 8
    P = g.dirichlet(np.full(S, 0.05), size=(W, S, A))
    f, pi = g.standard_normal((W, 3, S, A)), g.dirichlet(np.ones(A), size=(W, S))
    V, matrix = np.empty((3, S, W)), np.empty((S, S, W))
    last = [np.ascontiguousarray(np.moveaxis(x, 0, -1)) for x in (P, f, pi)]
    lanes.policy_values(*last, np.full(W, gamma), matrix, V)
    P_pi, f_pi = np.einsum("wsa,wsat->wst", pi, P), np.einsum("wsa,wksa->wks", pi, f)
    for w in range(W):
        residual = V[..., w] - gamma * V[..., w] @ P_pi[w].T - f_pi[w]
        assert np.abs(residual).max() <= 20 * ULP * np.abs(V[..., w]).max() * S


def test_lanes_come_in_packs():
    """Entries past the last pack would be another array's."""
    P, pi, gamma = np.ones((1, 1, 1, 12)), np.ones((1, 1, 12)), np.zeros(12)
    with pytest.raises(ValueError, match="packs of eight"):
        lanes.factor(P, pi, gamma, np.empty((1, 1, 12)))
    assert all(to_lanes(np.ones((B, 2)), width(B, 8)).shape[-1] % PACK == 0 for B in (1, 9, 1000))
    assert all(aligned((3, n)).ctypes.data % 64 == 0 for n in range(1, 9))


# ---- batches ----------------------------------------------------------------------------------------------
def test_batches_hold_problems():
    batch = random_batch(11, 5, 3, 2, 2, 3)
    problems = [batch.problem(i) for i in range(5)]
    again = Batch.of(problems)
    assert [again.problem(i) for i in range(5)] == problems
    assert again.take([3, 1]).problem(0) == problems[3]
    assert len(again.take(again.gamma >= 0)) == 5
    assert np.array_equal(batch.central().mask, [[True, True]])
    assert np.allclose(batch.spans[:, 0], np.ptp(batch.r, axis=(1, 2)))


def test_rows_off_by_rounding_are_normalised_like_a_cmdp():
    batch = random_batch(12, 2, 3, 2, 1, 1)
    off = Batch(batch.P * (1 + 1e-11), batch.r, batch.c, batch.d, batch.rho, batch.gamma, batch.mask)
    assert np.abs(off.P.sum(axis=-1) - 1).max() <= 4 * ULP
    assert np.array_equal(off.problem(1).cmdp.P, off.P[1])


@pytest.mark.parametrize(
    "field, place, value, message",
    [
        ("P", (1, 2, 0), 0.5, "row P[1, 2, 0] sums to 1.5"),
        ("P", (0, 1, 1, 2), np.nan, "P[0, 1, 1, 2] = nan"),
        ("P", (0, 1, 1, 2), -0.25, "P[0, 1, 1, 2] = -0.25 is not a probability"),
        ("rho", (1, 0), 7.0, "rho[1, 0] = 7 is not a probability"),
        ("c", (1, 0, 2, 1), np.inf, "c[1, 0, 2, 1] = inf is not finite"),
        ("gamma", (1,), 1.0, "gamma[1] = 1 is outside"),
        ("mask", (0,), False, "every agent must see"),
    ],
)
def test_bad_arrays_name_their_place(field, place, value, message):
    batch = random_batch(13, 2, 3, 2, 2, 2)
    fields = {name: np.array(getattr(batch, name)) for name in ("P", "r", "c", "d", "rho", "gamma", "mask")}
    fields[field][place] = value
    with pytest.raises(InvalidProblem) as error:
        Batch(**fields)
    assert message in str(error.value)


def test_what_does_not_fit_is_refused():
    batch = random_batch(14, 2, 3, 2, 2, 2)
    with pytest.raises(InvalidProblem, match=r"c has shape \(2, 2, 3, 2\): expected \(2, 1, 3, 2\)"):
        Batch(batch.P, batch.r, batch.c, batch.d[:, :1], batch.rho, batch.gamma, batch.mask[:, :1])
    with pytest.raises(InvalidProblem, match="problem 1 of the batch"):
        Batch.of([batch.problem(0), random_batch(15, 1, 3, 3, 2, 2).problem(0)])
    with pytest.raises(InvalidProblem, match="at least one problem"):
        Batch.of([])
    with pytest.raises(InvalidProblem, match="problem 1 of the batch has exact numbers"):
        Batch.of([batch.problem(0), exact(batch.problem(0))])
    with pytest.raises(InvalidProblem, match=r"eta has shape \(3,\): expected \(2,\)"):
        fednpg(batch, 1, 1, [0.1, 0.1, 0.1], 0.1, 1.0)
    with pytest.raises(InvalidProblem, match=r"dual_cap\[1, 0\] = -1"):
        fednpg(batch, 1, 1, 0.1, 0.1, [[1.0, 1.0], [-1.0, 1.0]])
    with pytest.raises(InvalidProblem, match="rounds = 0"):
        fednpg(batch, 0, 1, 0.1, 0.1, 1.0)
    for other in ("opg-pd", "decentralised-fednpg", "pmd-pd", "sarsa"):
        with pytest.raises(InvalidProblem, match=f"no loop in lockstep for '{other}'"):
            fednpg(batch, 1, 1, 0.1, 0.1, 1.0, algorithm=other)
