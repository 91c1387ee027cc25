"""Problems in exact rationals: what is read exactly and how, and their JSON form against strangers."""

import base64
import copy
import json
import zlib
from fractions import Fraction

import numpy as np
import pytest
from flint import fmpq
from hypothesis import given, settings
from hypothesis import strategies as st

from tabular_fedrl.cmdp import CMDP, FederatedCMDP, exact
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load
from tabular_fedrl.instances.loading import load_exact
from tabular_fedrl.instances.rational_json import from_json, to_json
from tabular_fedrl.instances.strict_json import canonical, parse, sha256
from tabular_fedrl.instances.text import parse_number, parse_rational
from tests import exact as oracle
from tests.strategies import federations

THIRDS = {
    "P": np.array([[["1/3", "2/3"], ["1", "0"]], [["0.0", "1e0"], ["0.1", "9/10"]]]),
    "r": np.array([["0.1", "0"], ["1/7", "-2.5e-1"]]),
    "c": np.array([[["0", "1"], ["1", "1/3"]]]),
    "d": np.array(["3/2"]),
    "rho": np.array(["1/3", "2/3"]),
    "gamma": np.array("9/10"),
}


@pytest.fixture
def write(tmp_path):
    def writer(**changes):
        path = tmp_path / "problem.npz"
        np.savez(path, **{key: x for key, x in (THIRDS | changes).items() if x is not None})
        return str(path)

    return writer


def numbers(x):
    return x.items.tolist()


