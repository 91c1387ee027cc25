"""DRPO's rounds: against the steps taken by hand, Theorem E, resumed, in balls, with constraints."""

from itertools import pairwise

import numpy as np
import pytest
from problems import random_cmdp

from tabular_fedrl import balls
from tabular_fedrl.algorithms.drpo_steps import (
    aggregate,
    cql_values,
    forward_step,
    regularised_optimum,
    regularised_values,
    reverse_step,
)
from tabular_fedrl.cmdp import CMDP, FederatedCMDP, exact
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate, visitation
from tabular_fedrl.instances import load
from tabular_fedrl.offline import (
    Dataset,
    behaviour,
    count,
    draw,
    empirical,
    extended,
    grades,
    mixtures,
    save_dataset,
)
from tabular_fedrl.policies import kl, uniform
from tabular_fedrl.runner import drive, engine_numpy, run

FREE = {"record": "iterates", "compare": False}


def problem(seed=0, S=5, A=3, gamma=0.8, m=0):
    return random_cmdp(seed, S=S, A=A, m=m, gamma=gamma)


def policies(result):
    return result.iterates.log_policies


def J(cmdp, log_pi):
    return evaluate(cmdp, log_pi, cmdp.r[None]).at_rho.value[..., 0]


# ---- one round, by hand ------------------------------------------------------------------------------------
@pytest.mark.parametrize("step", ["reverse", "forward"])
@pytest.mark.parametrize("critic", ["plain", "regularised", "cql"])
def test_a_round_is_the_steps_of_the_page(step, critic):
    cmdp = problem()
    result = run("drpo", cmdp, 2, clients=3, step=step, critic=critic, alpha=0.3, beta=0.2, cql=0.4, **FREE)
    log_pi, b = policies(result)[1], mixtures(cmdp, grades(3))
    local = []
    for log_b in b:
        Q = {
            "plain": lambda b: evaluate(cmdp, log_pi).Q.value[0],
            "regularised": lambda b: regularised_values(cmdp, log_pi, b, 0.3)[1].value,
            "cql": lambda b: cql_values(cmdp, log_pi, b, 0.4)[1].value,
        }[critic](log_b)
        if step == "reverse":
            local.append(np.exp(reverse_step(log_pi, log_b, Q, 0.3, 0.2)))
        else:
            local.append(forward_step(log_pi, log_b, Q, 0.3, 0.2)[0])
    assert np.exp(policies(result)[2]) == pytest.approx(np.mean(local, axis=0), abs=1e-12)
    assert np.exp(result.iterates.local[1, :, 1]) == pytest.approx(np.array(local), abs=1e-12)


def test_the_round_starts_uniform_and_sends_policies_only():
    cmdp = problem()
    result = run("drpo", cmdp, 4, clients=3, **FREE)
    assert np.array_equal(policies(result)[0], uniform(5, 3))
    assert result.ledger.kinds == ("policy",)
    assert result.bytes_up == 4 * 3 * 15 * 8


def test_geometric_aggregation_is_one_central_step():
    """Theorem A': the mean of the critics and the geometric mean of the behaviours."""
    cmdp = problem(1)
    result = run("drpo", cmdp, 1, clients=3, critic="cql", aggregation="geometric", **FREE)
    log_pi, b = policies(result)[0], mixtures(cmdp, grades(3))
    Q = np.mean([cql_values(cmdp, log_pi, log_b, 1.0)[1].value for log_b in b], axis=0)
    central = reverse_step(log_pi, aggregate("geometric", b), Q, 1.0, 1.0)
    assert policies(result)[1] == pytest.approx(central, abs=1e-12)


def test_local_steps_stay_anchored_at_the_broadcast_policy():
    cmdp = problem(2)
    result = run("drpo", cmdp, 2, clients=2, local_steps=3, alpha=0.1, beta=0.5, **FREE)
    log_pi_k, b = policies(result)[1], mixtures(cmdp, grades(2))
    for i in range(2):
        log_pi = log_pi_k
        for e in range(3):
            log_pi = reverse_step(log_pi_k, b[i], evaluate(cmdp, log_pi).Q.value[0], 0.1, 0.5)
            assert result.iterates.local[1, i, e + 1] == pytest.approx(log_pi, abs=1e-10)


def test_the_mixture_of_episodes_has_the_mean_of_the_values():
    cmdp = problem(3)
    weights = [0.2, 0.3, 0.5]
    result = run("drpo", cmdp, 3, clients=3, aggregation="mixture", weights=weights, **FREE)
    for k in range(3):
        local = result.iterates.local[k, :, 1]
        assert J(cmdp, policies(result)[k + 1]) == pytest.approx(weights @ J(cmdp, local), rel=1e-12)
        visits = [visitation(cmdp, log_pi).value for log_pi in local]
        assert visitation(cmdp, policies(result)[k + 1]).value == pytest.approx(weights @ np.array(visits))


