"""What the pages on finite data compute with: many datasets at once against one at a time, the simulators
against the laws they draw from, the pages' guarantees against the library's."""

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import minimize
from scipy.special import softmax

from proofs_check.drpo.batch_guarantees import Batch
from proofs_check.drpo.cql_optimum import conservative, threshold
from proofs_check.drpo.ensembles import Ensemble, generative, walks
from proofs_check.drpo.local_optimum import optimum
from proofs_check.drpo.optima import chi_squared, cql_step, divergence, kl_optimum
from proofs_check.drpo.record_draws import records
from proofs_check.drpo.records import observed
from tabular_fedrl.algorithms.drpo_certificate import certify_improvement
from tabular_fedrl.algorithms.drpo_evidence import event_constant
from tabular_fedrl.algorithms.drpo_steps import regularised_optimum
from tabular_fedrl.claims import Case
from tabular_fedrl.claims.check import Bench
from tabular_fedrl.claims.discovery import find
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.evaluation import visitation
from tabular_fedrl.instances import load
from tabular_fedrl.offline import Counts

ALPHA, BETA, DELTA = 0.3, 0.2, 0.1


def problem(seed: int = 0, S: int = 4, A: int = 3, gamma: float = 0.8) -> CMDP:
    rng = np.random.default_rng(seed)
    r = rng.random((S, A))
    P = rng.dirichlet(np.ones(S), (S, A))
    return CMDP(P, r - r.min(), [], [], rng.dirichlet(np.ones(S)), gamma)


def some(cmdp: CMDP, size: int = 300, datasets: int = 6) -> Ensemble:
    rng = np.random.default_rng(1)
    pi = rng.dirichlet(np.ones(cmdp.A), cmdp.S)
    return generative(cmdp, rng.dirichlet(np.ones(cmdp.A), cmdp.S), size, datasets, pi, rng)


def single(x: Ensemble, i: int, alpha: float = ALPHA, beta: float = BETA):
    """One of the datasets as the enclosed pages hold it."""
    return observed(x.truth, x.n[i], x.P[i], x.r[i], np.log(x.pi), alpha, beta, DELTA)


# ---- optima ------------------------------------------------------------------------------------------------
def test_optima_of_many_models_are_those_of_each():
    x = some(problem())
    plus, paid = kl_optimum(x.P, x.r, 0.8, x.behaviour, x.old, ALPHA, BETA)
    for i in range(len(x)):
        one = single(x, i)
        alone = regularised_optimum(one.model, one.log_b, one.log_pi, ALPHA, BETA)[0]
        assert plus[i] == pytest.approx(np.exp(alone[:-1]), abs=1e-9)
        by_hand = ALPHA * divergence(plus[i], x.behaviour[i]) + BETA * divergence(plus[i], x.pi)
        assert paid[i] == pytest.approx(by_hand)


@pytest.mark.parametrize("lam, beta", [(0.5, 0.3), (20.0, 0.01), (0.01, 2.0)])
def test_the_cql_step_is_the_numerical_maximiser(lam, beta):
    rng = np.random.default_rng(3)
    b, pi = rng.dirichlet(np.ones(4), (2, 3))
    Q = rng.normal(size=(3, 4))
    p = cql_step(Q, b, pi, lam, beta)
    for s in range(3):

        def loss(y, s=s):
            q = softmax(y)
            return lam * chi_squared(q, b[s]) + beta * divergence(q, pi[s]) - q @ Q[s]

        found = minimize(
            loss, np.log(p[s]) + 0.1 * rng.normal(size=4), method="BFGS", options={"gtol": 1e-10}
        )
        assert p[s] == pytest.approx(softmax(found.x), abs=1e-5)
        assert loss(np.log(p[s])) <= found.fun + 1e-12


def test_the_cql_step_keeps_to_the_common_support():
    p = cql_step(
        np.array([[5.0, 0.0, 5.0]]), np.array([[0.5, 0.5, 0.0]]), np.array([[0.0, 0.5, 0.5]]), 1.0, 1.0
    )
    assert p.tolist() == [[0.0, 1.0, 0.0]]