def refusal(call, *arguments):
    with pytest.raises(InvalidProblem) as caught:
        call(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


# ---- what is read exactly ---------------------------------------------------------------------------------
def test_text_arrays_are_the_fractions_they_say(write):
    cmdp = load_exact(write()).cmdp
    q = fmpq
    assert numbers(cmdp.P) == [[[q(1, 3), q(2, 3)], [q(1), q(0)]], [[q(0), q(1)], [q(1, 10), q(9, 10)]]]
    assert numbers(cmdp.r) == [[q(1, 10), q(0)], [q(1, 7), q(-1, 4)]]
    assert numbers(cmdp.c) == [[[q(0), q(1)], [q(1), q(1, 3)]]]
    assert numbers(cmdp.d) == [q(3, 2)]
    assert numbers(cmdp.rho) == [q(1, 3), q(2, 3)]
    assert cmdp.gamma.items[()] == q(9, 10)


def test_a_file_of_floats_and_one_of_fractions_differ_as_they_should(write):
    fractions = load_exact(write()).cmdp
    P = np.array([[[1 / 3, 2 / 3], [1, 0]], [[0, 1], [0.1, 0.9]]])
    c = np.array([[[0, 1], [1, 1 / 3]]])
    floats = load_exact(write(P=P, c=c, gamma=np.array(0.9))).cmdp
    assert fractions != floats
    assert floats.gamma.items[()] == fmpq(8106479329266893, 9007199254740992)
    assert floats.c.items[0, 1, 1] == fmpq(6004799503160661, 2**54)
    assert fractions.c.items[0, 1, 1] == fmpq(1, 3)
    # The float 2/3 is twice the float 1/3: divided by their sum they are thirds again. Tenths are not.
    assert numbers(floats.P[0, 0]) == [fmpq(1, 3), fmpq(2, 3)]
    assert numbers(floats.P[1, 1]) == oracle.normalised([0.1, 0.9]) != [fmpq(1, 10), fmpq(9, 10)]
    assert load(write()).cmdp.floats() == fractions.floats()


@pytest.mark.parametrize(
    "source", ["windy-cliff:ncost=2", "garnet:S=9,m=2", "textbook:risky-shortcut", "gym:FrozenLake-v1"]
)
def test_floats_are_read_exactly(source):
    floats, problem = load(source).cmdp, load_exact(source).cmdp
    assert problem.is_exact
    assert numbers(problem.P) == oracle.kernel(floats)
    assert numbers(problem.rho) == oracle.normalised(floats.rho)
    for name in ("r", "c", "d"):
        given = [oracle.rational(x) for x in getattr(floats, name).ravel()]
        assert getattr(problem, name).items.ravel().tolist() == given
    assert problem.gamma.items[()] == oracle.rational(floats.gamma)
    assert problem.state_names == floats.state_names
    assert load_exact(load(source)) == load_exact(source)
    assert load_exact(source).visible == load(source).visible


def test_sparse_problems_become_dense():
    sparse, dense = load_exact("garnet:S=9,sparse=true,d=1+1"), load_exact("garnet:S=9,d=1+1")
    assert sparse == dense


def test_sparse_text_is_exact_and_repeated_entries_add_up(write):
    kernel = {
        "P": None,
        "P_data": np.array(["1/3", "1/3", "1/3", "1", "1", "0.1", "9/10"]),
        "P_indices": np.array([0, 1, 1, 0, 1, 0, 1]),
        "P_indptr": np.array([0, 3, 4, 5, 7]),
    }
    assert load_exact(write(**kernel)) == load_exact(write())


def test_overrides_are_the_fractions_they_say():
    cmdp = load_exact("textbook:two-budgets,gamma=9/10,d=1/3+0.1,rho=uniform").cmdp
    assert cmdp.gamma.items[()] == fmpq(9, 10)
    assert numbers(cmdp.d) == [fmpq(1, 3), fmpq(1, 10)]
    assert numbers(cmdp.rho) == [fmpq(1, 2)] * 2
    # A family or environment computes with the nearest float, and the override stands.
    for source in ("random-mdp:seed=1,gamma=0.95", "gym:FrozenLake-v1,gamma=0.95"):
        assert load_exact(source).cmdp.gamma.items[()] == fmpq(19, 20)
        assert load_exact(source).cmdp.floats().d.tolist() == load(source).cmdp.d.tolist()


def test_whole_numbers_are_exact(write):
    large = 2**53 + 1
    problem = load_exact(write(r=np.array([[large, 0], [0, 2]]))).cmdp
    assert problem.r.items[0, 0] == large
    assert load(write(r=np.array([[large, 0], [0, 2]]))).cmdp.r[0, 0] == 2**53


def test_too_many_states_are_refused_with_the_number(write):
    assert "301 states and 4 actions" in refusal(load_exact, "garnet:S=301,sparse=true,m=0")
    assert "500 states and 6 actions" in refusal(load_exact, "gym:Taxi-v4,d=1")
    assert "301 states" in refusal(load_exact, load("garnet:S=301,sparse=true,m=0"))
    assert load_exact("garnet:S=300,A=1,m=0,sparse=true").cmdp.S == 300


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"gamma": np.array("1e999999999")}, "is not a number"),
        ({"gamma": np.array("1e-999999")}, "has an exponent beyond 1000"),
        ({"gamma": np.array("9" * 500)}, "is not a number"),
        ({"gamma": np.array("1e-1001")}, "has an exponent beyond 1000"),
        ({"gamma": np.array("nan")}, "'nan' is not a number"),
        ({"d": np.array(["1/0"])}, "divides by zero"),
        ({"gamma": np.array("-1e-400")}, "gamma is negative"),
        ({"rho": np.array(["-1e-400", "1"])}, "rho[0] is negative"),
        ({"gamma": np.array("1")}, "outside [0, 1)"),
        ({"r": np.array([[np.inf, 0], [0, 0]])}, "not finite"),
        ({"rho": np.array(["1/3", "1/3"])}, "rho sums to"),
        ({"P": np.array([[["1/3", "1/3"], ["1", "0"]], [["0", "1"], ["0", "1"]]])}, "sums to"),
        ({"r": np.ones((2, 2), dtype=np.longdouble)}, "not taken exactly"),
    ],
)
def test_bad_exact_files(write, changes, message):
    if changes.get("r", np.ones(1)).dtype.itemsize == 8 == np.dtype(np.longdouble).itemsize:
        pytest.skip("no extended precision on this machine")
    text = refusal(load_exact, write(**changes))
    assert message in text
    assert "problem.npz" in text


