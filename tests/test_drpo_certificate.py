"""What data guarantee: the constants by hand, the bounds against the truth, certificates that are never
wrong more often than they say, and a control that is."""

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import softmax
from scipy.stats import binomtest

from tabular_fedrl.algorithms.drpo_certificate import certify_improvement, certify_rounds
from tabular_fedrl.algorithms.drpo_cql import cql_optimum, cql_step
from tabular_fedrl.algorithms.drpo_evidence import (
    enclosed_chi2,
    event_constant,
    evidence,
    gain_over,
    sufficient_cql,
    value_between,
)
from tabular_fedrl.algorithms.drpo_steps import aggregate, regularised_optimum
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.evaluation import evaluate, visitation
from tabular_fedrl.offline import count, draw, empirical, extended
from tabular_fedrl.policies import chi_squared, kl, random_log_policy, uniform
from tabular_fedrl.runner import run

S, A, GAMMA = 3, 2, 0.5


def setting(seed=0, N=2, n=200, kind="generative", gamma=GAMMA):
    rng = np.random.default_rng(seed)
    P = rng.dirichlet(np.ones(S), (S, A))
    cmdp = CMDP(P, rng.random((S, A)), [], [], rng.dirichlet(np.ones(S)), gamma)
    b = np.stack([random_log_policy(rng, S, A) for _ in range(N)])
    return cmdp, b, draw(cmdp, b, n, seed=seed, kind=kind, rewards="bernoulli")


def J(cmdp, log_pi):
    return float(evaluate(cmdp, log_pi, cmdp.r[None]).at_rho.value[0])


def range_of(cmdp):
    return float(cmdp.r.min()), float(cmdp.r.max())


# ---- the constants -----------------------------------------------------------------------------------------
def test_the_constant_by_hand():
    delta, R = 0.03, 2.0
    wanted = R * (
        np.sqrt(np.log(4 * 5 * 3 / delta) / 2)
        + 0.9 / 0.1 * np.sqrt((np.log(2 * 5 * 3 / delta) + 5 * np.log(2)) / 2)
    )
    assert event_constant(5, 3, 0.9, delta, R) == pytest.approx(wanted, rel=1e-12)
    assert event_constant(5, 3, 0.9, delta, R) >= wanted


@pytest.mark.parametrize("kind", ["trajectories", "generative"])
def test_kappa_by_hand(kind):
    cmdp, _, data = setting(n=30)
    counts = count(data)
    low, high = range_of(cmdp)
    known = evidence(counts, GAMMA, cmdp.rho, uniform(S, A), 0.1, (low, high), kind)
    share = 0.1 / 2 / (30 if kind == "trajectories" else 1)
    c = event_constant(S, A, GAMMA, share, high - low)
    largest = (high - low) / 0.5
    for e, own in zip(known, counts):
        with np.errstate(divide="ignore"):
            wanted = np.minimum(c / np.sqrt(own.pairs), largest)
        assert e.kappa[:S] == pytest.approx(wanted)
        assert not e.kappa[S].any()


def test_nothing_is_unknown_about_an_end():
    cmdp = CMDP(
        np.array([[[0, 1.0], [0.5, 0.5]], [[0, 1.0]] * 2]), [[0.5, 1.0], [0.0, 0.0]], [], [], [1.0, 0.0], 0.5
    )
    data = draw(cmdp, uniform(2, 2)[None], 50)
    (known,) = evidence(count(data), 0.5, cmdp.rho, uniform(2, 2), 0.1)
    assert known.kappa[1].tolist() == [0, 0]
    assert known.model.r[1].tolist() == [0, 0]


def test_an_end_that_one_client_has_seen_counts_for_all():
    """Rewards are 1 or more, but an end pays 0 for ever: who leaves at once is worth 1, not 1/(1 - gamma)."""
    cmdp = CMDP(np.eye(2)[[[0, 1], [1, 1]]], [[2.0, 1.0], [0.0, 0.0]], [], [], [1.0, 0.0], 0.5)
    b = np.log([[[1.0, 1e-300], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]]])
    counts = count(draw(cmdp, b, 50))
    assert [bool(c.ends.any()) for c in counts] == [False, True]
    known = evidence(counts, 0.5, cmdp.rho, uniform(2, 2), 0.1, (1.0, 2.0))
    assert {e.rewards for e in known} == {(0.0, 2.0)}
    for leaves in (0.0, 0.5, 1.0):
        with np.errstate(divide="ignore"):
            log_pi = np.log([[1 - leaves, leaves], [0.5, 0.5]])
        low, high = value_between(known, log_pi)
        assert low <= J(cmdp, log_pi) <= high


