"""Rechecking certificates: the checker's mathematics, strangers' files, and files that were tampered with."""

import copy
import json
import os
import re
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from flint import fmpq
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import tabular_fedrl.claims.recheck as module
from tabular_fedrl.claims import Case, find
from tabular_fedrl.claims.certificate import certificate, write_certificates
from tabular_fedrl.claims.certify import Certified, certify, certify_at
from tabular_fedrl.claims.recheck import recheck
from tabular_fedrl.claims.recheck_file import MAX_BYTES, decimal, read
from tabular_fedrl.claims.recheck_proof import Mismatch, follows, prove_basis, ratio, rounded
from tabular_fedrl.errors import InvalidProblem, SolverFailure
from tabular_fedrl.instances import load_exact
from tabular_fedrl.instances.rational_json import from_json, read_tables, to_json
from tabular_fedrl.instances.strict_json import sha256
from tabular_fedrl.solvers import rational
from tabular_fedrl.solvers.exact import session
from tests.commandline import THEOREM, call


# ---- what follows from enclosures -------------------------------------------------------------------------
def q(x):
    x = Fraction(x)
    return fmpq(x.numerator, x.denominator)


numbers = st.fractions(-3, 3, max_denominator=8)
intervals = st.tuples(numbers, numbers).map(sorted).map(tuple)


@given(intervals, intervals, st.sampled_from(["upper", "conjecture", "tight", "identity"]))
def test_statuses_are_what_every_point_of_the_enclosures_says(lhs, rhs, kind):
    """With tolerance 0, where only points are equal."""
    points = list(product(lhs, rhs))
    status = follows(kind, *(tuple(map(q, side)) for side in (lhs, rhs)), fmpq(0))
    if kind == "identity":
        meet = lhs[0] <= rhs[1] and rhs[0] <= lhs[1]
        certain = lhs[0] == lhs[1] == rhs[0] == rhs[1]
        assert status == ("holds" if certain else "undecided" if meet else "fails")
    else:
        every, none = all(a <= b for a, b in points), all(a > b for a, b in points)
        assert status == ("holds" if every else "fails" if none else "undecided")


@pytest.mark.parametrize(
    "kind, lhs, rhs, status",
    [
        ("tight", (0, 1e-9), (0, 1e-9), "holds"),
        ("tight", (0, 1e-7), (0, 1e-7), "undecided"),
        ("upper", (0, 1e-9), (0, 1e-9), "undecided"),
        ("identity", (0, 1e-9), (0, 1e-9), "holds"),
        ("identity", (0, 1e-7), (0, 1e-7), "undecided"),
        ("identity", (1e-7, 1e-7), (0, 0), "fails"),
        ("tight", (1e-9, 1e-9), (0, 0), "fails"),
        # The tolerance is relative to sides larger than 1.
        ("identity", (100, 100 + 1e-7), (100, 100 + 1e-7), "holds"),
        ("identity", (100, 100 + 1e-5), (100, 100 + 1e-5), "undecided"),
    ],
)
def test_the_tolerance_is_for_equalities_only(kind, lhs, rhs, status):
    assert follows(kind, tuple(map(q, lhs)), tuple(map(q, rhs)), q(1e-8)) == status


@given(intervals, intervals.filter(lambda x: x[0] > 0))
def test_ratios_enclose_every_quotient(lhs, rhs):
    low, high = map(Fraction, ratio("upper", tuple(map(q, lhs)), tuple(map(q, rhs))))
    quotients = [a / b for a, b in product(lhs, rhs)]
    assert low <= min(quotients) <= max(quotients) <= high
    assert high - low <= (max(quotients) - min(quotients)) + Fraction(2, 10**5) * max(map(abs, (low, high)))


@given(st.fractions(), st.integers(1, 30))
def test_rounding_is_outward(x, digits):
    low, high = map(Fraction, rounded((q(x), q(x)), digits))
    assert low <= x <= high
    assert (high - low) * 10 ** (digits - 1) <= 10 * abs(x)


