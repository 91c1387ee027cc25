"""The claims machinery: how verdicts are decided; hypotheses, chains, controls, suites, discovery, pytest."""

import json
from fractions import Fraction
from textwrap import dedent
from typing import Literal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular_fedrl.claims import (
    Case,
    Kind,
    Role,
    Status,
    Theorem,
    chain,
    conjecture,
    control,
    hypothesis,
    identity,
    summarise,
    tight,
    upper,
    verify,
    verify_all,
)
from tabular_fedrl.claims.check import check_all, check_attained, check_control
from tabular_fedrl.claims.discovery import find, in_module, load_file, select, theorems
from tabular_fedrl.claims.verdict import decide
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured

pytest_plugins = "pytester"

TWO_ARM = "textbook:two-arm"
HOLDS, FAILS, UNDECIDED, NOT = Status.HOLDS, Status.FAILS, Status.UNDECIDED, Status.NOT_APPLICABLE


# ---- deciding --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("kind", "lhs", "rhs", "error", "status"),
    [
        (Kind.UPPER, 1.0, 2.0, 0.5, HOLDS),
        (Kind.UPPER, 1.0, 2.0, 1.5, UNDECIDED),
        (Kind.UPPER, 2.0, 1.0, 0.5, FAILS),
        (Kind.UPPER, 2.0, 1.0, 1.5, UNDECIDED),
        (Kind.UPPER, 1.0, 1.0, 1e-15, UNDECIDED),  # equality is not decided by enclosures with a radius
        (Kind.UPPER, 1.0, 1.0, 0.0, HOLDS),
        (Kind.UPPER, 1.0, 2.0, np.inf, UNDECIDED),
        (Kind.CONJECTURE, 2.0, 1.0, 0.5, FAILS),
        (Kind.CONJECTURE, 1.0, 2.0, 0.5, HOLDS),
        (Kind.TIGHT, 1.0, 1.0, 1e-12, HOLDS),  # unless the claim may be an equality
        (Kind.TIGHT, 1.0, 1.0, 1e-3, UNDECIDED),
        (Kind.TIGHT, 1.1, 1.0, 1e-3, FAILS),
        (Kind.IDENTITY, 1.0, 1.0, 1e-12, HOLDS),
        (Kind.IDENTITY, 1.0, 1.0 + 1e-13, 1e-12, HOLDS),
        (Kind.IDENTITY, 1.0, 1.0, 1e-3, UNDECIDED),  # the enclosure is wider than the tolerance
        (Kind.IDENTITY, 1.0, 1.1, 1e-3, FAILS),
        (
            Kind.IDENTITY,
            1.0,
            1.0 + 1e-11,
            1e-12,
            FAILS,
        ),  # a radius that does not reach 0, however small the gap
    ],
)
def test_a_verdict_follows_from_the_enclosures(kind, lhs, rhs, error, status):
    assert decide(kind, Measured(lhs, error), rhs, 1e-9).status is status
    assert decide(kind, lhs, Measured(rhs, error), 1e-9).status is status


@given(
    st.lists(st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3), st.floats(0, 10)), min_size=1, max_size=6)
)
def test_no_verdict_contradicts_a_point_of_its_enclosures(entries):
    lhs, rhs, radius = (np.array(x) for x in zip(*entries, strict=True))
    status = decide(Kind.UPPER, Measured(lhs, radius), rhs, 1e-9).status
    exact = [
        (Fraction(a) - Fraction(e) - Fraction(b), Fraction(a) + Fraction(e) - Fraction(b))
        for a, b, e in entries
    ]
    if status is HOLDS:
        assert all(high <= 0 for _, high in exact)
    elif status is FAILS:
        assert any(low > 0 for low, _ in exact)
    else:
        assert any(high > -1e-9 for _, high in exact)
        assert all(low < 1e-9 for low, _ in exact)


