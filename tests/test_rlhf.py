"""The pages on one-bit preferences: vacuous bounds are called so; exact laws against simulated runs."""

from itertools import islice

import numpy as np
import pytest

from proofs_check.rlhf import budget_studies, inverted_links
from proofs_check.rlhf.convergence import TheoremOne
from proofs_check.rlhf.fedavg import FedAvg
from proofs_check.rlhf.landscape import all_signs
from proofs_check.rlhf.walk import Lattice, averaged, grouped
from tabular_fedrl.algorithms.fedavg_s2zpo import fedavg_s2zpo
from tabular_fedrl.algorithms.par_s2zpo import par_s2zpo
from tabular_fedrl.algorithms.preference_feedback import Feedback
from tabular_fedrl.claims import confidence, verify
from tabular_fedrl.episodic import start_value
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import Ledger
from tabular_fedrl.instances import load_episodic
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import softmax
from tabular_fedrl.preferences import comparison_of

BANDIT = "episodic-bandit:A=2"


def only(theorem: str, claim: str, **parameters):
    return next(v for v in verify(theorem, BANDIT, **parameters) if v.claim == claim)


@pytest.mark.parametrize(
    "theorem, claim",
    [("rlhf.theorem-1", "stationary"), ("rlhf.fedavg", "stationary"), ("rlhf.drift", "drift")],
)
def test_sixteen_answers_are_called_vacuous(theorem, claim):
    rounds = {} if theorem == "rlhf.drift" else {"rounds": 50}
    logistic = {"link": "logistic", "scale": 0.5}
    for few in ({"questions": 16}, {"questions": 16, **logistic}, {"questions": 27, **logistic}):
        verdict = only(theorem, claim, **few, **rounds)
        assert verdict.status == "not applicable"
        assert "vacuous" in verdict.reason
    # Enough to be finite below R, and still more than any norm.
    for more in ({"questions": 17}, {"questions": 28, **logistic}):
        verdict = only(theorem, claim, **more, **rounds)
        assert verdict.status == "holds"
        assert verdict.vacuous


@pytest.mark.parametrize(
    "theorem, outside",
    [
        ("rlhf.alignment", {"mu": -1.0}),
        ("rlhf.vote-error", {"mu": -1.0}),
        ("rlhf.drift", {"alpha": -0.5}),
        ("rlhf.theorem-1", {"alpha": -0.5, "rounds": 20}),
        ("rlhf.theorem-1", {"rounds": 0}),
        ("rlhf.fedavg", {"alpha": -0.5, "rounds": 20}),
        ("rlhf.corollary-1", {"slower": 50.0}),
        ("rlhf.inverted-links", {"mu": -1.0}),
        ("rlhf.budget", {"votes": 1}),
    ],
)
def test_nothing_is_claimed_outside_the_hypotheses(theorem, outside):
    assert {v.status for v in verify(theorem, BANDIT, **outside)} == {"not applicable"}


@pytest.mark.parametrize("people", [1, 2, 5])
def test_how_many_answers_are_enough_is_claimed_from_where_it_is_true(people):
    for questions, status in ((74, "not applicable"), (75, "holds")):
        given = {"link": "logistic", "scale": 1.0, "people": people, "questions": questions}
        assert only("rlhf.panels", "enough", **given).status == status
    assert only("rlhf.panels", "enough", link="linear").status == "not applicable"


def test_more_updates_than_can_be_enumerated_are_refused():
    with pytest.raises(InvalidProblem, match="too many updates"):
        verify("rlhf.fedavg", "episodic-bandit:A=2", agents=16, rounds=1)


def test_discs_too_wide_for_the_rules_are_left_out():
    assert only("rlhf.inverted-links", "smoothing", mu=30.0).status == "not applicable"
    assert only("rlhf.inverted-links", "signs", mu=30.0).status == "holds"


def test_some_bounds_say_something():
    assert (
        only("rlhf.theorem-1", "stationary", rounds=600, alpha=2.0**-5, questions=10**14, mu=2.0**-11).vacuous
        is False
    )
    assert (
        only("rlhf.fedavg", "stationary", agents=2, rounds=300, questions=10**14, mu=2.0**-11).vacuous
        is False
    )
    assert only("rlhf.vote-error", "error").vacuous is False
    assert only("rlhf.drift", "drift", questions=10**16, mu=2.0**-13).vacuous is False


