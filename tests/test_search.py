"""The worst-case search: it finds what is known, reports what the page says, and ends the same every time."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from proofs_check.fednpg.f1 import F1
from proofs_check.fednpg.f2 import F2
from proofs_check.fednpg.f3 import F3
from proofs_check.fednpg.l3 import DriftBound
from proofs_check.lemmas.perturbation import OccupancyPerturbation, ValuePerturbation
from proofs_check.lemmas.tilt import ExponentialTilt, Hoeffding
from proofs_check.npg_pd.published import NPGPD
from tabular_fedrl.claims import Kind, Status, Table, Theorem, identity, upper, verify
from tabular_fedrl.claims.search import looseness, search
from tabular_fedrl.claims.search.budget import Budget
from tabular_fedrl.claims.search.coding import Coding, simplex
from tabular_fedrl.claims.search.extremes import value_extremes
from tabular_fedrl.claims.search.family import Shape, parse_family
from tabular_fedrl.claims.search.found import Found
from tabular_fedrl.claims.search.objective import Objective, certain_ratio, searched
from tabular_fedrl.claims.search.space import Space
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured
from tabular_fedrl.solvers import value_range

# ---- honesty: known worst cases are found, wrong constants are refuted ------------------------------------
KNOWN = [
    (Hoeffding, "hoeffding", 1500),
    (ExponentialTilt, "total_variation", 1500),
    (ExponentialTilt, "divergences", 1500),
    (OccupancyPerturbation, "bound", 3000),
    (ValuePerturbation, "bound", 1500),
    (DriftBound, "step", 6000),
]


@pytest.mark.parametrize("theorem, claim, budget", KNOWN, ids=[f"{t.id}-{c}" for t, c, _ in KNOWN])
@pytest.mark.parametrize("seed", [0, 1])
def test_known_worst_cases_are_found_within_two_percent(theorem, claim, budget, seed):
    """All these constants are the best possible: the supremum of lhs/rhs is 1."""
    found = search(theorem, None, budget, seed, claims=[claim]).found[0]
    assert 0.98 <= found.ratio <= 1.0
    # So close to equality the enclosures may overlap.
    assert found.verdict.status is not Status.FAILS
    assert found.status == "holds"


def shrunk(theorem: type[Theorem], claim: str) -> type[Theorem]:
    """The page with the right side of one claim three percent too small."""
    right = next(c for c in theorem.claims() if c.name == claim)

    def function(self, x):
        lhs, rhs, *_ = right.function(self, x)
        return lhs, rhs * 0.97

    changed = {"id": f"wrong.{claim}", "mark": "ours", claim: replace(right, function=function)}
    return type("Wrong", (theorem,), changed)


@pytest.mark.parametrize("theorem, claim, budget", KNOWN[:5], ids=[f"{t.id}-{c}" for t, c, _ in KNOWN[:5]])
def test_a_constant_three_percent_too_small_is_refuted_and_the_counterexample_certified(
    theorem, claim, budget
):
    result = search(shrunk(theorem, claim), None, budget, claims=[claim])
    found = result.found[0]
    assert found.ratio > 1
    assert found.certified.level == "certified"
    assert found.certified.status is Status.FAILS
    assert found.counterexample
    assert result.exit_code == 1
    assert found.words.startswith("COUNTEREXAMPLE")
    # The page as it stands is right about the same instance.
    verdicts = verify(theorem, found.problem, **found.parameters)
    assert next(v for v in verdicts if v.claim == claim).status is not Status.FAILS


def test_where_an_excess_cannot_be_proved_it_is_no_counterexample(monkeypatch):
    def undecided(theorem, found):
        return replace(found.verdict, status=Status.UNDECIDED)

    monkeypatch.setattr("tabular_fedrl.claims.search.run.proved", undecided)
    result = search(shrunk(Hoeffding, "hoeffding"), None, 500, claims=["hoeffding"])
    assert not result.found[0].counterexample
    assert result.found[0].status == "fails"
    assert result.exit_code == 5


class NoBalls(Theorem):
    """The reward is at most half of what it can be: a page that leaves the number system."""

    id, mark, family = "test.floats", "ours", "bandit:A=2,m=0"

    @upper("r <= 1/2")
    def half(self, problem):
        return np.exp(problem.cmdp.r).max(), 0.5


def test_a_page_that_cannot_be_certified_gives_no_counterexample():
    result = search(NoBalls, None, 50)
    assert result.found[0].status == "fails"
    assert "cannot be certified" in result.found[0].certified.reason
    assert result.exit_code == 5


def test_third_cumulant():
    """(d) of the tilt is half the third cumulant to leading order: at most 1/(6 sqrt 3) span^3, so that the
    constant 1/8 can be 1/(12 sqrt 3) in the limit of small tilts."""
    found = search(ExponentialTilt, None, 4000, claims=["second_order"], space={"t": (1e-4, 1e-2)}).found[0]
    assert found.ratio == pytest.approx(8 / (12 * math.sqrt(3)), rel=0.01)


# ---- what is reported is the page's ----------------------------------------------------------------------
@pytest.mark.parametrize("theorem", [F1, F2, DriftBound, NPGPD], ids=lambda t: t.id)
def test_batches_agree_with_the_page(theorem):
    settings = {"rounds": (1, 12)} | ({"local_steps": (2, 3)} if "local_steps" in theorem.space else {})
    claims = searched(theorem)
    objective, space = Objective(theorem, claims), Space.of(theorem, parse_family(theorem.family), settings)
    rng, compared = np.random.default_rng(5), 0
    for _ in range(8):
        coding = space.draw(rng)
        X = coding.random(rng, 6)
        batch, by_page = objective.ratios(coding, X, claims[0].name)
        assert not by_page
        problems, parameters = coding.decode(X)
        rows = [objective.page(problems.problem(i), coding.parameters_of(parameters, i)) for i in range(6)]
        page = np.array(rows)
        # An allowance is taken off the left sides of batches, which shows where right sides are small.
        both = np.isfinite(page)
        assert (np.isfinite(batch) == both).all()
        np.testing.assert_allclose(batch[both], page[both], rtol=1e-4, atol=1e-4)
        compared += np.isfinite(page).sum()
    assert compared > 30


class Liar(Theorem):
    """The reward lies in [0, 1]; its batch claims otherwise."""

    id, mark = "test.liar", "ours"
    space = {}
    family = "bandit:A=2,m=0"

    @upper("half the largest reward is at most 1")
    def half(self, problem):
        return 0.5 * problem.cmdp.r.max(), 1.0

    def batch(self, problems):
        return {"half": (7.0 + problems.r.max(axis=(1, 2)), np.ones(problems.B))}


def test_what_a_batch_says_is_never_reported():
    found = search(Liar, None, 600).found[0]
    assert found.ratio == pytest.approx(0.5, abs=1e-9)
    assert found.status == "holds"


def test_the_file_and_the_parameters_give_the_ratio_again(tmp_path):
    out = tmp_path / "worst.npz"
    result = search(F2, None, 3000, claims=["gap", "violation"], out=out)
    for found in result.found:
        path = tmp_path / f"worst.{found.claim}.npz"
        again = next(v for v in verify(F2, str(path), **found.parameters) if v.claim == found.claim)
        assert again.ratio == pytest.approx(found.ratio, rel=1e-9)
        assert load(str(path)) == found.problem
    worst = max(result.found, key=lambda f: f.ratio)
    assert load(str(out)) == worst.problem


def test_shares_of_the_slack_belong_to_the_chain():
    found = search(F2, None, 2000, claims=["gap"]).found[0]
    assert [reason for reason, _ in found.shares][-1] == "the constant 2"
    assert sum(share for _, share in found.shares) == pytest.approx(1)


@pytest.mark.parametrize(
    "ratio, constant, suggested, words",
    [
        (0.5712, 7.0, 4.0, "holds with 4 in place of 7 on everything found"),
        (0.57001, None, 0.571, "holds with 0.571 of the right side on everything found"),
        (0.5, None, 0.5, "holds with 0.5 of the right side on everything found"),
        (-0.1, 7.0, None, "the left side was never positive"),
        (1.0, 7.0, 7.0, "attained: no smaller constant holds"),
        (0.9999, 0.125, 0.125, "attained to 3 digits: no smaller constant holds"),
        (0.9999, None, 1.0, "attained to 3 digits: no smaller constant holds"),
        (None, 7.0, None, "no ratio: it applied to no instance with a positive right side"),
    ],
)
def test_suggested_constants_are_rounded_up(ratio, constant, suggested, words):
    found = Found("t", "c", Kind.UPPER, "ours", "", constant, ratio)
    assert found.suggested == suggested
    assert found.words == words


# ---- the same every time ----------------------------------------------------------------------------------
def plain(result):
    return {k: v for k, v in result.to_dict().items() if k != "seconds"}


@pytest.mark.parametrize("theorem", [F1, OccupancyPerturbation], ids=lambda t: t.id)
def test_one_seed_gives_one_answer(theorem):
    first, again = (plain(search(theorem, None, 1500, seed=3)) for _ in range(2))
    assert first == again
    assert plain(search(theorem, None, 1500, seed=4))["found"] != first["found"]


def test_a_larger_budget_continues_the_same_sequence():
    points = []
    for budget in (700, 1400, 2100):
        found = search(NPGPD, None, budget).found
        points.append([f.ratio for f in found])
        assert all(f.point.evaluations <= budget for f in found)
    assert points[0] <= points[1] <= points[2]


def test_the_global_random_state_is_left_alone():
    np.random.seed(1)  # noqa: NPY002
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    search(ValuePerturbation, None, 400)
    assert (np.random.get_state()[1] == state).all()  # noqa: NPY002


class Stop:
    """A user's Ctrl-C after some evaluations."""

    def __init__(self, after):
        self.after = after

    def __call__(self, done, total, what):
        if done >= self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize("after", [40, 800, 1400])