def test_one_failing_entry_fails_the_claim_and_is_the_one_shown():
    decision = decide(Kind.UPPER, np.array([1.0, 5.0, 9.0]), np.array([2.0, 1.0, 8.0]), 1e-9)
    assert decision.status is FAILS
    assert (decision.lhs, decision.rhs, decision.entries) == (5.0, 1.0, 3)
    assert decision.ratio == 5.0


def test_an_undecided_entry_outranks_a_closer_one_that_holds():
    lhs = Measured([0.0, 1.0 - 1e-6], [10.0, 0.0])
    decision = decide(Kind.UPPER, lhs, np.array([1.0, 1.0]), 1e-9)
    assert decision.status is UNDECIDED
    assert decision.error >= 10


@pytest.mark.parametrize(("rhs", "vacuous"), [([3.0, 0.5], False), ([3.0, 1.0], True), ([0.2, 0.5], False)])
def test_a_bound_is_vacuous_when_it_never_beats_the_trivial_range(rhs, vacuous):
    assert decide(Kind.UPPER, np.zeros(2), np.array(rhs), 1e-9, 1.0).vacuous is vacuous
    assert decide(Kind.UPPER, np.zeros(2), np.array(rhs), 1e-9).vacuous is None


def test_a_ratio_needs_a_positive_right_side_and_identities_have_none():
    assert decide(Kind.UPPER, -1.0, 0.0, 1e-9).ratio is None
    assert decide(Kind.UPPER, -1.0, 2.0, 1e-9).ratio == -0.5
    assert decide(Kind.IDENTITY, 1.0, 1.0, 1e-9).ratio is None


# ---- theorems --------------------------------------------------------------------------------------------
class Arms(Theorem):
    """Facts on two arms. This sentence is not part of the title."""

    id, mark, source = "test.arms", "ours", "hand"
    suite = (Case(TWO_ARM, bound=2.0), Case("textbook:three-state"))

    @hypothesis("one state")
    def one_state(self, problem):
        return problem.cmdp.S == 1

    @hypothesis("a large bound", only=["large"])
    def large_bound(self, problem, bound):
        return bound > 10

    def setup(self, problem, bound=1.0):
        return problem.cmdp, bound

    @identity(r"r_1 = 1")
    def pays(self, x):
        return x[0].r[0, 0], 1.0

    @tight(r"\max r \le b", attained=Case(TWO_ARM, bound=1.0))
    def bounded(self, x):
        return x[0].r, x[1], 1.5

    @chain("bounded")
    def bounded_chain(self, x):
        yield "lhs", x[0].r.max()
        yield "a link that is wrong for b > 1", 1.0 if x[1] == 1 else 0.5
        yield "rhs", x[1]

    @upper("large bounds only")
    def large(self, x):
        return 0.0, x[1]

    @conjecture("nobody knows", confidence=0.9)
    def guess(self, x):
        return Measured(0.0, 5.0), x[1]

    @upper("about nothing")
    def empty(self, x):
        return np.zeros(0), np.ones(0)

    @control("half the bound", Case(TWO_ARM, bound=1.5))
    def half(self, x):
        return x[0].r.max(), x[1] / 2

    @control("a statement that happens to be true", Case(TWO_ARM))
    def harmless(self, x):
        return 0.0, 1.0


def of(verdicts):
    return {v.claim: v for v in verdicts}


def test_claims_links_and_hypotheses_of_one_case():
    found = of(verify(Arms, TWO_ARM, bound=2.0))
    status = {name: v.status for name, v in found.items()}
    assert status == {
        "pays": HOLDS,
        "bounded": HOLDS,
        "bounded/1": FAILS,
        "bounded/2": HOLDS,
        "large": NOT,
        "guess": UNDECIDED,
        "empty": NOT,
    }
    assert found["bounded/1"].role is Role.LINK
    assert found["bounded/1"].statement == "a link that is wrong for b > 1"
    assert found["large"].reason == "hypothesis not met: a large bound"
    assert found["empty"].reason == "nothing to check: no entry"
    assert found["guess"].confidence == 0.9
    assert found["bounded"].vacuous is True
    assert found["bounded"].parameters == {"bound": 2.0}
    assert of(verify(Arms, TWO_ARM, bound=20.0))["large"].status is HOLDS