@pytest.mark.parametrize("source", [BANDIT, "episodic-bandit:A=3", "episodic-chain:H=1"])
@pytest.mark.parametrize("method, page", [(par_s2zpo, TheoremOne), (fedavg_s2zpo, FedAvg)])
def test_exact_laws_are_those_of_the_algorithm(source, method, page):
    """Values after some rounds, of thousands of runs of the algorithm, against the law on the lattice."""
    problem, K, T, runs = load_episodic(source).mdp, 2 if source != "episodic-bandit:A=3" else 3, 6, 20_000
    given = {"link": "logistic", "scale": 0.5, "people": 3, "questions": 5}
    x = page().setup(problem, agents=K, rounds=T, alpha=0.5, mu=0.25, **given)
    exactly = x.values if page is TheoremOne else x.mean(x.at.value)
    feedback = Feedback(problem, comparison_of(problem, **given), K, 0.25, 0.5)
    start = np.zeros((runs, problem.H, problem.S, problem.A))
    rounds = list(islice(method(feedback, start, np.random.default_rng(0), Ledger()), T))
    for t, step in enumerate(rounds, start=1):
        seen = confidence.bounded(start_value(problem, softmax(step.next_theta)), 1.0, 0.9999)
        assert seen.lower <= exactly.value[t] <= seen.upper
    # The bandits climb by more than the enclosure is wide.
    assert exactly.value[-1] - exactly.value[0] > 0
    assert exactly.error.max() < 1e-9


def test_the_budgets_figures_show_what_the_page_says():
    """The numbers in its docstring, figure by figure."""
    votes = budget_studies.rate_study("ours").arrays
    assert ((votes["fit"][:, 0] > -0.53) & (votes["fit"][:, 0] < -0.43)).all()
    by_figure = {name: votes["measured"][votes["panel"] == name] for name in votes["panel"]}
    for name, several in by_figure.items():
        last = several[:, ~np.isnan(several[0])][:, -1]
        assert last.max() < (1.06 if name.startswith("12") else 1.04) * last.min()
        assert np.nanmax(several[:, 0] / several[0, 0]) < 1.17
    growth = budget_studies.progress_study("ours").arrays["measured"]
    par, _, same_size = growth[:3]
    assert 3.8 < same_size[0] / par[0] < 4
    short, long = growth[:3, -1], growth[3:, -1]
    ahead = np.concatenate([short[0] / short[1:], long[0] / long[1:]])
    assert ((ahead > 1.045) & (ahead < 1.145)).all()
    (table,) = budget_studies.bits_study("ours").summary["tables"]
    bits = {row[0] + row[1]: int(row[3]) for row in table["rows"]}
    for answers in ("many answers to a question", "few answers"):
        assert 1 < bits[answers + "the same, shared seeds"] / bits[answers + "Par-S2ZPO, K = 4"] < 1.1


def test_lattices_merge_equal_policies():
    updates = all_signs(2).reshape(-1, 1, 1, 2)
    uniform = Measured(np.full((1, 4), 0.25))
    shifts, law = grouped(updates, uniform)
    np.testing.assert_array_equal(shifts[:, 0, 0, 0], [-2, 0, 2])
    np.testing.assert_allclose(law.value, [[0.25, 0.5, 0.25]])
    lattice = Lattice.reached(shifts, 5)
    assert len(lattice.points) == 11
    chances = Measured(np.repeat(law.value, 11, axis=0))
    last = list(lattice.laws(chances, 5))[-1]
    order = np.argsort(lattice.points[:, 0, 0, 0])
    # Five times -1, 0 or 1 with chances 1/4, 1/2, 1/4: ten fair coins.
    np.testing.assert_allclose(
        last.value[order], [1, 10, 45, 120, 210, 252, 210, 120, 45, 10, 1] / np.float64(1024)
    )
    two, both = averaged(updates, uniform, 2)
    np.testing.assert_array_equal(two[:, 0, 0, 0], [-4, -2, 0, 2, 4])
    np.testing.assert_allclose(both.value, [[1 / 16, 1 / 4, 3 / 8, 1 / 4, 1 / 16]])


def test_the_rules_on_the_disc_have_converged(monkeypatch):
    problem = load_episodic(BANDIT).mdp
    coarse = inverted_links.InvertedLinks().setup(problem, mu=1.0).circle()
    monkeypatch.setattr(inverted_links, "ANGLES", 128)
    monkeypatch.setattr(inverted_links, "RADII", 32)
    fine = inverted_links.InvertedLinks().setup(problem, mu=1.0).circle()
    for a, b in zip(coarse, fine):
        assert np.abs(a.value - b.value).max() < 1e-12