@pytest.mark.parametrize("theorem", [F2, ValuePerturbation], ids=lambda t: t.id)
def test_resumed_is_as_if_uninterrupted(tmp_path, theorem, after):
    out = tmp_path / "w.npz"
    with pytest.raises(KeyboardInterrupt):
        search(theorem, None, 1500, seed=2, out=out, progress=Stop(after))
    state = json.loads(out.with_suffix(".json").read_text())
    ratio = {name: point["ratio"] for name, point in state["best"].items()}
    assert ratio
    # Best so far, as an instance file.
    load(str(out))
    resumed = search(theorem, None, 1500, seed=2, out=out, resume=True)
    straight = search(theorem, None, 1500, seed=2)
    assert plain(resumed) == plain(straight)
    assert all(f.ratio >= ratio.get(f.claim, -np.inf) for f in resumed.found)
    assert not list(tmp_path.glob("*.partial"))


def test_resuming_what_is_done_changes_nothing(tmp_path):
    out = tmp_path / "w.npz"
    first = search(NPGPD, None, 900, out=out)
    assert plain(search(NPGPD, None, 900, out=out, resume=True)) == plain(first)
    assert plain(search(NPGPD, None, 1800, out=out, resume=True)) == plain(search(NPGPD, None, 1800))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seed": 1}, "was searched with seed = 0, not 1"),
        ({"family": "bandit:A=2"}, "was searched with family = "),
        ({"claims": ["gap"]}, "was searched with claims = "),
        ({"space": {"rounds": [5]}}, "was searched with space = "),
    ],
)
def test_another_search_is_not_resumed(tmp_path, change, message):
    out = tmp_path / "w.npz"
    search(NPGPD, None, 100, out=out)
    with pytest.raises(InvalidProblem, match=message):
        search(NPGPD, **{"family": None, "budget": 100, "out": out, "resume": True, **change})