def test_no_ratio_where_there_is_none():
    one = (fmpq(1), fmpq(1))
    assert ratio("identity", one, one) is None
    assert ratio("upper", one, (fmpq(0), fmpq(1))) is None
    assert ratio("upper", one, (fmpq(-1), fmpq(-1))) is None


@given(st.integers(-(10**50), 10**50), st.integers(-300, 300), st.integers(0, 20))
def test_decimals_are_exact(digits, exponent, places):
    assert decimal(f"{digits}e{exponent}", "x") == q(Fraction(digits) * Fraction(10) ** exponent)
    text = f"{'-' if digits < 0 else ''}{abs(digits)}.{'0' * places}25E{exponent:+d}"
    assert decimal(text, "x") == q(Fraction(text))


@pytest.mark.parametrize(
    "text", ["nan", "inf", "1e999999999", "1e-999999", "", "1.", ".5", "0x1", "1_0", "٣", "1/0", "-", " 1"]
)  # fmt: skip
def test_what_is_no_decimal(text):
    with pytest.raises(InvalidProblem, match="is not a decimal number"):
        decimal(text, "x")


# ---- bases ------------------------------------------------------------------------------------------------
SOURCES = [
    "textbook:three-state",
    "textbook:two-budgets",
    "random-mdp:seed=1,nA=2,ncost=2",
    "textbook:not-slater",
]


def proved(prover, *arguments):
    try:
        prover(*arguments)
    except (Mismatch, SolverFailure):
        return False
    return True


@pytest.mark.parametrize("source", SOURCES)
def test_optimal_bases_prove_and_their_neighbours_do_as_the_solver_says(source):
    """Every basis with one variable exchanged: the checker and the solver, written apart, agree."""
    tables = read_tables(to_json(load_exact(source)))
    fields = (tables.P, tables.c, tables.d, tables.rho, tables.gamma)
    best = rational.optimum(tables.P, tables.r, *fields[1:])
    slack = rational.slack(*fields)
    verdicts = set()
    for found, of_slack in ((best, False), (slack, True)):
        prove_basis(tables, found.basis, of_slack)
        count = tables.r.size + len(tables.d) + of_slack
        for k, i in product(range(len(found.basis)), range(count)):
            basis = sorted({*found.basis} - {found.basis[k]} | {i})
            if of_slack:
                theirs = proved(rational.prove_slack, *fields, basis)
            else:
                theirs = proved(rational.prove_optimum, tables.P, tables.r, *fields[1:], basis)
            assert proved(prove_basis, tables, basis, of_slack) == theirs
            verdicts.add(theirs)
    assert verdicts == {True, False}


def test_a_basis_proves_its_own_problem_only():
    """The optimum of the reward is none for the reversed reward, nor with thresholds that are slack or cannot
    be met."""
    tables = read_tables(to_json(load_exact("textbook:three-state")))
    fields = (tables.P, tables.r, tables.c, tables.d, tables.rho, tables.gamma)
    basis = rational.optimum(*fields).basis
    prove_basis(tables, basis, False)
    for change in ({"r": -tables.r}, {"d": tables.d * 10}, {"d": -tables.d}):
        with pytest.raises(Mismatch):
            prove_basis(replace(tables, **change), basis, False)


@pytest.mark.parametrize(
    "basis, message",
    [
        ((0, 1, 2), "expected 4 different numbers"),
        ((0, 1, 2, 2), "expected 4 different numbers"),
        ((0, 1, 2, 7), "from 0 to 6"),
        ((0, 1, 2, -1), "expected 4"),
        ((0, 1, 2, 3), "is not optimal|is negative|dependent"),
    ],
)
def test_what_is_no_basis(basis, message):
    tables = read_tables(to_json(load_exact("textbook:three-state")))
    with pytest.raises(Mismatch, match=message):
        prove_basis(tables, basis, False)
    with pytest.raises(Mismatch, match="the slack itself, is not in it"):
        prove_basis(tables, (0, 1, 2, 3), True)