def test_divergences_by_hand():
    p, q = np.array([0.5, 0.5, 0.0]), np.array([0.25, 0.75, 0.0])
    assert divergence(p, q) == pytest.approx(0.5 * np.log(2) + 0.5 * np.log(2 / 3))
    assert chi_squared(p, q) == pytest.approx(1 / 4 / 0.25 + 1 / 4 / 0.75 - 1)
    assert divergence(q, np.array([1.0, 0, 0])) == chi_squared(q, np.array([1.0, 0, 0])) == np.inf


# ---- guarantees --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("size", [12, 300, 10**6])
def test_guarantees_of_many_datasets_are_those_of_each_page(size):
    x = some(problem(), size)
    c = float(x.radii(DELTA).signal.value)
    lam = 1.5
    batch = Batch(x, ALPHA, BETA, lam)
    many, got = batch.guarantee(c), batch.improvement
    compared = 0
    for i in range(len(x)):
        one = single(x, i)
        rng = np.random.default_rng(0)
        o, g = optimum(one, rng), conservative(one, lam, rng)
        assert float(o.over_global.improvement) == pytest.approx(got["D1"][i], abs=1e-9)
        assert float(g.over_behaviour.improvement) == pytest.approx(got["G2"][i], abs=1e-9)
        assert bool(g.enough) == bool(lam >= batch.threshold(c)[i])
        pages = {
            "D2": o.over_behaviour.guarantee,
            "plain 1": o.over_global.simple, "plain 2": o.over_behaviour.simple,
            "D2 in counts": o.in_counts - o.blind, "G2": g.over_behaviour.guarantee,
        }  # fmt: skip
        if (x.behaviour[i] > 0).all():
            pages |= {"D1": o.over_global.guarantee, "G1": g.over_global.guarantee}
            compared += 1
        else:
            assert many["D1"][i] == many["G1"][i] == -np.inf
        if g.enough:
            pages["G2 without D"] = g.simple
        for name, value in pages.items():
            assert float(value) == pytest.approx(many[name][i], rel=1e-7, abs=1e-7), name
    assert compared == (0 if size == 12 else len(x))


@pytest.mark.parametrize("k", range(12))
def test_the_pages_guarantees_are_the_librarys(k):
    """The decision rule, on the pages' own draws."""
    drawn = records(load("random-mdp:nS=4,nA=3,seed=2"), 12, 5, alpha=ALPHA, beta=BETA)
    x = drawn[k]
    n, S = x.n[:-1], len(x.n) - 1
    P, r = x.model.P[:-1, :, :-1], x.model.r[:-1]
    counts = Counts(
        n,
        sp.csr_array((n[..., None] * P).reshape(-1, S)),
        r,
        np.zeros((0, *n.shape)),
        np.zeros(S, bool),
        np.zeros(0),
    )
    lam = 2 * float(threshold(x).upper)
    found = certify_improvement(
        [counts], x.truth.gamma, x.truth.rho[:-1], x.log_pi[:-1], x.delta,
        rewards=(0.0, float(x.truth.r.max())),
        alphas=[ALPHA], betas=[BETA], cql=[lam], kind="generative",
    )  # fmt: skip
    mine, theirs = found.clients[0]
    o = optimum(x, np.random.default_rng(0))
    assert mine.over_global == pytest.approx(float(o.over_global.simple), rel=1e-8, abs=1e-8)
    assert mine.over_behaviour == pytest.approx(float(o.over_behaviour.simple), rel=1e-8, abs=1e-8)
    b, old = x.behaviour.law.support, x.old.law.support
    assert not (old & ~b).any()
    assert mine.d1 == pytest.approx(float(o.over_global.guarantee), rel=1e-8, abs=1e-8)
    if not (b & ~old).any():
        assert mine.d2 == pytest.approx(float(o.over_behaviour.guarantee), rel=1e-8, abs=1e-8)
    # Reading G: the same direct bound; the theorem's own form pays Lemma 5 on top.
    g = conservative(x, lam, np.random.default_rng(0))
    simple = float(g.plus.J_model - g.plus.cost - x.old.J_model - x.old.cost)
    assert theirs.over_global == pytest.approx(simple, rel=1e-6, abs=1e-6)
    assert float(g.over_global.guarantee.lower) <= theirs.d1 + 1e-6
    assert float(x.radii.signal.value) == pytest.approx(
        event_constant(S, n.shape[1], x.truth.gamma, x.delta, float(x.truth.r.max())), rel=1e-12
    )