def damaged(state):
    point = next(iter(state["best"].values()))
    yield {**state, "best": {"gap": {**point, "x": point["x"][1:]}}}
    yield {**state, "best": {"gap": {**point, "x": [7.0] * len(point["x"])}}}
    yield {**state, "best": {"gap": {**point, "shape": {"S": 2}}}}
    yield {**state, "best": []}
    yield {**state, "restart": "x"}
    yield {k: v for k, v in state.items() if k != "begun"}
    yield {**state, "format": "tabular-fedrl search 0"}
    yield []


def test_damaged_states_are_refused(tmp_path):
    out = tmp_path / "w.npz"
    search(NPGPD, None, 100, out=out)
    file = out.with_suffix(".json")
    state = json.loads(file.read_text())
    for bad in damaged(state):
        file.write_text(json.dumps(bad))
        with pytest.raises(InvalidProblem, match=r"w\.json"):
            search(NPGPD, None, 100, out=out, resume=True)
    file.write_text(json.dumps(state)[:50])
    with pytest.raises(InvalidProblem, match="cannot be read"):
        search(NPGPD, None, 100, out=out, resume=True)


# ---- bad questions ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text, message",
    [
        ("cmpd:S=2", "unknown family 'cmpd'; did you mean 'cmdp'"),
        ("cmdp:s=2", "cmdp: unknown key 's'"),
        ("bandit:S=2", "bandit: unknown key 'S'"),
        ("bandit:gamma=0.5", "bandit: unknown key 'gamma'"),
        ("cmdp:S=0", "cmdp: S=0: expected whole numbers from 1 to 12"),
        ("cmdp:S=3..2", "cmdp: S=3..2: expected"),
        ("cmdp:S=2..", "cmdp: S=2..: a range is low..high"),
        ("cmdp:S=2.5", "cmdp: S: '2.5' is not a whole number"),
        ("cmdp:S=2,S=3", "cmdp: S is given twice"),
        ("cmdp:S", "cmdp: 'S' is not key=value"),
        ("cmdp:gamma=0..1", "cmdp: gamma=0..1: expected numbers in"),
        ("cmdp:gamma=nan", "cmdp: gamma: 'nan' is not a number"),
        ("cmdp:S=9999999999999999999", "cmdp: S: "),
        ("", "unknown family ''"),
    ],
)
def test_bad_families_are_named(text, message):
    with pytest.raises(InvalidProblem, match=message.replace("..", r"\.\.")):
        parse_family(text)