def test_a_hypothesis_of_the_whole_theorem_blocks_every_claim():
    found = verify(Arms, "textbook:three-state")
    assert {v.status for v in found} == {NOT}
    assert {v.reason for v in found} == {"hypothesis not met: one state"}
    assert len(found) == len(Arms.claims())


def test_problems_outside_every_theorem_are_not_applicable():
    found = verify("fednpg.f1", "textbook:infeasible", rounds=2)
    assert {v.status for v in found} == {NOT}
    assert "infeasible" in found[0].reason
    found = verify("fednpg.f1", "textbook:not-slater", rounds=2)
    assert {v.status for v in found} == {NOT}
    assert "Slater" in found[0].reason


def test_problems_may_be_objects():
    problem = load(TWO_ARM)
    for given_problem in (problem, problem.cmdp):
        verdict = verify(Arms, given_problem)[0]
        assert verdict.status is HOLDS
        assert verdict.instance == f"cmdp-{problem.cmdp.digest[:8]}"


def test_controls_must_fail_and_attained_bounds_must_be_equalities():
    half, harmless = (check_control(Arms, c) for c in Arms.controls())
    assert (half.status, half.as_expected) == (FAILS, True)
    assert (harmless.status, harmless.as_expected) == (HOLDS, False)
    claim = next(c for c in Arms.claims() if c.name == "bounded")
    # r = (1, 0) against 1: attained in one entry only, so the bound as an equality of arrays is not.
    assert check_attained(Arms, claim).status is FAILS
    assert {v.role for v in check_all(Arms)} == set(Role)


def test_title_and_parameters_are_read_from_the_class():
    assert Arms.title() == "Facts on two arms. This sentence is not part of the title"
    assert Arms.parameters() == {"bound": 1.0}
    with pytest.raises(InvalidProblem, match="no parameter 'bond'; did you mean 'bound'"):
        verify(Arms, TWO_ARM, bond=1)


class Typed(Theorem):
    """A page whose parameters say what they take."""

    id, mark = "typed", "ours"

    def setup(
        self, problem: object, t: float = 1.0, n: int = 2, how: Literal["one", "two"] = "one", on: bool = True
    ) -> object:
        return problem

    @upper("0 \\le 1")
    def trivial(self, x: object) -> tuple[float, float]:
        return 0.0, 1.0


@pytest.mark.parametrize(
    "given, expected",
    [
        ({"t": "abc"}, "typed: t = 'abc': expected a number"),
        ({"t": True}, "t = True: expected a number"),
        ({"t": None}, "t = None: expected a number"),
        ({"n": 2.5}, "n = 2.5: expected a whole number"),
        ({"how": "three"}, "how = 'three': expected 'one' or 'two'"),
        ({"on": 1}, "on = 1: expected true or false"),
    ],
)
def test_a_parameter_of_another_type_is_refused(given, expected):
    with pytest.raises(InvalidProblem, match=expected):
        verify(Typed, TWO_ARM, **given)
    assert verify(Typed, TWO_ARM, t=2, n=3.0, how="two", on=False)[0].status is HOLDS


def test_a_fault_of_a_page_is_placed(tmp_path):
    """The line of the page, also where the error arises below it; the package's own errors stay."""
    path = tmp_path / "faulty.py"
    path.write_text(
        dedent("""\
        import numpy as np
        from tabular_fedrl.claims import Theorem, upper
        class Faulty(Theorem):
            id, mark = "faulty", "ours"
            def setup(self, problem, fault="name"):
                return fault
            @upper("a")
            def claim(self, fault):
                if fault == "name":
                    return fault.values, 1.0
                return 0.0 if fault == "side" else (np.zeros(2), np.zeros(3))
        """)
    )
    (faulty,) = load_file(path)
    with pytest.raises(AttributeError) as raised:
        verify(faulty, TWO_ARM)
    assert raised.value.__notes__ == [f"in faulty::claim on {TWO_ARM} (faulty.py, line 10)"]
    with pytest.raises(ValueError, match="broadcast") as raised:
        verify(faulty, TWO_ARM, fault="shape")
    assert raised.value.__notes__ == [f"in faulty::claim on {TWO_ARM};fault=shape"]
    with pytest.raises(InvalidProblem, match="faulty::claim must return its left side, its right side"):
        verify(faulty, TWO_ARM, fault="side")