# ---- certificates that come out ---------------------------------------------------------------------------
CASES = {
    "f1": ("fednpg.f1", Case("textbook:three-state,gamma=9/10", rounds=3)),
    "derived": ("fednpg.f2", Case("textbook:three-state", rounds=3)),
    "drawn": ("lemmas.performance-difference", Case("random-mdp:seed=1,nA=2,ncost=1", pairs=1)),
}


@pytest.fixture(scope="module", params=CASES)
def data(request):
    name, case = CASES[request.param]
    return certificate(certify(find(name), case))


@pytest.fixture(scope="module")
def f1():
    name, case = CASES["f1"]
    return certificate(certify(find(name), case))


@pytest.fixture
def write(tmp_path):
    """Write a certificate, with the hash it needs unless told otherwise; the path."""

    def writer(data, rehash=True):
        if rehash:
            data = {**data, "sha256": sha256({key: x for key, x in data.items() if key != "sha256"})}
        path = tmp_path / "certificate.json"
        path.write_text(json.dumps(data))
        return path

    return writer


def test_certificates_are_confirmed(data, write):
    result = recheck(write(data))
    assert result.mismatch == ""
    assert result.confirmed
    assert len(result.checked) == 4
    assert "every digit is the same" in result.checked[-1]


def test_layout_does_not_matter(f1, tmp_path):
    path = tmp_path / "x.json"
    path.write_text(json.dumps(dict(reversed(f1.items())), indent=3, ensure_ascii=False), encoding="utf-8")
    assert recheck(path).confirmed


def test_the_bases_of_the_instance_are_proved_apart(data, write):
    bases = recheck(write(data)).checked[2]
    if data["theorem"] == "fednpg.f1":
        assert bases == "2 bases prove optima of the instance"
    elif data["theorem"] == "fednpg.f2":
        assert bases.startswith("2 of 4 bases")
    else:
        assert bases == "no optimum enters"


def test_another_version_is_compared_by_overlap(f1, write, monkeypatch):
    path = write({**f1, "package_version": "99.0"})
    result = recheck(path)
    assert result.confirmed
    assert "overlap and decide the same" in result.checked[-1]
    assert "version 99.0" in result.checked[-1]
    # Digits beyond what rounding explains are then refused all the same.
    low, high = (Fraction(x) for x in f1["claims"][0]["sides"]["lhs"])
    for shift, confirmed in ((Fraction(0), True), ((high - low) / 4, True), (high - low, False)):
        data = enclosed(f1 | {"flint_version": "1.0"}, 0, "lhs", low + shift, high + shift)
        result = recheck(write(data))
        assert result.confirmed == confirmed
        assert confirmed or "claims[0] (gap): lhs: stated" in result.mismatch


# ---- tampering --------------------------------------------------------------------------------------------
def places(data, path=()):
    """Every leaf of a JSON value."""
    if isinstance(data, dict | list):
        for key, x in data.items() if isinstance(data, dict) else enumerate(data):
            yield from places(x, (*path, key))
    else:
        yield path, data


def changed(data, path, value):
    out = copy.deepcopy(data)
    inner = out
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return out


def enclosed(data, k, side, low, high):
    """Other ends of a side of a claim, and the ratio that follows."""
    data = copy.deepcopy(data)
    sides = data["claims"][k]["sides"]
    sides[side] = [str(low), str(high)]
    exact = (tuple(decimal(x, "") for x in ends) for ends in sides.values())
    data["claims"][k]["ratio"] = list(ratio(data["claims"][k]["kind"], *exact))
    return data


