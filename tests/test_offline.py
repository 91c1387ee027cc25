"""Datasets, their files, counts, the empirical problem, the simulator."""

import sys
import types
import zipfile
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from problems import random_cmdp

from tabular_fedrl.balls import precision
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate, visitation
from tabular_fedrl.instances import load
from tabular_fedrl.kernels.trajectories import trajectories, trajectories_plain
from tabular_fedrl.offline import (
    Dataset,
    behaviour,
    count,
    coverage,
    draw,
    empirical,
    expected_return,
    extended,
    grades,
    load_dataset,
    load_minari,
    mixtures,
    qualities,
    save_dataset,
    trajectory_quality,
)
from tabular_fedrl.offline.simulate import _summed_rows, ending
from tabular_fedrl.policies import random_log_policy, uniform
from tabular_fedrl.solvers.policy_iteration import optimise

# client, state, action, reward, cost, next state, terminal: three states, two actions, two clients
ROWS = [
    (0, 0, 0, 1.0, 0.5, 1, False),
    (1, 1, 1, 0.5, 0.0, 1, False),
    (0, 1, 1, 0.0, 0.0, 0, False),
    (0, 0, 0, 2.0, 1.5, 0, False),
    (0, 0, 1, 0.5, 0.0, 2, True),
    (0, 0, 0, 0.0, 0.0, 1, False),
]


def table(rows=ROWS, S=3, A=2, N=2):
    client, state, action, reward, cost, next_state, terminal = (np.array(x) for x in zip(*rows))
    return Dataset(client, state, action, reward, cost[:, None], next_state, terminal, S, A, N)


def behaviours(cmdp, N=2, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([random_log_policy(rng, cmdp.S, cmdp.A) for _ in range(N)])


# ---- the table ---------------------------------------------------------------------------------------------
def test_a_dataset_splits_and_pools_by_client():
    data = table()
    assert len(data) == 6
    assert data.m == 1
    assert data.of(0).reward.tolist() == [1.0, 0.0, 2.0, 0.5, 0.0]
    assert data.of(1).state.tolist() == [1]
    pooled = data.pooled()
    assert pooled.N == 1
    assert len(pooled.of(0)) == 6
    assert data.digest == table().digest != pooled.digest


def test_a_dataset_is_frozen():
    data = table()
    with pytest.raises(ValueError, match="read-only"):
        data.reward[0] = 3.0
    with pytest.raises(AttributeError):
        data.S = 4


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"state": np.array([0, 1, 1, 0, 7, 0])}, "row 4: state = 7 is outside 0..2"),
        ({"client": np.array([0, 1, 0, 0, -1, 0])}, "row 4: client = -1 is outside 0..1"),
        ({"action": np.array([0.0, 1, 1, 0, 1, 0])}, "action is float64"),
        ({"next_state": np.array([1, 1])}, "next_state is int64 of shape"),
        ({"reward": np.array([0, 1, np.nan, 0, 0, 0])}, "row 2: reward = nan is not finite"),
        ({"costs": np.array([0.0, 1.0])}, "costs has shape"),
        ({"terminal": np.zeros(6)}, "terminal is float64"),
        ({"terminal": np.array([1, 0, 0, 0, 0, 0], bool)}, "row 1: an action is taken in state 1"),
        ({"A": 0}, "at least one action"),
    ],
)
def test_bad_tables_name_the_row(changes, says):
    with pytest.raises(InvalidProblem, match=says):
        replace(table(), **changes)


def test_of_names_the_clients_there_are():
    with pytest.raises(InvalidProblem, match="no client 2: there are 2"):
        table().of(2)


# ---- files -------------------------------------------------------------------------------------------------
def test_files_keep_everything(tmp_path):
    path = tmp_path / "data.npz"
    save_dataset(path, table())
    assert load_dataset(path).digest == table().digest