@pytest.mark.parametrize("value", ["", "0", "0s", "-5", "5 weeks", "1.5", "nan", "1e9", "s", None])
def test_bad_budgets_are_refused(value):
    with pytest.raises(InvalidProblem, match="budget = "):
        Budget.of(value)


def test_budgets():
    assert Budget.of("90s") == Budget.of("1.5m") == Budget(90.0, True)
    assert Budget.of(250) == Budget.of("250") == Budget(250, False)
    assert Budget.of("250").left(240, 1e9) == 10
    assert Budget.of("2s").left(10**9, 1.9) > 0
    assert Budget.of("2s").left(0, 2.0) == 0


def test_time_ends_a_search():
    result = search(Hoeffding, None, "1s")
    assert result.evaluations > 10
    assert result.found[0].ratio is not None


class OnlyIdentity(Theorem):
    """Nothing to search."""

    id, mark = "test.identity", "ours"

    @identity("0 = 0")
    def zero(self, problem):
        return 0.0, 0.0


@pytest.mark.parametrize(
    "theorem, words, message",
    [
        (F1, {"claims": ["nothing"]}, "fednpg.f1 has no claim 'nothing'"),
        (F1, {"claims": ["slope_of_the_bound"]}, "is an identity"),
        (OnlyIdentity, {}, "states no inequality"),
        (F3, {}, "states no inequality that is decided without sampling"),
        (F3, {"claims": ["gap"]}, "fednpg.f3::gap is decided with a confidence"),
        (F1, {"space": {"colour": [1]}}, "has no parameter 'colour'"),
        (F1, {"space": {"rounds": (5, 2)}}, r"rounds = 5\.\.2: a range rises"),
        (F1, {"space": {"rounds": "many"}}, "rounds = 'many': expected"),
        (F1, {"family": "bandit:A=1"}, "applied to an instance of bandit.*at least two actions"),
        (F1, {"out": "somewhere.json"}, "must end in .npz"),
        (F1, {"out": "no/such/folder/w.npz"}, "does not exist"),
    ],
)
def test_what_cannot_be_searched_is_refused(theorem, words, message):
    with pytest.raises(InvalidProblem, match=message):
        search(theorem, budget=50, **words)