def others(x):
    """Numbers near ``x``, in the form that it has."""
    if isinstance(x, bool):
        yield not x
    elif isinstance(x, int):
        yield from {x + 1, max(x - 1, 0), 2 * x} - {x}
    elif isinstance(x, float):
        yield from {float(np.nextafter(x, 2 * x)), x / 2, x * 2} - {x}
    elif isinstance(x, str):
        # One digit changed: the first, the last, one in the middle.
        digits = [match.start() for match in re.finditer("[0-9]", x)]
        for place in {digits[k] for k in (0, len(digits) // 2, -1)} if digits else ():
            yield x[:place] + str((int(x[place]) + 1) % 10) + x[place + 1 :]


LABELS = {"source", "package_version", "flint_version"}
"""What a file says about where it comes from. No statement about numbers; versions say how to compare."""


def outcome(path):
    """'refused' (not a certificate any more), 'fails' (it does not come out), or 'confirmed'."""
    try:
        return "confirmed" if recheck(path).confirmed else "fails"
    except InvalidProblem as error:
        return "refused" if "\n" not in str(error) else "refused, at length"


def rewritten(data):
    """What the prover itself writes for the instance, parameters, precision and bases that a file holds."""
    page = find(data["theorem"])
    problem = from_json(data["instance"])
    case = Case(problem, **data["parameters"])
    with session({key: tuple(basis) for key, basis in data["bases"].items()}) as proofs:
        verdicts = certify_at(page, case, problem, data["bits"])
    one = Certified(
        page=page, source=data["source"], problem=problem, parameters=data["parameters"], bits=data["bits"],
        verdicts=verdicts, bases=dict(proofs.bases), seconds=0.0,
    )  # fmt: skip
    return certificate(one)


def test_any_change_without_the_hash_is_refused(data, write):
    count = 0
    for path, x in places(data):
        for other in others(x):
            assert outcome(write(changed(data, path, other), rehash=False)) == "refused", path
            count += 1
    assert count > 100


def test_any_number_changed_and_hashed_again_is_refused_or_fails(data, write):
    """The only file that passes is one that the prover would have written, word for word: not a forgery but a
    certificate."""
    passed = []
    for path, x in places({key: x for key, x in data.items() if key not in LABELS | {"sha256"}}):
        for other in others(x):
            forged = changed(data, path, other)
            if outcome(write(forged)) == "confirmed":
                honest = rewritten(forged)
                assert {**forged, "sha256": honest["sha256"]} == honest, path
                passed.append(path)
    # On F1 and F2 everything matters, and what passes is a basis that proves the same optimum. The lemma is
    # not about thresholds, nor about who sees which.
    if data["theorem"].startswith("fednpg"):
        assert {path[0] for path in passed} <= {"bases"}


def test_words_changed_are_refused_or_fail(f1, write):
    for path, x in places({key: x for key, x in f1.items() if key not in LABELS | {"sha256"}}):
        if isinstance(x, str) and not {"state_names", "action_names"} & set(path):
            assert outcome(write(changed(f1, path, x + "x"))) in ("refused", "fails"), path
        if x is not None and path[0] != "parameters":
            assert outcome(write(changed(f1, path, None))) in ("refused", "fails"), path


def test_parts_left_out_are_refused_or_fail(data, write):
    def parts(inner, path=()):
        if isinstance(inner, dict | list):
            for key in inner if isinstance(inner, dict) else range(len(inner)):
                yield (*path, key)
                yield from parts(inner[key], (*path, key))

    for path in parts({key: x for key, x in data.items() if key not in ("parameters", "sha256")}):
        if {"state_names", "action_names"} & set(path):
            continue
        less = copy.deepcopy(data)
        inner = less
        for key in path[:-1]:
            inner = inner[key]
        del inner[path[-1]]
        assert outcome(write(less)) in ("refused", "fails"), path


def test_a_wider_enclosure_is_no_certificate_of_this_version(f1, write):
    """A change within the slack of the outward rounding still encloses; it is refused all the same."""
    low, high = (Fraction(x) for x in f1["claims"][0]["sides"]["rhs"])
    for ends in ((low, high + 1), (low, (low + high) / 2), (low + (high - low) / 1000, high)):
        result = recheck(write(enclosed(f1, 0, "rhs", *ends)))
        assert "claims[0] (gap): rhs: stated" in result.mismatch


def test_messages_name_field_and_numbers(f1, write):
    def message(*path, value):
        return recheck(write(changed(f1, path, value))).mismatch

    assert message("mark", value="paper") == "mark: stated 'paper', the theorem's page says 'ours'"
    assert message("claims", 0, "status", value="fails").startswith(
        "claims[0] (gap): stated 'fails', but lhs in ["
    )
    assert message("claims", 1, "statement", value="2 > 1").startswith(
        "claims[1] (gap/1): statement: stated '2 > 1', recomputed"
    )
    assert message("claims", 0, "tolerance", value=0.5) == (
        "claims[0] (gap): tolerance: stated 0.5, the page says 1e-09"
    )
    assert message("claims", 0, "entries", value=7) == "claims[0] (gap): entries: stated 7, recomputed 1"
    key = next(iter(f1["bases"]))
    assert message("bases", key, value=[0, 1, 2, 3]).startswith("bases: that of the optimum proves nothing: ")
    assert "bases: 3 are stated, the page needs 2" in message("bases", "optimum:0", value=[1])
    count = len(f1["claims"])
    fewer = message("claims", value=f1["claims"][:-1])
    assert f"claims: {count - 1} are stated, the page gives {count}" in fewer
    assert "the page cannot be run on this" in message("parameters", "rounds", value="many")


def test_a_basis_that_is_wrong_is_found_by_the_checkers_own_proof(f1, write, monkeypatch):
    """Even if the prover's library accepted anything."""
    key = next(iter(f1["bases"]))
    best = rational.optimum
    monkeypatch.setattr(rational, "prove_optimum", lambda *fields: best(*fields[:-1]))
    assert "proves nothing" in recheck(write(changed(f1, ("bases", key), [0, 1, 2, 3]))).mismatch


def test_a_wrong_prover_is_found_by_the_decimals(f1, write, monkeypatch):
    """A prover that calls everything true writes statuses that do not follow."""
    data = copy.deepcopy(f1)
    claim = data["claims"][0]
    claim["sides"]["lhs"], claim["sides"]["rhs"] = claim["sides"]["rhs"], claim["sides"]["lhs"]
    monkeypatch.setattr(module, "certify_at", None)  # it is not asked
    assert "stated 'holds', but" in recheck(write(data)).mismatch


# ---- strangers' files -------------------------------------------------------------------------------------
def refusal(path):
    with pytest.raises(InvalidProblem) as caught:
        recheck(path)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 500
    return message


@pytest.mark.parametrize(
    "path, value, message",
    [
        (("format",), "other", "not a certificate"),
        (("format_version",), 2, "format_version is 2, this program reads 1"),
        (("format_version",), 1.0, "format_version is 1.0"),
        (("format_version",), True, "format_version is True"),
        (("theorem",), "fednpg.f9", "no theorem is called 'fednpg.f9'"),
        (("theorem",), "../../x.py", "no theorem is called"),
        (("surplus",), 1, "the key 'surplus' is unknown"),
        (("bits",), 2**17, "bits = 131072 is outside"),
        (("bits",), 128.0, "bits: '128.0' is not a whole number"),
        (("bits",), -5, "bits"),
        (("parameters", "speed"), 1, "fednpg.f1 has no parameter 'speed'"),
        (("parameters", "source"), "x", "has no parameter 'source'"),
        (("parameters",), [], "parameters is not a JSON object"),
        (("parameters", "rounds"), {"a": 1}, "is a JSON object, not a parameter"),
        (("bases",), [], "bases is not a JSON object"),
        (("claims",), {}, "claims is not a list"),
        (("claims", 0), 1, "claims[0] is not a JSON object"),
        (("claims", 0, "kind"), "lower", "kind is 'lower'"),
        (("claims", 0, "kind"), ["upper"], "kind is"),
        (("claims", 0, "status"), "true", "status is 'true'"),
        (("claims", 0, "role"), "control", "role is 'control'"),
        (("claims", 0, "tolerance"), 1, "tolerance = 1 is not"),
        (("claims", 0, "tolerance"), 2.0, "tolerance = 2.0 is not"),
        (("claims", 0, "vacuous"), 1, "vacuous is '1'"),
        (("claims", 0, "sides", "lhs"), ["1"], "lhs holds 1 entries, not 2"),
        (("claims", 0, "sides", "lhs"), ["2", "1"], "lhs: 2 is above 1"),
        (("claims", 0, "sides", "lhs"), ["NaN", "NaN"], "'NaN' is not a decimal number"),
        (("claims", 0, "sides", "lhs"), ["inf", "inf"], "'inf' is not a decimal number"),
        (("claims", 0, "sides", "lhs"), ["1e999999999", "1e999999999"], "is not a decimal number"),
        (("claims", 0, "sides", "lhs"), ["9" * 20000, "1"], "is not text of at most 10000 characters"),
        (("claims", 0, "sides", "lhs", 0), 1, "'1' is not text"),
        (("claims", 0, "statement"), None, "'None' is not text"),
        (("instance", "gamma"), "3/2", "instance: gamma = 3/2 is outside [0, 1)"),
        (("instance", "states"), 10**9, "exact arithmetic ends at"),
        (("instance", "visible"), [[9]], "instance: agent 0 sees constraint 9"),
        (("instance",), {"zlib": "eJw="}, "cut off"),
    ],
)
def test_bad_content_is_refused_with_its_place(f1, write, path, value, message):
    text = refusal(write(changed(f1, path, value)))
    assert message in text
    if "theorem" not in path:
        assert "certificate.json" in text


@pytest.mark.parametrize("key", ["format", "sha256", "claims", "instance", "bits"])
def test_missing_keys(f1, write, key):
    less = {k: x for k, x in f1.items() if k != key}
    assert ("not a certificate" if key == "format" else f"{key!r} is missing") in refusal(write(less, False))


def test_a_changed_file_says_so(f1, write):
    message = refusal(write(changed(f1, ("bits",), 129), rehash=False))
    assert "sha256 is " in message
    assert "the file was changed" in message


def test_truncated_files(f1, write):
    path = write(f1)
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert "not JSON, or truncated" in refusal(path)


@pytest.mark.parametrize(
    "text, message",
    [
        (b"[]", "not a certificate"),
        (b'"tabular-fedrl certificate"', "not a certificate"),
        (b"null", "not a certificate"),
        (b'{"format": "tabular-fedrl certificate", "format": "x"}', "'format' is given twice"),
        (b'{"format": NaN}', "NaN is not a number"),
        (b'{"format": 1e999999999}', "too large"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"\xff\xfe{}", "not UTF-8"),
        (b"PK\x03\x04", "not"),
        (b"\x00" * 100, "not JSON"),
    ],
)
def test_other_files(tmp_path, text, message):
    path = tmp_path / "certificate.json"
    path.write_bytes(text)
    assert message in refusal(path)


def test_a_file_of_absurd_size_is_refused_before_it_is_read(tmp_path, monkeypatch):
    path = tmp_path / "certificate.json"
    with path.open("wb") as stream:
        stream.truncate(200_000_000)  # sparse: it takes no room
    monkeypatch.setattr("pathlib.Path.open", None)
    assert f"200000000 bytes, a certificate has at most {MAX_BYTES}" in refusal(path)


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path / "pipe")
    assert "not a regular file" in refusal(tmp_path)
    assert "No such file" in refusal(tmp_path / "none.json")
    assert "cannot be read" in refusal("a\0b")


fuzz = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 40), st.floats(), st.text(max_size=8),
    st.sampled_from(["nan", "-inf", "1/0", "1e99999", "0", "1", "-1", "9" * 5000, "𝟙", "\ud800"]),
    st.lists(st.integers(0, 9), max_size=5), st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)  # fmt: skip


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(picked=st.data())
def test_nothing_put_anywhere_breaks_the_checker(f1, write, picked):
    """Any value anywhere, hash made right: refused or failed in one line, never an exception of Python's."""

    def inner_places(inner, path=()):
        if isinstance(inner, dict | list):
            for key in inner if isinstance(inner, dict) else range(len(inner)):
                yield (*path, key)
                yield from inner_places(inner[key], (*path, key))

    path = picked.draw(st.sampled_from([p for p in inner_places(f1) if p[0] not in LABELS | {"sha256"}]))
    value = picked.draw(fuzz)
    forged = changed(f1, path, value)
    assume(json.dumps(forged) != json.dumps(f1) and not {"state_names", "action_names"} & set(path))
    try:
        file = write(forged)
    except ValueError:  # NaN and infinities have no hash
        file = write(forged, rehash=False)
    if outcome(file) == "confirmed":
        assert {**forged, "sha256": 0} == {**rewritten(forged), "sha256": 0}