# ---- the bounds --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("seed", range(10))
def test_gamma_bounds_the_error_of_every_policy(seed):
    """Lemma 4's consequence; the event holds on these data (its probability is 0.9)."""
    cmdp, _, data = setting(seed)
    rng = np.random.default_rng(seed)
    for known in evidence(count(data), GAMMA, cmdp.rho, uniform(S, A), 0.1, range_of(cmdp), "generative"):
        for _ in range(5):
            log_pi = random_log_policy(rng, S, A, 3.0)
            value, Gamma = known.bounds(extended(log_pi))
            assert abs(float(value.value) - J(cmdp, log_pi)) <= float(Gamma.value)
            d = visitation(known.model, extended(log_pi)).value
            by_hand = d @ (np.exp(extended(log_pi)) * known.kappa).sum(1) / (1 - GAMMA)
            assert Gamma.value == pytest.approx(by_hand)


@pytest.mark.parametrize("alpha, beta", [(0.1, 0.2), (1.0, 0.01), (0.05, 3.0)])
def test_the_theorems_forms_by_hand(alpha, beta):
    cmdp, _, data = setting(3, N=1, n=3000)
    log_pi = random_log_policy(np.random.default_rng(5), S, A)
    found = certify_improvement(
        data, GAMMA, cmdp.rho, log_pi, rewards=range_of(cmdp), alphas=[alpha], betas=[beta], cql=[alpha],
        kind="generative",
    )  # fmt: skip
    (known,) = evidence(count(data), GAMMA, cmdp.rho, log_pi, 0.05, range_of(cmdp), "generative")
    b, pi_k, model = known.log_b, extended(log_pi), known.model

    def mean(log_p, f):
        return visitation(model, log_p).value @ f / (1 - GAMMA)

    def Gamma(log_p):
        return float(known.bounds(log_p)[1].value)

    for guarantee, first, plus in (
        (found.clients[0][0], kl, regularised_optimum(model, b, pi_k, alpha, beta)[0]),
        (found.clients[0][1], chi_squared, cql_optimum(model, b, pi_k, alpha, beta)),
    ):
        paid = mean(plus, alpha * first(plus, b) + beta * kl(plus, pi_k))
        against = paid - alpha * mean(pi_k, first(pi_k, b)) - Gamma(plus) - Gamma(pi_k)
        assert guarantee.d1 == pytest.approx(against, abs=1e-8)
        assert guarantee.d2 == pytest.approx(
            paid - beta * mean(b, kl(b, pi_k)) - Gamma(plus) - Gamma(b), abs=1e-8
        )
        direct = J(model, plus) - J(model, pi_k) - Gamma(plus) - Gamma(pi_k)
        assert guarantee.over_global == pytest.approx(direct, abs=1e-8)
        assert guarantee.d1 <= guarantee.over_global + 1e-12
        assert guarantee.d2 <= guarantee.over_behaviour + 1e-12


def test_an_infinite_divergence_leaves_the_direct_bound():
    cmdp, b, _ = setting(4)
    b[0] = np.log([[1.0, 1e-300]] * S)
    data = draw(cmdp, b, 500, kind="generative")
    given = {"rewards": range_of(cmdp), "alphas": [0.1], "betas": [0.1], "cql": [0.1], "kind": "generative"}
    found = certify_improvement(data, GAMMA, cmdp.rho, uniform(S, A), **given)
    for guarantee in found.clients[0]:
        assert guarantee.d1 == -np.inf
        assert np.isfinite([guarantee.d2, guarantee.over_global, guarantee.over_behaviour]).all()
    smooth = certify_improvement(data, GAMMA, cmdp.rho, uniform(S, A), smoothing=0.1, **given)
    assert np.isfinite([g.d1 for own in smooth.clients for g in own]).all()