# ---- coordinates ------------------------------------------------------------------------------------------
@given(arrays(np.float64, (3, 4), elements=st.floats(-3, 3, allow_subnormal=False)), st.integers(1, 4))
def test_projection_onto_the_simplex(x, most):
    p = simplex(x, most)
    assert (p >= 0).all()
    np.testing.assert_allclose(p.sum(axis=-1), 1, rtol=1e-15)
    assert ((p > 0).sum(axis=-1) <= most).all()
    if most == 4:
        # The projection is the point whose difference from x makes an obtuse angle with every vertex.
        inner = np.einsum("ik,ijk->ij", x - p, np.eye(4)[None] - p[:, None])
        assert (inner <= 1e-9).all()
    else:
        assert simplex(p, most) == pytest.approx(p, abs=1e-15)


def test_vertices_are_reached_exactly():
    p = simplex(np.array([[5.0, 0.1, -2.0], [0.2, 0.2, 3.0]]), 3)
    assert (p == [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]).all()


SHAPES = st.builds(
    lambda S, A, m, N, b: Shape(S, A, m, N, min(b, S)),
    st.integers(1, 3), st.integers(1, 3), st.integers(0, 2), st.integers(1, 3), st.integers(1, 3),
)  # fmt: skip


@given(SHAPES, st.integers(0, 2**32 - 1))
@settings(max_examples=30)
def test_every_vector_is_an_instance(shape, seed):
    """Feasible, as its family says, and unchanged where it already is one."""
    tables = {"first": Table.POLICY, "U": Table.SIGNAL}
    coding = Coding(shape, (0.0, 0.9), {"rounds": 3}, {"eta": (1e-3, 1.0)}, tables)
    rng = np.random.default_rng(seed)
    X = np.concatenate([coding.random(rng, 6), coding.project(rng.normal(0.3, 1.5, (4, coding.size)))])
    np.testing.assert_allclose(coding.project(X), X, atol=1e-15)
    problems, parameters = coding.decode(X)
    assert ((problems.P > 0).sum(axis=-1) <= shape.branching).all()
    assert problems.signals.min() >= 0
    assert problems.signals.max() <= 1
    for i in range(len(X)):
        cmdp = problems.problem(i).cmdp
        for j in range(shape.m):
            low, high = value_range(cmdp, cmdp.c[j])
            assert float(low) - 1e-9 <= cmdp.d[j] <= float(high) + 1e-9
        chosen = coding.parameters_of(parameters, i)
        assert chosen["rounds"] == 3
        assert 1e-3 <= chosen["eta"] <= 1.0
        assert np.shape(chosen["first"]) == np.shape(chosen["U"]) == (shape.S, shape.A)
        json.dumps(chosen)