# ---- numbers as text --------------------------------------------------------------------------------------
@given(st.fractions(), st.integers(-30, 30), st.integers(-(10**20), 10**20))
def test_rationals_as_text(fraction, exponent, digits):
    assert parse_rational(str(fraction.numerator) + "/" + str(fraction.denominator), "x") == fraction
    assert parse_rational(f"{digits}e{exponent}", "x") == Fraction(digits) * Fraction(10) ** exponent
    assert float(parse_rational(f"{digits}e{exponent}", "x")) == parse_number(f"{digits}e{exponent}", "x")


# ---- JSON -------------------------------------------------------------------------------------------------
@settings(max_examples=60)
@given(problem=federations())
def test_round_trip_is_exact(problem):
    rational = exact(problem)
    again = from_json(json.loads(json.dumps(to_json(rational))))
    assert again == rational
    assert again.visible == rational.visible
    assert to_json(again) == to_json(rational)


@st.composite
def fractions(draw):
    """Small problems of any rational numbers."""
    S, A, m = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(0, 2))
    weight = st.integers(0, 10**30)
    value = st.fractions(max_denominator=10**30)

    def table(*shape, of=value):
        x = np.empty(int(np.prod(shape)), dtype=object)
        x[:] = draw(st.lists(of, min_size=x.size, max_size=x.size))
        return x.reshape(shape)

    P, rho = table(S, A, S, of=weight), table(S, of=weight)
    P[..., 0] += 1
    rho[0] += 1
    P, rho = (np.vectorize(Fraction, otypes=[object])(x, x.sum(-1, keepdims=True)) for x in (P, rho))
    gamma = draw(st.fractions(0, Fraction(99, 100), max_denominator=10**30))
    return FederatedCMDP(CMDP.exact(P, table(S, A), table(m, S, A), table(m), rho, gamma))


@settings(max_examples=60)
@given(problem=fractions())
def test_round_trip_of_any_rationals_is_exact(problem):
    again = from_json(json.loads(json.dumps(to_json(problem))))
    assert again == problem
    for name in ("P", "r", "c", "d", "rho", "gamma"):
        assert getattr(again.cmdp, name).items.tolist() == getattr(problem.cmdp, name).items.tolist()


@pytest.mark.parametrize("source", ["textbook:two-budgets", "windy-cliff", "random-mdp:ncost=0"])
def test_names_agents_and_size_survive(source):
    problem = load_exact(source)
    again = from_json(to_json(problem))
    assert again == problem
    assert again.cmdp.state_names == problem.cmdp.state_names
    assert again.cmdp.action_names == problem.cmdp.action_names


def test_small_problems_stay_readable_and_large_ones_compact():
    small = to_json(load_exact("textbook:three-state"))
    assert small["P"][1] == [{"1": "1"}, {"2": "1"}]
    assert len(canonical(small)) < 1000
    problem = load_exact("random-mdp:nS=20,seed=1")
    assert set(to_json(problem)) == {"zlib"}
    assert from_json(to_json(problem)) == problem