# ---- the command line -------------------------------------------------------------------------------------
def test_command(capsys, f1, write):
    said = call(capsys, "recheck", write(f1))
    assert said.code == 0
    for words in ("fednpg.f1 (ours)", "holds", "✓ every status follows", "every digit is the same"):
        assert words in said.out
    assert f"Confirmed as stated at 128 bits: {len(f1['claims'])} holds" in said.out
    assert call(capsys, "recheck", write(f1), "--quiet").out.startswith("Confirmed as stated")
    data = call(capsys, "recheck", write(f1), "--json").data
    assert (data["status"], data["mismatch"]) == ("confirmed", None)
    assert data["claims"][0]["lhs"] == f1["claims"][0]["sides"]["lhs"]


def test_command_on_what_does_not_come_out(capsys, f1, write):
    path = write(changed(f1, ("claims", 0, "status"), "fails"))
    said = call(capsys, "recheck", path)
    assert said.code == 1
    assert "NOT CONFIRMED: claims[0] (gap): stated 'fails', but" in said.out
    data = call(capsys, "recheck", path, "--json").data
    assert data["status"] == "refused"
    assert data["mismatch"].startswith("claims[0] (gap)")


def test_command_on_what_is_no_certificate(capsys, f1, write):
    said = call(capsys, "recheck", write(changed(f1, ("bits",), 64), rehash=False))
    assert said.code == 2
    assert "the file was changed" in said.err
    assert said.err.count("\n") == 1
    assert call(capsys, "recheck", "none.json", "--json").code == 2