# ---- certificates ------------------------------------------------------------------------------------------
def test_certificates_come_with_data_and_are_never_above_the_truth():
    improved = []
    for n in (100, 10_000, 300_000):
        cmdp, b, data = setting(1, n=n)
        found = certify_improvement(
            data, GAMMA, cmdp.rho, uniform(S, A), rewards=range_of(cmdp), kind="generative"
        )
        gain = J(cmdp, found.log_policy) - J(cmdp, uniform(S, A))
        assert found.over_global <= gain
        mixed = np.mean([J(cmdp, g.log_policy) for g in found.best]) - J(cmdp, uniform(S, A))
        assert found.mixture <= mixed
        for own, log_b in zip(found.clients, b):
            for g in own:
                assert g.over_global <= J(cmdp, g.log_policy) - J(cmdp, uniform(S, A))
                assert g.over_behaviour <= J(cmdp, g.log_policy) - J(cmdp, log_b) + 0.05
        assert found.mixture == pytest.approx(
            max(np.mean([own[k].over_global for own in found.clients]) for k in range(16))
        )
        assert np.array_equal(
            found.log_policy, aggregate("arithmetic", np.stack([g.log_policy for g in found.best]))
        )
        improved.append(found.improves)
    assert improved == [False, False, True]


def false_share(shrink, datasets=100, delta=0.1):
    """How often a bound on the gain exceeds the gain, with kappa multiplied by ``shrink``."""
    wrong = 0
    for seed in range(datasets):
        cmdp, _, data = setting(seed % 10, n=300)
        data = draw(
            cmdp, setting(seed % 10)[1], 300, seed=1000 + seed, kind="generative", rewards="bernoulli"
        )
        known = evidence(count(data), GAMMA, cmdp.rho, uniform(S, A), delta, range_of(cmdp), "generative")
        for e in known:
            e.kappa[:] *= shrink
            plus = regularised_optimum(e.model, e.log_b, extended(uniform(S, A)), 0.01, 0.01)[0]
            bound = gain_over([e], plus[:S], uniform(S, A))
            if bound > J(cmdp, plus[:S]) - J(cmdp, uniform(S, A)):
                wrong += 1
                break
    return wrong, datasets


def test_false_certificates_are_rare():
    wrong, datasets = false_share(1.0)
    assert binomtest(wrong, datasets, 0.1, "greater").pvalue > 0.01


def test_a_bound_without_its_radii_is_often_false():
    wrong, datasets = false_share(1e-3)
    assert binomtest(wrong, datasets, 0.1, "greater").pvalue < 1e-6


def test_rounds_go_on_from_the_certified_policy():
    cmdp, _, data = setting(2, n=100_000)
    given = {"rewards": range_of(cmdp), "alphas": [0.01], "betas": [0.05], "kind": "generative"}
    rounds = certify_rounds(data, GAMMA, cmdp.rho, 3, **given)
    again = certify_improvement(data, GAMMA, cmdp.rho, rounds[0].log_policy, **given)
    assert np.array_equal(again.log_policy, rounds[1].log_policy)
    assert rounds[0].improves
    assert not rounds[2].improves
    known = evidence(count(data), GAMMA, cmdp.rho, uniform(S, A), 0.1)
    assert gain_over(known, uniform(S, A), uniform(S, A)) == 0.0


def test_a_run_may_take_the_certified_weights():
    cmdp, _, _ = setting(2)
    given = {"clients": 2, "data": "simulated", "transitions": 3000, "local": "optimum", "compare": False}
    result = run("drpo", cmdp, 1, balance="certificate", record="iterates", **given)
    plain = run("drpo", cmdp, 1, alpha=1.0, beta=1.0, record="iterates", **given)
    assert not np.array_equal(result.iterates.log_policies, plain.iterates.log_policies)


# ---- reading G ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("lam, beta", [(0.5, 0.3), (5.0, 0.01), (0.01, 2.0), (0.0, 0.4)])
def test_the_cql_step_is_the_numerical_maximiser(lam, beta):
    rng = np.random.default_rng(0)
    log_pi, log_b = np.log(rng.dirichlet(np.ones(4), (2, 3)))
    Q = rng.normal(size=(3, 4))
    p = np.exp(cql_step(log_pi, log_b, Q, lam, beta))
    for s in range(3):

        def loss(x, s=s):
            q = softmax(x)
            gain = q @ (Q[s] - beta * (np.log(q) - log_pi[s])) - lam * (q**2 / np.exp(log_b[s])).sum()
            return -gain

        best = min(
            (minimize(loss, x, method="BFGS", options={"gtol": 1e-11}) for x in rng.normal(size=(4, 4))),
            key=lambda found: found.fun,
        )
        assert p[s] == pytest.approx(softmax(best.x), abs=3e-6)