@pytest.mark.parametrize(
    "place, value, message",
    [
        (("states",), 3, "P holds 2 entries, not 3"),
        (("states",), 10**15, "exact arithmetic ends at"),
        (("states",), True, "'True' is not a whole number"),
        (("states",), 0, "at least 1"),
        (("actions",), 3, "P[0] holds 2 entries, not 3"),
        (("actions",), 10**17, "exact arithmetic ends at"),
        (("constraints",), 0, "holds 1 entries, not 0"),
        (("gamma",), "1", "outside [0, 1)"),
        (("gamma",), "-1/2", "outside [0, 1)"),
        (("gamma",), 0.9, "'0.9' is not a fraction"),
        (("gamma",), "0.9", "is not a fraction"),
        (("gamma",), "1e-999999999", "is not a fraction"),
        (("gamma",), "NaN", "is not a fraction"),
        (("gamma",), "2/4", "not in lowest terms"),
        (("gamma",), "1/0", "is not a fraction"),
        (("gamma",), "1/" + "9" * 5000, "is not a fraction"),
        (("gamma",), None, "is not a fraction"),
        (("rho",), {"0": "1/2"}, "rho sums to 1/2, not to 1"),
        (("rho",), ["1", "0"], "rho is not a JSON object"),
        (("rho", "00"), "1", "'00' is not a state"),
        (("rho", "7"), "1", "'7' is not a state (0..1)"),
        (("rho", "1"), "-1/2", "rho[1] = -1/2 is not positive"),
        (("P", 0, 0, "1"), "1/10", "P[0, 0] sums to"),
        (("P", 0, 0), {}, "P[0, 0] sums to 0"),
        (("P",), {}, "P is not a list"),
        (("r", 1), ["1"], "r[1] holds 1 entries, not 2"),
        (("r", 1, 0), ["1"], "r[1, 0]: \"['1']\" is not a fraction"),
        (("c", 0, 1, 1), "x", "c[0, 1, 1]: 'x'"),
        (("d",), [], "d holds 0 entries, not 1"),
        (("visible",), [[0, "1"]], "visible[0]: '1' is not"),
        (("visible",), [[5]], "agent 0 sees constraint 5"),
        (("visible",), [], "at least one agent"),
        (("surplus",), 1, "the key 'surplus' is unknown"),
        (("state_names",), ["a"], "state_names holds 1 entries, not 2"),
        (("state_names",), ["a", 1], "'1' is not text"),
        (("zlib",), "", "the key 'zlib' is unknown"),
    ],
)
def test_bad_json_is_refused_by_place(write, place, value, message):
    data = copy.deepcopy(to_json(load_exact(write())))
    inner = data
    for key in place[:-1]:
        inner = inner[key]
    if place == ("rho", "1"):
        inner["0"] = "3/2"
    inner[place[-1]] = value
    assert message in refusal(from_json, data)


@pytest.mark.parametrize("missing", ["gamma", "P", "visible", "states"])
def test_missing_keys(write, missing):
    data = to_json(load_exact(write()))
    del data[missing]
    assert f"the key '{missing}' is missing" in refusal(from_json, data)


def test_compressed_text_is_bounded_and_checked(monkeypatch):
    def packed(data):
        return {"zlib": base64.b64encode(zlib.compress(data)).decode()}

    assert "larger than" in refusal(from_json, packed(bytes(2**27)))
    assert "cut off" in refusal(from_json, {"zlib": packed(b"{}" * 99)["zlib"][:16]})
    assert "damaged" in refusal(from_json, {"zlib": "!!!!"})
    assert "damaged" in refusal(from_json, {"zlib": "abc"})
    assert "not text" in refusal(from_json, {"zlib": 3})
    assert "given twice" in refusal(from_json, packed(b'{"states":1,"states":2}'))
    assert "not a JSON object" in refusal(from_json, packed(b"[]"))
    # No compression within compression.
    assert "'states' is missing" in refusal(from_json, packed(b'{"zlib":""}'))


# ---- strict JSON ------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "text, message",
    [
        (b"", "not JSON, or truncated"),
        (b'{"a": 1', "not JSON, or truncated"),
        (b'{"a": NaN}', "NaN is not a number"),
        (b'{"a": -Infinity}', "-Infinity is not a number"),
        (b'{"a": 1e999999999}', "too large"),
        (b'{"a": ' + b"9" * 10**6 + b"}", "more than 18 digits"),
        (b'{"a": 1, "b": {"c": 1, "c": 1}}', "the key 'c' is given twice"),
        (b"[" * 10**5, "nested too deeply"),
        (b'{"a":' * 10**5, "nested too deeply"),
        (b'{"a": "\xff"}', "not UTF-8 text (byte 7)"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b'{"a": 1} trailing', "not JSON"),
        (b'{"a": 01}', "not JSON"),
        (b"{'a': 1}", "not JSON"),
    ],
)
def test_strict_json_refuses(text, message):
    assert message in refusal(parse, text, "file")


def test_canonical_form_does_not_depend_on_order_or_spaces():
    assert sha256(parse(b'{"b": [1, 2.50], "a": "\xc3\xa9"}', "x")) == sha256({"a": "é", "b": [1, 2.5]})
    assert canonical({"b": 1, "a": [True, None]}) == b'{"a":[true,null],"b":1}'