def test_a_suite_holds_cases():
    with pytest.raises(TypeError, match="careless: suite and certified hold cases"):
        type("Careless", (Theorem,), {"id": "careless", "mark": "ours", "suite": (TWO_ARM,)})


def test_a_parameter_without_default_must_be_given():
    class Needy(Theorem):
        """Needs a number."""

        id, mark = "test.needy", "ours"

        def setup(self, problem, number):
            return number

        @upper("n <= 1")
        def small(self, x):
            return x, 1.0

    with pytest.raises(InvalidProblem, match="needs a value for its parameter 'number'"):
        verify(Needy, TWO_ARM)
    assert verify(Needy, TWO_ARM, number=0.0)[0].status is HOLDS


def test_a_subclass_inherits_the_page_and_may_replace_a_claim():
    class Stricter(Arms):
        """The same with another bound."""

        id, mark = "test.stricter", "ours"

        @upper("stricter")
        def large(self, x):
            return 1.0, x[1]

    assert [c.name for c in Stricter.claims()] == ["pays", "bounded", "large", "guess", "empty"]
    assert of(verify(Stricter, TWO_ARM, bound=20.0))["large"].statement == "stricter"


def test_an_unknown_mark_is_refused():
    with pytest.raises(ValueError, match="guessed"):
        type("Bad", (Theorem,), {"id": "test.bad", "mark": "guessed"})


# ---- suites ----------------------------------------------------------------------------------------------
def test_exit_codes_and_summaries_of_a_suite():
    results = verify_all([Arms])
    assert results.exit_code == 1
    rows = {(s.claim, s.role): s for s in summarise(results.verdicts)}
    pays = rows["pays", "claim"]
    assert pays.counts == {"holds": 1, "not applicable": 1}
    assert pays.expected
    assert rows["bounded", "claim"].informative == 0
    assert not rows["harmless", "control"].expected
    assert verify_all([Arms], [(TWO_ARM, {"bound": 2.0})]).exit_code == 1  # the wrong link
    assert verify_all([Arms], [(TWO_ARM, {})]).exit_code == 5  # the conjecture is undecided
    assert verify_all([Arms], [("textbook:three-state", {})]).exit_code == 0


PAGE = '''
from tabular_fedrl.claims import Case, StudyData, Theorem, control, study, upper
import numpy as np

class Mine(Theorem):
    """A theorem of my own."""
    id, mark = "mine.reward", "ours"
    suite = (Case("textbook:two-arm"), Case("textbook:two-arm", bound=0.5), Case("random-mdp:seed=1"))
    small = {"bound": 9.0}

    def setup(self, problem, bound=1.0):
        return problem.cmdp.r.max(), bound

    @upper("r <= bound")
    def reward(self, x):
        return x

    @control("r <= 0", Case("textbook:two-arm"))
    def nothing(self, x):
        return x[0], 0.0

    @study("slack")
    def slack(self):
        return StudyData({"a": np.arange(3.0)}, {"name": "mine"})
'''


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "my_theorem.py"
    path.write_text(PAGE)
    return path


def test_processes_give_what_one_process_gives(page):
    (mine,) = load_file(page)
    steps = []
    one = verify_all([mine], progress=lambda done, total, what: steps.append((done, total, what)))
    two = verify_all([mine], jobs=2)
    assert one.verdicts == two.verdicts
    assert [v.status for v in one.verdicts] == [HOLDS, FAILS, HOLDS, FAILS]
    assert one.studies.keys() == two.studies.keys() == {"mine.reward.slack"}
    assert one.plots == {"mine.reward.slack": "slack"}
    assert np.array_equal(two.studies["mine.reward.slack"].arrays["a"], np.arange(3.0))
    assert [s[:2] for s in steps] == [(i, 5) for i in range(1, 6)]
    json.dumps([v.to_dict() for v in one.verdicts], allow_nan=False)


