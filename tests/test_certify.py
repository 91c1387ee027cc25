"""Certified runs: the algorithms' own code on balls, against the same code on floats."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tabular_fedrl import balls
from tabular_fedrl.algorithms.local import dual_step
from tabular_fedrl.balls import Balls, precision, rational
from tabular_fedrl.claims import Case, Theorem, identity, tight, upper, verify
from tabular_fedrl.claims.certify import certify
from tabular_fedrl.claims.verdict import Level, Status
from tabular_fedrl.cmdp import CMDP, FederatedCMDP, exact
from tabular_fedrl.errors import InfeasibleCMDP, InvalidProblem, NotSlater, SolverFailure
from tabular_fedrl.evaluation import average, evaluate, evaluate_soft, visitation
from tabular_fedrl.federation import PublicSteps, federate
from tabular_fedrl.instances import load, load_exact
from tabular_fedrl.measured import Measured
from tabular_fedrl.policies import enclosed_kl, random_log_policy
from tabular_fedrl.runner import Run, run
from tabular_fedrl.solvers import saddle, solve
from tabular_fedrl.solvers.exact import session
from tests.exact import ExactValues, policy

SOURCES = ("textbook:three-state", "random-mdp:seed=1", "textbook:heterogeneous-bandit")


def overlap(ours: Measured, floats: Measured) -> bool:
    """Whether two enclosures of the same numbers meet, entry by entry."""
    return bool(((ours.lower <= floats.upper) & (floats.lower <= ours.upper)).all())


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("algorithm", "given"),
    [
        ("fednpg", {"local_steps": 2}),
        ("fednpg", {"aggregation": "geometric"}),
        ("npg-pd", {}),
        ("isolated", {}),
        ("omniscient", {"local_steps": 2}),
        ("sequential-shared", {"local_steps": 2}),
        ("round-dual", {"local_steps": 3}),
        ("regularised-fednpg", {}),
        ("fedpg", {}),
    ],
)
def test_every_deterministic_algorithm_runs_on_balls(source: str, algorithm: str, given: dict) -> None:
    floats = run(algorithm, load(source), 6, **given)
    with precision(256), session():
        ours = run(algorithm, load_exact(source), 6, **given)
    for name in ("value", "costs", "local_value", "local_costs", "kl", "kl_local_end", "log_normaliser"):
        mine, theirs = getattr(ours, name), getattr(floats, name)
        assert (mine is None) == (theirs is None)
        if mine is not None:
            assert isinstance(mine, Balls)
            # Six rounds of rounding lie between the two runs.
            assert overlap(mine, theirs.widened(1e-11 * (1 + np.abs(theirs.value))))
            assert mine.error.max() <= 1e-14 * (1 + np.abs(mine.value).max())
    assert overlap(ours.gap, floats.gap.widened(1e-10))
    np.testing.assert_allclose(ours.final_multipliers.value, floats.final_multipliers, rtol=0, atol=1e-11)
    assert ours.ledger.bytes_up == floats.ledger.bytes_up


@pytest.mark.parametrize("source", SOURCES)
def test_policy_quantities_meet_their_float_enclosures(source: str) -> None:
    problem = load(source).cmdp
    rng = np.random.default_rng(0)
    p, q = (random_log_policy(rng, problem.S, problem.A, 2.0) for _ in range(2))
    g = rng.random((3, problem.S))
    floats = [
        evaluate(problem, np.stack([p, q])).at_rho,
        evaluate(problem, p).V,
        evaluate(problem, p).advantage,
        evaluate_soft(problem, p, problem.signals, 0.3).Q,
        average(visitation(problem, p), g),
        enclosed_kl(p, q),
    ]
    with precision(128):
        given = exact(load(source)).cmdp
        ours = [
            evaluate(given, np.stack([p, q])).at_rho,
            evaluate(given, p).V,
            evaluate(given, p).advantage,
            evaluate_soft(given, p, given.signals, 0.3).Q,
            average(visitation(given, p), g),
            enclosed_kl(p, q),
        ]
    for mine, theirs in zip(ours, floats, strict=True):
        assert isinstance(mine, Balls)
        assert overlap(mine, theirs)


def test_deterministic_policies_are_evaluated_in_exact_rationals() -> None:
    problem = load("random-mdp:seed=1").cmdp
    actions = np.arange(problem.S) % problem.A
    log_pi = np.full((problem.S, problem.A), -np.inf)
    log_pi[np.arange(problem.S), actions] = 0.0
    with precision(53):
        values = evaluate(exact(problem).cmdp, log_pi)
    assert values.V.is_rational
    assert values.Q.is_rational
    assert values.at_rho.is_rational
    oracle = ExactValues(problem, policy(log_pi))
    assert values.V.items.tolist() == oracle.V
    assert values.Q.items.tolist() == oracle.Q


def test_a_dual_step_on_rational_data_stays_rational() -> None:
    problem = exact(load("textbook:heterogeneous-bandit"))
    steps = PublicSteps(0.1, Balls([0.05, 0.05]), Balls([10.0, 10.0]))
    with precision(53):
        agent = federate(problem, steps).agents[0]
        dual_step(agent, Balls([rational("1/3")]))
        want = min(max(rational(0.05) * (rational("1/3") - agent.view.d.items[0]), rational(0)), rational(10))
    assert agent.multipliers.is_rational
    assert agent.multipliers.items[0] == want


def test_the_optimum_of_an_exact_problem_is_rational_and_meets_the_float_proof() -> None:
    for source in (*SOURCES, "windy-cliff:ncost=2"):
        floats, ours = solve(load(source).cmdp), solve(load_exact(source).cmdp)
        assert ours.value.is_rational
        assert overlap(ours.value, floats.value)
        assert float(ours.slater_slack.value) == pytest.approx(floats.slater_slack, abs=1e-7)
        assert ours.duality_gap == 0
        assert ours.active == floats.active
    with pytest.raises(InfeasibleCMDP):
        solve(load_exact("textbook:infeasible").cmdp)


def test_fractions_in_a_problem_are_taken_as_they_stand() -> None:
    half, third = Fraction(1, 2), Fraction(1, 3)

    def to(rows: list) -> np.ndarray:
        return np.array([[rational(x) for x in row] for row in rows], dtype=object)

    P = np.array([to([[third, 2 * third], [half, half]]), to([[half, half], [1, 0]])])
    cmdp = CMDP.exact(P, to([[1, 0], [third, 0]]), np.zeros((0, 2, 2)), np.zeros(0), [half, half], half)
    assert cmdp.P.items[0, 0, 0] == rational("1/3")
    assert (cmdp.P.sum(-1) == 1).all()
    # The first action in both states is best: 5 V0/6 - V1/3 = 1 and 3 V1/4 - V0/4 = 1/3, so V = (62, 38)/39.
    assert solve(cmdp).value.items[()] == rational("50/39")


def test_rows_of_floats_are_made_exactly_stochastic() -> None:
    problem = exact(load("random-mdp:seed=3")).cmdp
    assert (problem.P.sum(-1) == 1).all()
    assert (problem.rho.sum() == 1).all()
    assert exact(exact(load("random-mdp:seed=3"))).cmdp == problem
    assert problem.digest != load("random-mdp:seed=3").cmdp.digest
    assert problem.floats().S == problem.S


def test_large_problems_are_refused_with_the_number() -> None:
    with pytest.raises(InvalidProblem, match="500 states"):
        exact(load("gym:Taxi-v4"))


def test_bases_that_are_given_are_proved_and_not_replaced() -> None:
    problem = load_exact("random-mdp:seed=1").cmdp
    with session() as found:
        value = solve(problem).value.items[()]
    with session(found.bases):
        assert solve(problem).value.items[()] == value
    wrong = {key: (*basis[:-1], basis[-1] + 1) for key, basis in found.bases.items()}
    with session(wrong), pytest.raises(SolverFailure):
        solve(problem)
    with session({}), pytest.raises(SolverFailure, match="no basis"):
        solve(problem)


def test_the_saddle_point_of_an_exact_problem_encloses_that_of_its_floats() -> None:
    problem = load("random-mdp:seed=1")
    floats = saddle(problem, 0.3, 4.0)
    with precision(128):
        ours = saddle(exact(problem), 0.3, 4.0)
    assert overlap(ours.value, floats.value)
    assert ours.multiplier_error < 1e-4


class Toy(Theorem):
    """Statements about one number, to try the levels on."""

    id, mark = "test.toy", "ours"

    def setup(self, problem: FederatedCMDP, scale: float = 1.0) -> Measured:
        return Measured(problem.cmdp.r).exp().log().sum() * scale

    @identity("log exp r = r")
    def same(self, x: Measured) -> tuple[Measured, Measured]:
        return x, x * 1.0

    @upper("x < x + 1e-60")
    def needs_precision(self, x: Measured) -> tuple[Measured, Measured]:
        return x, x + Measured(1e-30) * 1e-30

    @tight("x <= x")
    def equal(self, x: Measured) -> tuple[Measured, Measured]:
        return x, x

    @upper("exp log 3 < 3: open at every precision")
    def open_question(self, x: Measured) -> tuple[Measured, float]:
        return Measured(3.0).log().exp(), 3.0


def test_the_precision_is_doubled_until_decided_and_open_questions_stay_open() -> None:
    found = certify(Toy, Case("textbook:three-state"), most_bits=1024)
    status = {v.claim: v.status for v in found.verdicts}
    assert status == {
        "same": Status.HOLDS,
        "needs_precision": Status.HOLDS,
        "equal": Status.HOLDS,
        "open_question": Status.UNDECIDED,
    }
    assert found.bits == 1024
    assert all(v.level is Level.CERTIFIED for v in found.verdicts)
    lows = [tuple(map(Fraction, v.enclosure)) for v in found.verdicts]
    assert all(low <= high and lower <= higher for low, high, lower, higher in lows)


def test_measured_leaves_undecided_what_certified_decides() -> None:
    measured = {v.claim: v for v in verify(Toy, "textbook:three-state")}
    assert measured["needs_precision"].status is Status.UNDECIDED
    assert measured["needs_precision"].level is Level.MEASURED
    assert measured["needs_precision"].enclosure is None
    certified = {v.claim: v for v in verify(Toy, "textbook:three-state", certify=True)}
    assert certified["needs_precision"].status is Status.HOLDS


class Careless(Theorem):
    """A page that calls NumPy on enclosures."""

    id, mark = "test.careless", "ours"

    def setup(self, problem: FederatedCMDP) -> Run:
        return run("fednpg", problem, 3, compare=False)

    @upper("max V <= 1000")
    def largest(self, x: Run) -> tuple[float, float]:
        return np.max(x.value), 1000.0


def test_a_page_that_would_compare_midpoints_is_refused_by_name() -> None:
    with pytest.raises(InvalidProblem, match=r"test\.careless cannot be certified"):
        certify(Careless, Case("textbook:three-state"))


def test_statements_about_random_draws_are_not_certified() -> None:
    verdicts = verify("fednpg.f3", "textbook:two-arm", certify=True)
    assert {v.status for v in verdicts} == {Status.NOT_APPLICABLE}
    assert all("random draws" in v.reason for v in verdicts)


def test_hypotheses_are_decided_exactly() -> None:
    verdicts = verify("fednpg.f2", "textbook:not-slater", certify=True)
    assert {v.status for v in verdicts} == {Status.NOT_APPLICABLE}
    with precision(64), pytest.raises(NotSlater):
        run("fednpg", load_exact("textbook:not-slater"), 2)


@pytest.mark.parametrize(
    "source",
    ["random-mdp:seed=1", "windy-cliff:ncost=2", "textbook:machine-repair", "random-mdp:seed=1,agents=6"],
)
def test_the_equivalence_of_f2_holds_in_every_round(source: str) -> None:
    """In floats the two paths part after some hundred rounds: it is rounding, and this proves it."""
    found = certify(_f2(), Case(source, rounds=60))
    same = next(v for v in found.verdicts if v.claim == "equivalence")
    assert same.status is Status.HOLDS
    assert same.level is Level.CERTIFIED
    assert same.entries > 60


def _f2() -> type[Theorem]:
    from tabular_fedrl.claims.discovery import find

    return find("fednpg.f2")


def test_nothing_of_a_certified_run_leaks_into_the_next_measured_one() -> None:
    before = run("fednpg", load("textbook:three-state"), 5).value.value.tolist()
    certify(Toy, Case("textbook:three-state"), most_bits=256)
    assert balls.working() is None
    assert run("fednpg", load("textbook:three-state"), 5).value.value.tolist() == before


def test_exact_data_outside_a_precision_are_refused_and_floats_inside() -> None:
    problem = exact(load("textbook:three-state"))
    with pytest.raises(InvalidProblem, match="inside balls"):
        run("fednpg", problem, 2)
    with pytest.raises(InvalidProblem, match="inside balls"):
        evaluate(problem.cmdp, np.zeros((3, 2)))
    with precision(64), pytest.raises(InvalidProblem, match="exact data, and no other"):
        run("fednpg", load("textbook:three-state"), 2)