# ---- simulators --------------------------------------------------------------------------------------------
def test_generative_records_have_the_law_of_the_problem():
    cmdp = problem(2)
    x = some(cmdp, 400, 3000)
    assert (x.n.sum(axis=(1, 2)) == 400).all()
    seen = x.n.sum(axis=0)
    P = (x.n[..., None] * x.P).sum(axis=0) / seen[..., None]
    r = (x.n * x.r).sum(axis=0) / seen
    spread = 5 / np.sqrt(seen)
    assert (np.abs(P - cmdp.P) <= spread[..., None]).all()
    assert (np.abs(r - cmdp.r) <= spread * cmdp.r.max()).all()
    assert x.P[x.n > 0].sum(axis=-1) == pytest.approx(1)


def test_walks_have_the_law_of_the_problem_and_of_its_visitation():
    cmdp = problem(3)
    rng = np.random.default_rng(0)
    b = rng.dirichlet(np.ones(3), 4)
    length, datasets = 200, 2000
    x = walks(cmdp, b, length, datasets, b, rng)
    assert (x.n.sum(axis=(1, 2)) == length).all()
    seen = x.n.sum(axis=0)
    P = (x.n[..., None] * x.P).sum(axis=0) / seen[..., None]
    assert (np.abs(P - cmdp.P) <= 5 / np.sqrt(seen)[..., None]).all()
    assert seen / seen.sum(axis=1, keepdims=True) == pytest.approx(b, abs=0.01)
    # In the long run every restart has the law of the normalised visitation.
    assert seen.sum(axis=1) / seen.sum() == pytest.approx(visitation(cmdp, np.log(b)).value, abs=0.01)
    short = walks(cmdp, b, 1, 50_000, b, rng)
    assert short.n.sum(axis=(0, 2)) / 50_000 == pytest.approx(cmdp.rho, abs=0.01)


def test_drawn_records_cover_what_the_pages_are_about():
    """Inside and outside the bulk: states without records, thinned policies, models at the event's border."""
    drawn = records(load("garnet:S=12,A=3,b=2,seed=2"), 60, 0)
    assert any(x.blind.any() for x in drawn)
    assert any((x.behaviour.law.support & ~x.old.law.support).any() for x in drawn)
    assert not any((x.old.law.support & ~x.behaviour.law.support).any() for x in drawn)
    assert all(x.within for x in drawn)

    def reach(x):
        """How far out the records lie, in radii."""
        rewards, laws = x.moved
        off = np.abs(rewards.value) / float(x.radii.reward), np.abs(laws.value).sum(-1) / float(x.radii.law)
        return (np.maximum(*off) / x.roots.value)[x.n > 0].max()

    far = np.array([reach(x) for x in drawn])
    assert (far > 0.999).sum() >= 20
    assert far.max() < 1


@pytest.mark.parametrize("delta", [-1.0, 0.0, 1.0])
@pytest.mark.parametrize("page", ["drpo.event", "drpo.false-certificates", "related.spibb", "drpo.real-data"])
def test_pages_on_events_claim_nothing_without_a_probability(page, delta):
    x, why = Bench(find(page), Case("textbook:three-state", delta=delta)).prepare()
    assert x is None
    assert {name for name, text in why.items() if text} == {claim.name for claim in find(page).claims()}