def test_without_alpha_the_behaviours_do_not_matter():
    cmdp = problem(4)
    rounds = [
        policies(run("drpo", cmdp, 3, clients=2, alpha=0.0, beta=0.7, smoothing=s, **FREE)) for s in (0, 9)
    ]
    assert np.array_equal(*rounds)
    expected = reverse_step(uniform(5, 3), uniform(5, 3), evaluate(cmdp, uniform(5, 3)).Q.value[0], 0.0, 0.7)
    assert rounds[0][1] == pytest.approx(expected, abs=1e-12)


def test_without_beta_the_round_forgets_the_global_policy():
    cmdp = problem(4)
    result = run("drpo", cmdp, 2, clients=1, alpha=0.5, beta=0.0, **FREE)
    log_pi, log_b = policies(result)[1], mixtures(cmdp, grades(1))[0]
    assert policies(result)[2] == pytest.approx(
        reverse_step(log_b, log_b, evaluate(cmdp, log_pi).Q.value[0], 0.5, 0.0), abs=1e-12
    )


def test_schedules_hold_their_last_weight():
    cmdp = problem(5)
    given = {"clients": 2, **FREE}
    changing = policies(run("drpo", cmdp, 4, alpha=[1.0, 0.5], beta=[0.1, 0.2, 0.9], **given))
    first = policies(run("drpo", cmdp, 1, alpha=1.0, beta=0.1, **given))
    assert np.array_equal(changing[:2], first)
    b = mixtures(cmdp, grades(2))
    Q = evaluate(cmdp, changing[3]).Q.value[0]
    local = reverse_step(changing[3], b, Q, 0.5, 0.9)
    assert changing[4] == pytest.approx(aggregate("arithmetic", local), abs=1e-12)


# ---- theory ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("alpha, beta", [(0.5, 0.5), (0.01, 0.05), (0.2, 20.0)])
def test_every_round_improves_the_regularised_value_exactly_as_theorem_e_says(alpha, beta):
    cmdp = problem(6)
    result = run(
        "drpo", cmdp, 12, clients=3, critic="regularised", aggregation="geometric", alpha=alpha, beta=beta,
        **FREE,
    )  # fmt: skip
    b = mixtures(cmdp, grades(3))
    joint = aggregate("geometric", b)
    path = policies(result)
    # With its own regulariser each client evaluates; the mean is that of the joint behaviour but for a
    # reward of the state, -alpha H_b.
    H_b = -np.log(np.exp(b.mean(axis=0)).sum(axis=1))
    shifted = cmdp.replace(r=cmdp.r - alpha * H_b[:, None])
    values = [cmdp.rho @ regularised_values(shifted, log_pi, joint, alpha)[0].value for log_pi in path]
    gains = [
        visitation(cmdp, new).value @ (beta * kl(new, old) + (alpha + beta) * kl(old, new)) * cmdp.horizon
        for old, new in pairwise(path)
    ]
    assert np.diff(values) == pytest.approx(gains, rel=1e-8, abs=1e-12)
    assert min(gains) > 0


def test_balanced_rounds_never_lose():
    cmdp = problem(7)
    result = run("drpo", cmdp, 15, clients=3, alpha=0.5, balance="theorem-c", **FREE)
    assert (np.diff(result.value.value) >= 0).all()
    # Plain weights of the wrong size do lose: the clients' data pull the policy back.
    late = run("drpo", cmdp, 40, clients=3, alpha=0.02, beta=0.5, **FREE)
    far = late.iterates.log_policies[-1]
    heavy = aggregate("arithmetic", reverse_step(far, mixtures(cmdp, grades(3)), 0.0, 5.0, 5.0))
    assert J(cmdp, heavy) < J(cmdp, far)


def test_local_optima_are_those_of_theorem_d():
    cmdp = problem(8)
    result = run("drpo", cmdp, 2, clients=2, local="optimum", alpha=0.3, beta=0.4, **FREE)
    log_pi = policies(result)[1]
    for i, log_b in enumerate(mixtures(cmdp, grades(2))):
        best = regularised_optimum(cmdp, log_b, log_pi, 0.3, 0.4)[0]
        assert result.iterates.local[1, i, 1] == pytest.approx(best, abs=1e-12)