def test_sizes_costs_and_ends_may_be_left_out(tmp_path):
    data = table()
    keys = ("client", "state", "action", "reward", "next_state")
    np.savez(tmp_path / "data.npz", **{key: getattr(data, key) for key in keys})
    read = load_dataset(tmp_path / "data.npz")
    assert (read.S, read.A, read.N, read.m, read.terminal.any()) == (3, 2, 2, 0, False)


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"state": None}, "'state' is missing"),
        ({"reward": np.array([None] * 6)}, "holds object"),
        ({"terminal": np.zeros(6)}, "expected booleans"),
        ({"sizes": np.array([3, 2])}, "sizes has shape"),
        ({"sizes": np.array([2, 2, 2])}, "state|next_state"),
        ({"sizes": np.array([10**6, 10**6, 2])}, "too many"),
        ({"state": np.array([0, 1, 1, 0, 10**15, 0])}, "too many"),
        ({key: np.zeros(0, int) for key in ("client", "state", "action", "next_state", "reward")}, "no tran"),
    ],
)
def test_bad_files_are_refused_in_one_line(tmp_path, changes, says):
    path = tmp_path / "data.npz"
    data = table()
    arrays = {k: getattr(data, k) for k in ("client", "state", "action", "reward", "next_state", "terminal")}
    arrays |= changes
    np.savez(path, **{key: x for key, x in arrays.items() if x is not None})
    with pytest.raises(InvalidProblem, match=says) as caught:
        load_dataset(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_truncated_missing_and_lying_files_are_refused(tmp_path):
    path = tmp_path / "data.npz"
    with pytest.raises(InvalidProblem, match="cannot be read"):
        load_dataset(path)
    save_dataset(path, table())
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(InvalidProblem, match="truncated"):
        load_dataset(path)
    header = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<i8', 'fortran_order': False, 'shape': (10**12,), }"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("client.npy", header.replace(b"10**12", b"1000000000000").ljust(127) + b"\n")
    with pytest.raises(InvalidProblem, match=r"declares|not an array"):
        load_dataset(path)
    with pytest.raises(InvalidProblem, match="cannot write"):
        save_dataset(tmp_path / "nowhere" / "data.npz", table())


# ---- counts ------------------------------------------------------------------------------------------------
def test_counts_and_the_empirical_problem_by_hand():
    counts = count(table())[0]
    assert counts.pairs.tolist() == [[3, 1], [0, 1], [0, 0]]
    assert counts.states.tolist() == [4, 1, 0]
    assert counts.n == 5
    assert counts.reward[0] == pytest.approx([1.0, 0.5])
    assert counts.P[0, 0] == pytest.approx([1 / 3, 2 / 3, 0])
    model = empirical(counts, 0.9, [0.5, 0.5, 0.0], -7.0, thresholds=[1.0])
    beyond = [0, 0, 0, 1]
    assert model.P[0, 0] == pytest.approx([1 / 3, 2 / 3, 0, 0])
    assert model.P[0, 1].tolist() == [0, 0, 1, 0]
    assert model.P[1].tolist() == [beyond, [1, 0, 0, 0]]
    # State 2 ends episodes: it is absorbing and earns nothing; what was never seen earns the least there is.
    assert model.P[2].tolist() == [[0, 0, 1, 0]] * 2
    assert model.P[3].tolist() == [beyond] * 2
    assert model.r.tolist() == [[1.0, 0.5], [-7.0, 0.0], [0.0, 0.0], [-7.0, -7.0]]
    assert model.c[0] == pytest.approx(np.array([[2 / 3, 0], [1.5, 0], [0, 0], [1.5, 1.5]]))
    assert empirical(counts, 0.9, [1, 0, 0]).m == 0


def test_empirical_probabilities_are_rational_in_balls():
    counts = count(table())[0]
    with precision(64):
        model = empirical(counts, 0.5, [1, 0, 0])
        assert model.is_exact
        assert model.P.is_rational
        third = model.P.items[0, 0, 0]
        assert Fraction(int(third.p), int(third.q)) == Fraction(1, 3)
        log_b = behaviour([counts], uniform(3, 2))
        assert log_b[0].is_minus_infinity.tolist() == [[False, False], [True, False], [False, False]]
        assert (abs(log_b[0].exp()[0, 0] - 0.75) < 1e-15).all()


def test_sparse_and_dense_empirical_problems_agree(monkeypatch):
    cmdp = random_cmdp(0, S=6, A=3, m=1, gamma=0.9)
    counts = count(draw(cmdp, behaviours(cmdp), 60))[1]
    dense = empirical(counts, 0.9, cmdp.rho)
    monkeypatch.setattr("tabular_fedrl.offline.counts.DENSE_STATES", 2)
    sparse = empirical(counts, 0.9, cmdp.rho)
    assert sparse.is_sparse
    assert np.abs(sparse.rows.toarray() - dense.rows).max() == 0


def test_empirical_behaviour():
    counts = count(table())
    log_pi = np.log([[0.3, 0.7]] * 3)
    plain = np.exp(behaviour(counts, log_pi))
    assert plain[0] == pytest.approx(np.array([[0.75, 0.25], [0, 1], [0.3, 0.7]]))
    assert plain[1] == pytest.approx(np.array([[0.3, 0.7], [0, 1], [0.3, 0.7]]))
    smooth = np.exp(behaviour(counts, log_pi, 0.5))
    assert smooth[0] == pytest.approx(np.array([[0.7, 0.3], [0.25, 0.75], [0.3, 0.7]]))
    with pytest.raises(InvalidProblem, match="smoothing"):
        behaviour(counts, log_pi, -1.0)


@pytest.mark.parametrize("kind", ["trajectories", "generative"])
def test_the_gap_of_the_empirical_problem_is_that_of_lemma_4(kind):
    """J(pi, M^) - J(pi, M) = E_{d^, pi}[(r^ - r) + gamma (P^ - P) V_M]/(1 - gamma): both problems written
    down with the additional state."""
    cmdp = random_cmdp(3, S=5, A=3, m=0, gamma=0.8)
    counts = count(draw(cmdp, behaviours(cmdp), 25, seed=2, kind=kind, rewards="bernoulli"))[0]
    model = empirical(counts, 0.8, cmdp.rho, 0.0)
    log_pi = extended(behaviours(cmdp, 1, seed=9)[0])
    V = np.append(evaluate(cmdp, log_pi[:-1]).V.value[0], 0.0)
    true_r = np.vstack([cmdp.r, np.zeros(3)])
    true_P = np.zeros_like(model.P)
    true_P[:5, :, :5], true_P[5, :, 5] = cmdp.P, 1.0
    z = model.r - true_r + 0.8 * (model.P - true_P) @ V
    d = visitation(model, log_pi).value
    gap = evaluate(model, log_pi).at_rho.value[0] - cmdp.rho @ V[:5]
    assert gap == pytest.approx((d[:, None] * np.exp(log_pi) * z).sum() / 0.2, rel=1e-9)


def test_extended_adds_a_uniform_row():
    log_pi = behaviours(random_cmdp(0, S=4, A=3, m=0, gamma=0.5), 2)
    assert extended(log_pi).shape == (2, 5, 3)
    assert np.exp(extended(log_pi[0])[4]) == pytest.approx([1 / 3] * 3)
    with precision(80):
        from tabular_fedrl.balls import Balls

        assert extended(Balls(log_pi)).shape == (2, 5, 3)


# ---- the simulator -----------------------------------------------------------------------------------------
def test_the_same_seed_draws_the_same_data():
    cmdp = random_cmdp(1, S=6, A=3, m=2, gamma=0.9)
    log_b = behaviours(cmdp, 3)
    data = draw(cmdp, log_b, [50, 20, 30], seed=4)
    assert data.digest == draw(cmdp, log_b, [50, 20, 30], seed=4).digest
    assert data.digest != draw(cmdp, log_b, [50, 20, 30], seed=5).digest
    assert np.bincount(data.client).tolist() == [50, 20, 30]
    # A client's rows do not depend on who else there is.
    assert draw(cmdp, log_b[:1], 50, seed=4).of(0).digest == replace(data.of(0), N=1).digest
    assert data.reward == pytest.approx(cmdp.r[data.state, data.action])
    assert data.costs == pytest.approx(cmdp.c[:, data.state, data.action].T)


def test_compiled_and_plain_trajectories_are_the_same():
    cmdp = random_cmdp(1, S=6, A=3, m=0, gamma=0.7, sparse=True)
    policy = np.cumsum(np.exp(behaviours(cmdp, 1)[0]), axis=1)
    ends = np.arange(6) == 2
    runs = [
        function(*_summed_rows(cmdp), policy, np.cumsum(cmdp.rho), 0.7, ends, 500, np.random.default_rng(0))
        for function in (trajectories, trajectories_plain)
    ]
    for x, y in zip(*runs):
        assert np.array_equal(x, y)
    states, actions, after = runs[0]
    assert (cmdp.rows.toarray()[states * 3 + actions, after] > 0).all()
    assert 2 not in states[1:][after[:-1] == 2] or cmdp.rho[2] > 0


@pytest.mark.parametrize("kind", ["trajectories", "generative"])
def test_pairs_follow_the_visitation(kind):
    """Mean visits within six standard deviations (inflated by the correlation within an episode)."""
    cmdp = random_cmdp(2, S=5, A=2, m=0, gamma=0.8)
    log_b = behaviours(cmdp, 1)
    n = 40_000
    data = draw(cmdp, log_b, n, seed=1, kind=kind)
    law = (visitation(cmdp, log_b[0]).value[:, None] * np.exp(log_b[0])).ravel()
    seen = np.bincount(data.state * 2 + data.action, minlength=10) / n
    assert np.abs(seen - law).max() < 6 * np.sqrt(0.25 / n) * (3 if kind == "trajectories" else 1)
    counts = count(data)[0]
    assert np.abs(counts.P - cmdp.P)[counts.pairs > 500].max() < 6 * np.sqrt(0.25 / 500)


def test_bernoulli_rewards_have_the_right_mean():
    cmdp = random_cmdp(2, S=3, A=2, m=0, gamma=0.5)
    data = draw(cmdp, behaviours(cmdp, 1), 60_000, kind="generative", rewards="bernoulli")
    assert set(np.unique(data.reward)) == {cmdp.r.min(), cmdp.r.max()}
    counts = count(data)[0]
    assert np.abs(counts.reward - cmdp.r).max() < 6 * 0.5 / np.sqrt(counts.pairs.min())


def test_episodes_end_where_nothing_happens_any_more():
    lake = load("gym:FrozenLake-v1").cmdp
    assert set(np.flatnonzero(ending(lake))) == {5, 7, 11, 12, 15}
    data = draw(lake, mixtures(lake, grades(2)), 300)
    assert data.terminal.any()
    assert not ending(lake)[data.state].any()
    model = empirical(count(data)[0], lake.gamma, lake.rho)
    assert not model.r[[5, 7, 11, 12, 15]].any()
    # An end with a cost, or one that is also a start, is a state like any other.
    assert not ending(lake.replace(c=lake.c + 1)).any()
    assert not ending(lake.replace(rho=np.full(16, 1 / 16))).any()


@pytest.mark.parametrize(
    "changes, says",
    [
        ({"transitions": 0}, "transitions = 0"),
        ({"transitions": [5, 5, 5]}, "transitions"),
        ({"transitions": 2.5}, "transitions"),
        ({"kind": "episodes"}, "kind 'episodes'"),
        ({"rewards": "normal"}, "rewards 'normal'"),
        ({"behaviours": np.zeros((2, 3, 3))}, "the behaviours have shape"),
    ],
)
def test_bad_draws_are_refused(changes, says):
    cmdp = random_cmdp(0, S=4, A=3, m=0, gamma=0.5)
    with pytest.raises(InvalidProblem, match=says):
        draw(cmdp, **{"behaviours": behaviours(cmdp), "transitions": 10, **changes})


# ---- behaviours and measures -------------------------------------------------------------------------------
@pytest.mark.parametrize("source", ["gym:FrozenLake-v1", "random-mdp:seed=1"])
def test_medium_lies_halfway_between_random_and_expert(source):
    cmdp = load(source).cmdp
    with np.errstate(divide="ignore"):
        random, medium, expert = evaluate(cmdp, np.log(qualities(cmdp)), cmdp.r[None]).at_rho.value[:, 0]
    assert medium == pytest.approx((random + expert) / 2, rel=1e-6)
    assert expert == pytest.approx(float(optimise(cmdp).value.value))
    values = evaluate(cmdp, mixtures(cmdp, np.eye(3)), cmdp.r[None]).at_rho.value[:, 0]
    assert values == pytest.approx([random, medium, expert])


def test_grades_go_from_random_to_expert():
    shares = grades(5)
    assert shares[0] == pytest.approx([0.81, 0.18, 0.01])
    assert shares[-1] == pytest.approx([0.01, 0.18, 0.81])
    assert shares.sum(axis=1) == pytest.approx(1)
    assert grades(1).tolist() == [[0.25, 0.5, 0.25]]
    cmdp = random_cmdp(0, S=4, A=3, m=0, gamma=0.5)
    for bad, says in (([[0.5, 0.5]], "shape"), ([[0.5, 0.6, 0]], r"shares\[0\]"), ([[2, -1, 0]], "shares")):
        with pytest.raises(InvalidProblem, match=says):
            mixtures(cmdp, bad)


def test_measures_of_a_large_data_set():
    cmdp = random_cmdp(5, S=4, A=2, m=0, gamma=0.8)
    data = draw(cmdp, mixtures(cmdp, [[1, 0, 0], [0, 0, 1]]), 100_000, seed=3)
    random, expert = count(data)
    assert coverage(random) == 1.0
    assert coverage(expert) == 0.5
    assert coverage(expert, reference=16) == 0.25
    assert trajectory_quality(random, cmdp) == pytest.approx(0, abs=0.03)
    assert trajectory_quality(expert, cmdp) == pytest.approx(1, abs=0.03)
    value = evaluate(cmdp, uniform(4, 2)).at_rho.value[0]
    assert expected_return(random, 0.8, cmdp.rho) == pytest.approx(value, rel=0.02)
    with pytest.raises(InvalidProblem, match="no scale"):
        trajectory_quality(random, CMDP(cmdp.P, np.ones((4, 2)), [], [], cmdp.rho, 0.8))


# ---- Minari ------------------------------------------------------------------------------------------------
def minari_dataset(n=4, start=0):
    episode = types.SimpleNamespace(
        observations=np.array([0, 1, 3]),
        actions=np.array([1, 0]),
        rewards=np.array([0.0, 1.0]),
        terminations=np.array([False, True]),
    )
    space = types.SimpleNamespace(n=n, start=start)
    return types.SimpleNamespace(
        observation_space=space,
        action_space=types.SimpleNamespace(n=2, start=0),
        iterate_episodes=lambda: iter([episode, episode]),
    )


def test_minari_data_sets_become_clients(monkeypatch):
    given = {"one": minari_dataset(), "two": minari_dataset(), "other": minari_dataset(n=5)}
    given["shifted"], given["continuous"] = minari_dataset(start=1), minari_dataset(n=None)

    def load_(name, download):
        if name not in given:
            raise FileNotFoundError(f"no {name}")
        return given[name]

    monkeypatch.setitem(sys.modules, "minari", types.SimpleNamespace(load_dataset=load_))
    data = load_minari(["one", "two"])
    assert (data.S, data.A, data.N, len(data)) == (4, 2, 2, 8)
    assert data.of(1).state.tolist() == [0, 1, 0, 1]
    assert data.of(1).next_state.tolist() == [1, 3, 1, 3]
    assert data.terminal.tolist() == [False, True] * 4
    for name, says in (("nothing", "no nothing"), ("shifted", "from 0 on"), ("continuous", "from 0 on")):
        with pytest.raises(InvalidProblem, match=f"minari:{name}.*{says}"):
            load_minari([name])
    with pytest.raises(InvalidProblem, match="different spaces"):
        load_minari(["one", "other"])


def test_without_minari_the_message_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "minari", None)
    with pytest.raises(InvalidProblem, match="pip install"):
        load_minari(["any"])