def test_the_cql_optimum_is_beaten_by_none_of_its_neighbours():
    cmdp, b, _ = setting(6)
    log_pi = uniform(S, A)
    best = cql_optimum(cmdp, b[0], log_pi, 0.2, 0.1)

    def F(log_p):
        penalty = 0.2 * chi_squared(log_p, b[0]) + 0.1 * kl(log_p, log_pi)
        return float(evaluate(cmdp, log_p, (cmdp.r - penalty[:, None])[None]).at_rho.value[0])

    rng = np.random.default_rng(0)
    for size in (1e-3, 0.1, 3.0):
        for _ in range(50):
            moved = best + size * rng.normal(size=best.shape)
            assert F(moved - np.log(np.exp(moved).sum(1, keepdims=True))) <= F(best) + 1e-13


def test_the_cql_step_keeps_to_the_common_support():
    with np.errstate(divide="ignore"):
        log_pi, log_b = np.log([[0.5, 0.5, 0.0]]), np.log([[0.0, 0.4, 0.6]])
    assert cql_step(log_pi, log_b, np.array([[9.0, 0, 9.0]]), 0.3, 0.2)[0].tolist() == [-np.inf, 0.0, -np.inf]
    for lam, beta in ((-1.0, 1.0), (1.0, 0.0)):
        with pytest.raises(InvalidProblem, match="reading G"):
            cql_step(log_pi, log_b, np.zeros((1, 3)), lam, beta)


def test_reading_g_runs_to_its_local_optimum():
    cmdp, _, _ = setting(7)
    given = {"local": "optimum", "critic": "cql", "cql": 0.3, "beta": 0.2, "clients": 1}
    result = run("drpo", cmdp, 1, record="iterates", compare=False, **given)
    from tabular_fedrl.offline import grades, mixtures

    best = cql_optimum(cmdp, mixtures(cmdp, grades(1))[0], uniform(S, A), 0.3, 0.2)
    assert result.iterates.local[0, 0, 1] == pytest.approx(best, abs=1e-12)


def test_chi_squared_enclosed():
    log_p, log_b = np.log(np.random.default_rng(0).dirichlet(np.ones(4), (2, 3)))
    found = enclosed_chi2(log_p, log_b)
    assert (np.abs(found.value - chi_squared(log_p, log_b)) <= found.error + 1e-14).all()
    log_b[1, 2] = -np.inf
    assert np.isinf(enclosed_chi2(log_p, log_b).error[1])
    log_p[1, 2] = -np.inf
    assert np.isfinite(enclosed_chi2(log_p, log_b).error).all()


@pytest.mark.parametrize("factor", [1.0, 3.0])
def test_the_sufficient_cql_weight_pays_for_the_sampling_error(factor):
    """lambda D - c sqrt(A (1 + D)/n) >= -c sqrt(A/n) for all D >= 0, and not much below that weight."""
    counts = count(setting(0, n=50)[2])[0]
    n, c = counts.states.min(), 1.7
    D = np.linspace(0, 50, 5001)

    def shortfall(lam):
        return (lam * D - c * np.sqrt(A * (1 + D) / n) + c * np.sqrt(A / n)).min()

    assert shortfall(factor * sufficient_cql(counts, c)) >= 0
    assert shortfall(0.9 * sufficient_cql(counts, c)) < 0


# ---- bad input ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "given, says",
    [
        ({"delta": 0.0}, "delta = 0.0"),
        ({"delta": 1.0}, "delta = 1.0"),
        ({"kind": "episodes"}, "kind 'episodes'"),
        ({"rewards": (1.0, 0.0)}, "rewards ="),
        ({"rewards": (0.0, 0.2)}, r"client \d: the mean reward of s=\d, a=\d is .* outside 0..0.2"),
        ({"alphas": [], "cql": []}, "no weights to try"),
        ({"alphas": [0.0], "betas": [0.0]}, "at least one of them positive"),
        ({"smoothing": -1.0}, "smoothing"),
        ({"weights": [0.5, 0.6]}, "sum to 1"),
        ({"weights": [[0.5] * 3] * 2}, "the same in all states"),
        ({"aggregation": "median"}, "aggregation 'median'"),
    ],
)
def test_bad_parameters_are_named(given, says):
    cmdp, _, data = setting()
    with pytest.raises(InvalidProblem, match=says):
        certify_improvement(
            data, GAMMA, cmdp.rho, uniform(S, A), **{"betas": [0.1], "alphas": [0.1], **given}
        )


def test_pooled_data_are_a_client_too():
    cmdp, _, data = setting(8, n=1000)
    (known,) = evidence(count(data.pooled()), GAMMA, cmdp.rho, uniform(S, A), 0.1)
    assert known.model == empirical(count(data.pooled())[0], GAMMA, cmdp.rho, 0.0)