# ---- data --------------------------------------------------------------------------------------------------
def test_clients_plan_in_what_their_data_say():
    cmdp = problem(9, S=6)
    result = run(
        "drpo", cmdp, 1, clients=2, data="simulated", transitions=40, data_seed=3, alpha=0.5, beta=0.5,
        **FREE,
    )  # fmt: skip
    log_pi, b = uniform(6, 3), mixtures(cmdp, grades(2))
    for i in range(2):
        (counts,) = count(draw(cmdp, b[i : i + 1], 40, (3, i)))
        model = empirical(counts, 0.8, cmdp.rho, cmdp.r.min())
        Q = evaluate(model, extended(log_pi)).Q.value[0, :6] * (counts.states > 0)[:, None]
        log_b = behaviour([counts], log_pi)[0]
        step = np.exp(reverse_step(log_pi, log_b, Q, 0.5, 0.5))
        assert np.exp(result.iterates.local[0, i, 1]) == pytest.approx(step, abs=1e-12)
        assert ((step > 0) == np.isfinite(log_b)).all()


@pytest.mark.parametrize("settings", [{}, {"step": "forward"}, {"local": "optimum"}])
def test_a_client_abstains_where_it_has_no_data(settings):
    cmdp = problem(10, S=6)
    one = Dataset(*(np.array(x) for x in ([0, 0], [1, 1], [0, 2], [0.5, 0.1])), np.zeros((2, 0)),
                  np.array([1, 2]), np.zeros(2, bool), 6, 3, 1)  # fmt: skip
    assert one.N == 1
    result = run("drpo", cmdp, 1, clients=1, data=saved(one), **settings, **FREE)
    after = np.exp(policies(result)[1])
    others = [0, 2, 3, 4, 5]
    assert after[others] == pytest.approx(np.full((5, 3), 1 / 3))
    assert np.abs(after[1] - 1 / 3).max() > 0.01


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def saved(dataset):
    save_dataset("data.npz", dataset)
    return "data.npz"


def test_a_file_of_the_same_rows_gives_the_same_run():
    cmdp = problem(9, S=6)
    b = mixtures(cmdp, grades(2))
    parts = [draw(cmdp, b[i : i + 1], 40, (3, i)) for i in range(2)]
    columns = [
        np.concatenate([getattr(part, key) for part in parts])
        for key in ("state", "action", "reward", "costs", "next_state", "terminal")
    ]
    path = saved(Dataset(np.repeat([0, 1], 40), *columns, 6, 3, 2))
    settings = {"clients": 2, "alpha": 0.1, **FREE}
    drawn = run("drpo", cmdp, 3, data="simulated", transitions=40, data_seed=3, **settings)
    assert np.array_equal(policies(drawn), policies(run("drpo", cmdp, 3, data=path, **settings)))


def test_sparse_problems_with_zeros_take_several_local_steps():
    result = run("drpo", load("gym:Taxi-v4"), 1, clients=2, data="simulated", transitions=2000, local_steps=2)
    assert np.isneginf(result.final_log_policy).any()
    assert result.value.error.max() < 1e-6


@pytest.mark.parametrize("settings", [{}, {"data": "simulated", "transitions": 200, "local_steps": 2}])
def test_resumed_runs_are_bit_for_bit_the_same(monkeypatch, settings):
    monkeypatch.setattr(drive, "SAVE_EVERY", 0.0)
    monkeypatch.setattr(engine_numpy, "CHUNK", 12)  # several batches even here
    cmdp = problem(2, S=6)
    given = {"clients": 3, "alpha": 0.2, "beta": 0.2, **settings}
    whole = run("drpo", cmdp, 40, **given)

    def stop(done, _):
        if done >= 17:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("drpo", cmdp, 40, out="part.npz", progress=stop, **given)
    calls = []
    again = run(
        "drpo", cmdp, 40, out="part.npz", resume=True, progress=lambda done, _: calls.append(done), **given
    )
    assert 17 < calls[0] <= 40
    assert np.array_equal(whole.final_log_policy, again.final_log_policy)
    assert np.array_equal(whole.value.value, again.value.value)
    assert whole.ledger.to_dict() == again.ledger.to_dict()


# ---- constraints, our extension ----------------------------------------------------------------------------
def test_a_constrained_client_steps_on_its_local_lagrangian():
    cmdp = problem(11, m=2)
    shared = FederatedCMDP(cmdp, [[0], [0, 1]])
    dual = {"eta_dual": 0.1, "dual_cap": 5.0, "initial_multipliers": 1.0}
    result = run("drpo", shared, 2, clients=0, alpha=0.4, beta=0.4, **dual, **FREE)
    log_pi, b = uniform(5, 3), mixtures(cmdp, grades(2))
    values = evaluate(cmdp, log_pi)
    for i, seen in enumerate(shared.visible):
        Q = values.Q.value[0] - sum(values.Q.value[1 + j] for j in seen)
        step = reverse_step(log_pi, b[i], Q, 0.4, 0.4)
        assert result.iterates.local[0, i, 1] == pytest.approx(step, abs=1e-12)
        for j in seen:
            moved = np.clip(1 + 0.1 * (values.at_rho.value[1 + j] - cmdp.d[j]), 0, 5)
            assert result.multipliers[1, i, 0, j] == pytest.approx(moved)


