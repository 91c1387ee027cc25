"""DRPO's competitors: by hand, by brute force, and as runs like any other."""

import itertools

import numpy as np
import pytest
from problems import random_cmdp

from tabular_fedrl.algorithms.drpo_steps import cql_values, regularised_optimum, reverse_step
from tabular_fedrl.algorithms.offline_baselines import confined, spibb_policy
from tabular_fedrl.algorithms.offline_clients import Client
from tabular_fedrl.cmdp import CMDP, FederatedCMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate
from tabular_fedrl.offline import behaviour, count, draw, empirical, extended, grades, mixtures, pool
from tabular_fedrl.policies import uniform
from tabular_fedrl.runner import drive, engine_numpy, run

BASELINES = ("behaviour-cloning", "fedavg-cql", "local-only", "pooled-oracle", "spibb", "fedora")
FREE = {"record": "iterates", "compare": False}
DATA = {"clients": 2, "data": "simulated", "transitions": 50, "data_seed": 1}
S, A, GAMMA = 4, 3, 0.8


def problem(seed=0, m=0):
    return random_cmdp(seed, S=S, A=A, m=m, gamma=GAMMA)


def counted(cmdp):
    """The counts of the two clients of DATA."""
    b = mixtures(cmdp, grades(2))
    return [count(draw(cmdp, b[i : i + 1], 50, (1, i)))[0] for i in range(2)]


def client(cmdp, counts):
    model = empirical(counts, GAMMA, cmdp.rho, cmdp.r.min())
    return Client(model, behaviour([counts], uniform(S, A))[0], counts.states > 0, counts)


def final(name, cmdp, **given):
    return np.exp(run(name, cmdp, 2, **{**DATA, **FREE, **given}).iterates.log_policies[1])


def test_cloning_is_the_behaviour_of_the_pooled_data():
    cmdp = problem()
    pooled = pool(counted(cmdp))
    assert final("behaviour-cloning", cmdp) == pytest.approx(np.exp(behaviour([pooled], uniform(S, A))[0]))


def test_pooled_counts_are_those_of_the_pooled_rows():
    cmdp = problem(1, m=1)
    data = draw(cmdp, mixtures(cmdp, grades(3)), [30, 5, 50])
    one, (two,) = pool(count(data)), count(data.pooled())
    assert np.array_equal(one.pairs, two.pairs)
    assert (one.successors != two.successors).nnz == 0
    assert one.reward == pytest.approx(two.reward)
    assert one.costs == pytest.approx(two.costs)
    assert one.costs_seen == pytest.approx(two.costs_seen)


def test_the_pooled_oracle_solves_the_pooled_problem():
    cmdp = problem()
    pooled = pool(counted(cmdp))
    model = empirical(pooled, GAMMA, cmdp.rho, cmdp.r.min())
    log_b = extended(behaviour([pooled], uniform(S, A))[0])
    expected = np.exp(regularised_optimum(model, log_b, log_b, 0.3, 0.0)[0][:S])
    assert final("pooled-oracle", cmdp, alpha=0.3) == pytest.approx(expected, abs=1e-12)
    ledger = run("pooled-oracle", cmdp, 2, **DATA).ledger
    assert ledger.kinds == ("counts", "policy")


def test_local_only_keeps_each_optimum_and_sends_nothing():
    cmdp = problem()
    result = run("local-only", cmdp, 2, alpha=0.3, **DATA, **FREE)
    assert result.ledger.kinds == ()
    kept = result.iterates.log_policies[1]
    for i, counts in enumerate(counted(cmdp)):
        own = client(cmdp, counts)
        log_b = extended(own.behaviour(uniform(S, A)))
        best = regularised_optimum(own.model, log_b, log_b, 0.3, 0.0)[0][:S]
        assert np.exp(kept[i]) == pytest.approx(np.exp(best), abs=1e-12)
    values = evaluate(cmdp, kept, cmdp.r[None]).at_rho.value[:, 0]
    assert result.value.value[1] == pytest.approx(values.mean())


@pytest.mark.parametrize("least_count", [1, 4, 10, 10_000])
def test_spibb_is_the_best_of_all_policies_it_may_choose(least_count):
    cmdp = problem(2)
    own = client(cmdp, counted(cmdp)[0])
    found = np.exp(spibb_policy(own, least_count))
    b, free = np.exp(own.log_b), own.counts.pairs >= least_count
    assert found[~free] == pytest.approx(b[~free])
    # Every way to place each state's free probability on one of its free actions.
    options = [np.flatnonzero(row) if row.any() else [0] for row in free]
    best = -np.inf
    for choice in itertools.product(*options):
        table = b * ~free
        table[range(S), choice] += (b * free).sum(axis=1)
        with np.errstate(divide="ignore"):
            value = evaluate(own.model, extended(np.log(table)), own.model.r[None]).at_rho.value[0]
        best = max(best, float(value))
    with np.errstate(divide="ignore"):
        value = evaluate(own.model, extended(np.log(found)), own.model.r[None]).at_rho.value[0]
    assert value == pytest.approx(best, rel=1e-9)
    if least_count == 10_000:
        assert found == pytest.approx(b)