# ---- discovery -------------------------------------------------------------------------------------------
def test_the_package_announces_its_pages_and_leaves_out_the_template():
    known = theorems()
    for name in ("fednpg.f1", "fednpg.f3", "fednpg.f4", "fednpg.aliasing", "lemmas.value-perturbation"):
        assert name in known
    assert not any("template" in name for name in known)
    assert find("fednpg.f4") is known["fednpg.f4"]
    assert {t.id for t in select("fednpg")} == {name for name in known if name.startswith("fednpg.")}
    with pytest.raises(InvalidProblem, match=r"did you mean 'fednpg\.f4'"):
        find("fednpg.f44")


@pytest.mark.parametrize("name", sorted(theorems()))
def test_every_page_is_complete(name):
    theorem = theorems()[name]
    assert theorem.title()
    assert theorem.source
    assert theorem.claims()
    assert theorem.controls(), "at least one mutated statement per theorem"
    assert list(theorem.suite)
    names = {c.name for c in theorem.claims()}
    assert {c.of for c in theorem.chains()} <= names
    assert {n for h in theorem.hypotheses() for n in h.only} <= names
    for case in [*theorem.suite, *(c.case for c in theorem.controls())]:
        assert set(case.parameters) <= set(theorem.parameters())


def test_a_file_of_ones_own_is_read_once(page):
    first, second = select(str(page)), load_file(page)
    assert [t.id for t in first] == ["mine.reward"]
    assert first == second


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file"),
        ("x = (", "cannot be loaded: SyntaxError"),
        ("1 / 0", "cannot be loaded: ZeroDivisionError"),
        ("from tabular_fedrl.claims import Theorem", "defines no subclass of Theorem"),
    ],
)
def test_bad_files_are_named(tmp_path, text, message):
    path = tmp_path / "broken.py"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InvalidProblem, match=message):
        load_file(path)


def test_imported_theorems_do_not_belong_to_a_module():
    import proofs_check.fednpg.f4 as page

    assert [t.id for t in in_module(page)] == ["fednpg.f4"]


# ---- pytest ----------------------------------------------------------------------------------------------
def test_the_plugin_makes_items_of_claims_controls_and_random_problems(pytester, page):
    result = pytester.runpytest_subprocess("-v", "-p", "no:cacheprovider", str(page))
    result.assert_outcomes(passed=4, failed=1)
    result.stdout.fnmatch_lines(
        [
            "*mine.reward::reward[[]textbook:two-arm[]] PASSED*",
            "*mine.reward::reward[[]textbook:two-arm;bound=0.5[]] FAILED*",
            "*mine.reward::nothing must fail[[]textbook:two-arm[]] PASSED*",
            "*mine.reward::random small problems PASSED*",
            "*fails: 1 <= 0.5*",
        ]
    )


def test_the_plugin_reports_a_control_that_holds_and_a_wrong_link(pytester):
    pytester.makepyfile(
        harmless=dedent(
            '''
            from tabular_fedrl.claims import Case, Theorem, chain, control, upper

            class Harmless(Theorem):
                """Nothing fails here."""
                id, mark, small = "mine.harmless", "ours", None
                suite = (Case("textbook:two-arm"),)

                @upper("0 <= 1")
                def order(self, x):
                    return 0.0, 1.0

                @chain("order")
                def order_chain(self, x):
                    yield "lhs", 0.0
                    yield "too far", 2.0
                    yield "rhs", 1.0

                @control("not a mutation", Case("textbook:two-arm"))
                def same(self, x):
                    return 0.0, 1.0
            '''
        )
    )
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "harmless.py")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*mine.harmless::order/2*fails: 2 <= 1*", "*mine.harmless::same*holds*"])