def test_constraints_are_learned_from_data_too():
    cmdp = problem(12, m=1)
    settings = {"clients": 0, "data": "simulated", "transitions": 5000, "alpha": 0.05, "beta": 0.2}
    free = run("drpo", CMDP(cmdp.P, cmdp.r, [], [], cmdp.rho, 0.8), 40, **{**settings, "clients": 1})
    shared = FederatedCMDP(cmdp.replace(d=[float(evaluate(cmdp, uniform(5, 3)).at_rho.value[1])]))
    bound = run("drpo", shared, 40, eta_dual=0.2, dual_cap=50.0, **settings)
    unbound = evaluate(cmdp, free.final_log_policy).at_rho.value[1]
    held = evaluate(cmdp, bound.final_log_policy).at_rho.value[1]
    assert held < unbound or unbound <= shared.cmdp.d[0]


# ---- in balls ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"critic": "regularised", "aggregation": "geometric"},
        {"step": "forward", "data": "simulated", "transitions": 60},
        {"local": "optimum"},
        {"aggregation": "mixture"},
        {"balance": "theorem-c"},
    ],
)
def test_runs_in_balls_enclose_the_exact_run(settings):
    cmdp = problem(13, S=4, A=2)
    given = {"clients": 2, "alpha": 0.25, "beta": 0.5, "compare": False, **settings}
    floats = run("drpo", cmdp, 3, **given)
    with balls.precision(200):
        sure = run("drpo", exact(cmdp), 3, **given)
        assert (abs(sure.value - balls.Balls(floats.value.value)) <= 1e-10).all()
        assert float(max(sure.value.error)) < 1e-15
        assert max(float(x.rad()) for x in sure.value.items if hasattr(x, "rad")) < 1e-30


# ---- bad input ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "given, says",
    [
        ({"alpha": -1.0}, "alpha = -1.0"),
        ({"alpha": 0.0, "beta": 0.0}, "at least one of them positive"),
        ({"alpha": [1.0, "x"]}, "alpha ="),
        ({"beta": float("inf")}, "beta ="),
        ({"beta": []}, "beta ="),
        ({"step": "sideways"}, "step 'sideways': expected 'reverse' or 'forward'"),
        ({"critic": "best"}, "critic 'best'"),
        ({"aggregation": "median"}, "aggregation 'median'"),
        ({"entropy": 0.1}, "entropy belongs to step = 'forward'"),
        ({"entropy": -0.1, "step": "forward"}, "entropy = -0.1"),
        ({"cql": float("nan")}, "cql = nan"),
        ({"local": "optimum", "step": "forward"}, "local = 'optimum'"),
        ({"balance": "theorem-c", "critic": "cql"}, "theorem-c"),
        ({"clients": -1}, "clients = -1"),
        ({"transitions": 0}, "transitions = 0"),
        ({"smoothing": -1.0}, "smoothing = -1.0"),
        ({"data": "nowhere.npz"}, "nowhere.npz: cannot be read"),
        ({"eta": 0.1}, "no parameter 'eta'"),
        ({"data": "simulated", "transitions": 5, "critic": "cql"}, "which the behaviour never takes"),
    ],
)
def test_bad_parameters_are_named(given, says):
    with pytest.raises(InvalidProblem, match=says) as caught:
        run("drpo", problem(), 2, **given)
    assert "\n" not in str(caught.value)


def test_data_that_do_not_fit_are_named():
    data = draw(problem(), mixtures(problem(), grades(2)), 10)
    path = saved(data)
    for given, says in (({"clients": 3}, "data of 2 clients, but 3"),):
        with pytest.raises(InvalidProblem, match=says):
            run("drpo", problem(), 1, data=path, **given)
    with pytest.raises(InvalidProblem, match="5 states and 3 actions, but the problem has 6 and 3"):
        run("drpo", problem(S=6), 1, data=path, clients=2)
    empty = Dataset(
        data.client * 0, data.state, data.action, data.reward, data.costs, data.next_state, data.terminal,
        5, 3, 2,
    )  # fmt: skip
    with pytest.raises(InvalidProblem, match="client 1 has no transitions"):
        run("drpo", problem(), 1, data=saved(empty), clients=2)
    with pytest.raises(InvalidProblem, match="0 costs, but the problem has 1 constraints"):
        run("drpo", FederatedCMDP(problem(m=1), [[0], [0]]), 1, data=saved(data), clients=0, dual_cap=1.0)