def test_fedavg_cql_takes_the_cql_step_within_the_data():
    cmdp = problem()
    steps = []
    for counts in counted(cmdp):
        own = client(cmdp, counts)
        log_b = own.behaviour(uniform(S, A))
        start = confined(uniform(S, A), log_b)
        Q = cql_values(own.model, extended(start), extended(log_b), 0.4)[1].value[:S]
        steps.append(np.exp(reverse_step(start, start, Q, 0.0, 0.5)))
        assert ((np.exp(start) > 0) == np.isfinite(log_b)).all()
    assert final("fedavg-cql", cmdp, beta=0.5, cql=0.4) == pytest.approx(np.mean(steps, axis=0), abs=1e-12)


def test_confined_policies_fall_back_on_the_behaviour():
    with np.errstate(divide="ignore"):
        log_pi, log_b = np.log([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]), np.log([[0.2, 0.0, 0.8], [0.3, 0.7, 0.0]])
    assert np.exp(confined(log_pi, log_b)) == pytest.approx(np.array([[1.0, 0, 0], [0.3, 0.7, 0]]))


def test_fedora_follows_the_client_that_does_well():
    cmdp = problem(3)
    given = {"alpha": 0.2, "beta": 0.2}
    local = np.exp(run("fedora", cmdp, 1, **DATA, **FREE, **given).iterates.local[0, :, 1])
    worth = [
        evaluate(model.model, extended(np.log(np.maximum(p, 1e-300)))).at_rho.value[0]
        for model, p in zip([client(cmdp, c) for c in counted(cmdp)], local)
    ]
    cold = final("fedora", cmdp, temperature=1e-9, **given)
    assert cold == pytest.approx(local[int(np.argmax(worth))], abs=1e-9)
    even = final("fedora", cmdp, temperature=1e9, **given)
    assert even == pytest.approx(local.mean(axis=0), abs=1e-7)


def test_fedora_s_weights_sum_to_one_whatever_the_unit_of_reward_is():
    """Three clients that are worth the same 10^9: the logarithm of their number is below a rounding of it."""
    cmdp = CMDP(np.ones((1, 1, 1)), [[-740452.1]], np.zeros((0, 1, 1)), [], [1.0], 0.999)
    ours, theirs = (run("fedora", cmdp, 2, backend=b, clients=3, compare=False) for b in ("numpy", "numba"))
    assert ours.value.value == pytest.approx(theirs.value.value, rel=1e-12)
    assert ours.value.value == pytest.approx(-740452.1 * 1000, rel=1e-12)


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_are_runs_like_any_other(monkeypatch, tmp_path, name):
    monkeypatch.setattr(drive, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(engine_numpy, "CHUNK", 12)
    cmdp = problem(4)
    whole = run(name, cmdp, 20, **DATA)
    assert whole.value.error.max() < 1e-9

    def stop(done, _):
        if done >= 8:
            raise KeyboardInterrupt

    out = tmp_path / "run.npz"
    with pytest.raises(KeyboardInterrupt):
        run(name, cmdp, 20, out=out, progress=stop, **DATA)
    again = run(name, cmdp, 20, out=out, resume=True, **DATA)
    assert np.array_equal(whole.final_log_policy, again.final_log_policy)
    assert whole.ledger.to_dict() == again.ledger.to_dict()


@pytest.mark.parametrize("name", [name for name in BASELINES if name != "spibb"])
def test_baselines_with_the_model_in_place_of_data(name):
    result = run(name, problem(5), 3, clients=2)
    assert np.isfinite(result.value.value).all()


def test_bad_parameters_are_named():
    for name, given, says in (
        ("fedora", {"temperature": 0.0}, "temperature = 0.0"),
        ("local-only", {"alpha": -1.0}, "alpha = -1.0"),
        ("fedavg-cql", {"cql": -1.0}, "cql = -1.0"),
        ("spibb", {"least_count": 0, "data": "simulated"}, "least_count = 0"),
        ("spibb", {}, "spibb needs transitions"),
    ):
        with pytest.raises(InvalidProblem, match=says):
            run(name, problem(), 1, **given)
    with pytest.raises(InvalidProblem, match="knows no constraints"):
        run("fedora", FederatedCMDP(problem(m=1)), 1, clients=0)