def test_ranges_end_exactly():
    coding = Coding(Shape(1, 2, 0, 1, 1), (0.1, 0.9), {}, {"eta": (0.3, 0.7), "x": (-1.0, 1.0)}, {})
    for end, gamma, eta, x in ((0.0, 0.1, 0.3, -1.0), (1.0, 0.9, 0.7, 1.0)):
        problems, parameters = coding.decode(np.full((1, coding.size), end))
        assert (problems.gamma[0], parameters["eta"][0], parameters["x"][0]) == (gamma, eta, x)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20)
def test_value_extremes(seed):
    rng = np.random.default_rng(seed)
    coding = Coding(Shape(3, 2, 2, 1, 3), (0.0, 0.99), {}, {}, {})
    problems, _ = coding.decode(coding.random(rng, 5))
    least, most = value_extremes(problems.P, problems.c, problems.rho, problems.gamma)
    for i in range(5):
        cmdp = problems.problem(i).cmdp
        for j in range(2):
            low, high = value_range(cmdp, cmdp.c[j])
            assert least[i, j] == pytest.approx(float(low), abs=1e-9)
            assert most[i, j] == pytest.approx(float(high), abs=1e-9)


def test_families_draw_what_they_say():
    family = parse_family("sparse:S=3..4,A=2..3,b=2,m=0..2,N=1..3,gamma=0.5")
    assert str(parse_family(str(family))) == str(family)
    rng = np.random.default_rng(0)
    drawn = {family.draw(rng) for _ in range(300)}
    assert {s.S for s in drawn} == {3, 4}
    assert {s.m for s in drawn} == {0, 1, 2}
    assert {s.branching for s in drawn} == {2}
    assert parse_family("deterministic:S=3").draw(rng).branching == 1
    assert parse_family("bandit").draw(rng).S == 1
    for shape in drawn:
        assert shape.mask.any(axis=0).all()
        assert shape.m == 0 or shape.mask.any(axis=1).all()


def test_structures_are_drawn_from_the_space():
    space = Space.of(F1, parse_family("cmdp:S=2"), {"rounds": (2, 9), "local_steps": [4]})
    rng = np.random.default_rng(0)
    codings = [space.draw(rng) for _ in range(300)]
    assert {c.fixed["rounds"] for c in codings} == set(range(2, 10))
    assert {c.fixed["local_steps"] for c in codings} == {4}
    # A choice between nothing and a range is a coordinate where it is the range.
    assert {"eta" in c.reals for c in codings} == {True, False}
    assert all(("eta" in c.reals) != ("eta" in c.fixed) for c in codings)
    near = list(space.neighbours(codings[0]))
    assert near
    assert all(c.size == codings[0].size and c.fixed != codings[0].fixed for c in near)


def test_certain_ratio():
    assert certain_ratio(Measured(1.0, 0.5), 1.0) == pytest.approx(0.5)
    assert certain_ratio(np.array([1.0, 3.0]), np.array([2.0, 4.0])) == pytest.approx(0.75)
    assert certain_ratio(1.0, 0.0) == np.inf
    assert certain_ratio(0.0, 0.0) == -np.inf
    assert certain_ratio(Measured(1e-20, 1e-16), Measured(1e-22, 1e-16)) < 0
    assert certain_ratio(np.zeros(0), np.zeros(0)) == -np.inf


# ---- parameter by parameter -------------------------------------------------------------------------------
def test_looseness_by_parameter():
    data = looseness(NPGPD, ["gap"], {"gamma": (0.0, 0.5), "rounds": (1, 4)}, "bandit:A=2", {}, 50)
    assert list(data.arrays["axes"]) == ["gamma", "rounds"]
    assert data.arrays["ratio_gamma"].shape == (1, 2)
    # One round: the uniform policy on two arms, of which one pays and no constraint binds.
    assert data.arrays["ratio_rounds"][0, 0] == pytest.approx(0.5 / 7, rel=0.2)
