"""The pages beside DRPO: their batches for the search, baseline bootstrapping, and parameters they refuse."""

from itertools import product

import numpy as np
import pytest

from proofs_check.drpo.ensembles import Ensemble, state_values
from proofs_check.related.bootstrapped import Trials, collected, tabled
from proofs_check.related.cpo import ConstrainedPolicy
from proofs_check.related.cql import ConservativeValues
from proofs_check.related.mixture import ConservativeMixture
from proofs_check.related.moves import SOURCES, moves
from proofs_check.related.spibb import allowance, crossing, lottery
from proofs_check.related.trpo import COIN, TrustRegion, junction, slipping
from tabular_fedrl.claims import verify
from tabular_fedrl.claims.search.family import parse_family
from tabular_fedrl.claims.search.objective import Objective, searched
from tabular_fedrl.claims.search.space import Space
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load


@pytest.mark.parametrize("page", [TrustRegion, ConservativeMixture, ConstrainedPolicy], ids=lambda t: t.id)
def test_batches_agree_with_the_page(page):
    claims = [claim for claim in searched(page) if claim.name != "any_function"]
    # Shares so large that the allowance taken off the left sides of batches does not show.
    space = Space.of(page, parse_family(page.family), {"share": (0.1, 1.0)})
    objective, rng, compared = Objective(page, claims), np.random.default_rng(0), 0
    for _ in range(8):
        coding = space.draw(rng)
        X = coding.random(rng, 6)
        batch, by_page = objective.ratios(coding, X, claims[0].name)
        assert not by_page
        problems, parameters = coding.decode(X)
        rows = [objective.page(problems.problem(i), coding.parameters_of(parameters, i)) for i in range(6)]
        both = np.isfinite(batch) & np.isfinite(rows)
        np.testing.assert_allclose(batch[both], np.array(rows)[both], rtol=1e-4, atol=1e-4)
        compared += both.sum()
    assert compared > 60


def test_moves_are_what_they_say():
    drawn = moves(load(SOURCES[0]), 24, 0)
    assert {k.share == 1 for k in drawn} == {True, False}
    for k in drawn:
        expected = (1 - k.share) * k.start.old.p.value + k.share * k.target.p.value
        assert k.new.p.value == pytest.approx(expected, abs=1e-14)
    given = moves(load("textbook:stay-or-leave"), 5, 0, [[0.5, 0.5]] * 2, [[1.0, 0.0]] * 2, 0.5)
    assert [k.new.p.value.tolist() for k in given] == [[[0.75, 0.25]] * 2]


@pytest.mark.parametrize(
    ("page", "parameters", "message"),
    [
        (TrustRegion, {"first": COIN}, "together"),
        (TrustRegion, {"first": COIN, "second": slipping(0.1), "share": 0.0}, "share = 0"),
        (ConservativeMixture, {"share": 1.5}, r"share = 1\.5"),
        (ConservativeValues, {"pi": [[1.0, 0.0, 0.0]] * 2}, "together"),
    ],
)
def test_parameters_that_mean_nothing_are_refused(page, parameters, message):
    with pytest.raises(InvalidProblem, match=message):
        verify(page, junction(), **parameters)


@pytest.mark.parametrize("share", [0.01, 0.2, 0.5])
@pytest.mark.parametrize("gamma", [0.1, 0.9])
def test_the_coupled_bound_is_attained_for_every_share(gamma, share):
    verdicts = verify(TrustRegion, junction(gamma), first=COIN, second=slipping(share))
    coupled = next(v for v in verdicts if v.claim == "coupled")
    assert coupled.lhs == pytest.approx(coupled.rhs, rel=1e-10)


# ---- baseline bootstrapping ------------------------------------------------------------------------------
def test_bootstrapped_policies_are_the_best_by_enumeration():
    cmdp = load("random-mdp:nS=3,nA=3,seed=4,gamma=0.6").cmdp
    b = np.random.default_rng(1).dirichlet(np.ones(3), 3)
    trials = Trials(collected(cmdp, b, 150, 6, 0), b, 15)
    x, policy = trials.data, trials.policy
    for i in range(6):
        free = x.n[i] >= 15
        assert policy[i][~free] == pytest.approx(np.broadcast_to(b, free.shape)[~free])
        best = -np.inf
        for choice in product(*(np.flatnonzero(row) if row.any() else [0] for row in free)):
            pi = b * ~free
            pi[np.arange(3), choice] += (b * free).sum(axis=1)
            V = state_values(x.P[i], cmdp.gamma, pi[None], x.r[i][None])[0]
            best = max(best, float(V @ cmdp.rho))
        assert x.J_model(policy)[i] == pytest.approx(best, abs=1e-10)


def test_counts_and_frequencies_of_collected_data():
    cmdp = load("random-mdp:nS=3,nA=2,seed=1,gamma=0.5").cmdp
    b = np.full((3, 2), 0.5)
    data = collected(cmdp, b, 500, 4, 7)
    assert isinstance(data, Ensemble)
    assert (data.n.sum(axis=(1, 2)) == 500).all()
    assert data.P.sum(axis=-1) == pytest.approx((data.n > 0).astype(float))
    far = collected(cmdp, b, 40_000, 2, 7)
    assert pytest.approx(np.broadcast_to(cmdp.P, far.P.shape), abs=0.03) == far.P
    assert far.r == pytest.approx(np.broadcast_to(cmdp.r, far.r.shape), abs=0.03)


def test_a_table_of_counts_misleads_either_way():
    cmdp, b = lottery(), np.array([[0.5, 0.5], [1.0, 0.0], [0.5, 0.5], [0.5, 0.5]])
    counts = np.array([[300_000, 300_000], [1, 0], [300_000, 300_000], [300_000, 300_000]])
    trials = Trials(tabled(cmdp, counts, 50, 0), b, 300_000)
    # The lottery is worth 1, in the model 2 or 0; half of the mass is on the wrong way, discounted by 2/3.
    assert np.abs(trials.loss - 1 / 3) == pytest.approx(0.0, abs=0.05)
    assert (trials.loss > allowance(trials, 0.1)).mean() > 0.9


def test_unseen_actions_lower_the_behaviour_by_the_closed_form():
    K, gamma = 50, 0.5
    cmdp = crossing(K, gamma)
    b = np.full((2, K), 1 / K)
    b[0] = 0.0
    b[0, :2] = 0.5
    trials = Trials(collected(cmdp, b, 100, 20, 0), b, 5)
    seen = (trials.data.n[:, 1] > 0).mean(axis=1)
    assert seen.max() < 0.8
    worth = (1 + gamma * 0.5 * seen) / (1 - gamma * 0.5 - gamma**2 * 0.5 * seen)
    assert trials.loss == pytest.approx(1 / (1 - gamma) - worth, abs=1e-12)