def test_a_theorem_of_ones_own(capsys, tmp_path):
    mine = tmp_path / "mine.py"
    mine.write_text(THEOREM)
    said = call(
        capsys, "verify", mine, "--on", "textbook:two-arm,d=1/3", "--certify", "--certificates", tmp_path
    )
    assert said.code == 0
    (path,) = tmp_path.glob("tiny.range-*.json")
    said = call(capsys, "recheck", path)
    assert said.code == 2
    assert "no theorem is called 'tiny.range'" in said.err
    assert call(capsys, "recheck", path, "--theorem", mine).code == 0


def test_a_counterexample_is_confirmed_as_one(tmp_path, capsys):
    """What is certified may be that a statement fails; the certificate then comes out."""
    mine = tmp_path / "mine.py"
    mine.write_text(THEOREM)
    words = ("--on", "textbook:two-arm", "--set", "factor=0.25", "--certify", "--certificates", tmp_path)
    assert call(capsys, "verify", mine, *words).code == 1
    (path,) = tmp_path.glob("tiny.range-*.json")
    said = call(capsys, "recheck", path, "--theorem", mine)
    assert said.code == 0
    assert "1 fails" in said.out


def test_written_files_are_confirmed(tmp_path):
    """Through the file that the prover writes, compressed instance included."""
    case = Case("random-mdp:seed=1,nS=16,nA=4,ncost=1", pairs=1)
    (path,) = write_certificates([certify(find("lemmas.performance-difference"), case)], tmp_path)
    assert '"zlib"' in path.read_text()
    assert recheck(path).confirmed
    assert read(path).instance.P.shape == (16, 4, 16)
