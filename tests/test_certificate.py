"""Certificate files: what is in them, how they look, when none is written."""

import json
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from flint import arb, fmpq

import tabular_fedrl.claims.certificate as module
from tabular_fedrl import __version__, balls
from tabular_fedrl.balls import Balls
from tabular_fedrl.claims import Case, Theorem, find, identity, tight, upper
from tabular_fedrl.claims.certificate import certificate, write_certificates
from tabular_fedrl.claims.certify import certify
from tabular_fedrl.claims.recheck_proof import follows
from tabular_fedrl.claims.verdict import Kind, decide
from tabular_fedrl.errors import InvalidProblem, SolverFailure
from tabular_fedrl.instances.rational_json import from_json
from tabular_fedrl.instances.strict_json import canonical, sha256
from tabular_fedrl.measured import Measured


class Values(Theorem):
    """Rational sides, a ball, and one that does not apply."""

    id, mark = "test.values", "ours"

    def setup(self, problem, scale=1, weights=(0.5, 0.5)):
        return problem.cmdp, scale

    @upper("rho_0 <= d_0")
    def below(self, x):
        return x[0].rho[0] * x[1], x[0].d[0]

    @identity(r"\exp(d_0) = \exp(d_0)")
    def same(self, x):
        return Measured(x[0].d[0]).exp(), Measured(x[0].d[0]).exp()

    @tight("r_0 <= r_0 for every pair")
    def all(self, x):
        return x[0].r, x[0].r


def certified(source="textbook:two-budgets,gamma=9/10,d=1/3+3", **parameters):
    return certify(Values, Case(source, **parameters))


@pytest.mark.parametrize(
    ("lhs", "rhs", "status"),
    [
        ("0.1", "0.1", "holds"),
        ("1 +/- 0.25", "1.75 +/- 0.25", "holds"),
        ("1 +/- 0.25", "1.5 +/- 0.25", "undecided"),
        ("1 +/- inf", "1.5", "undecided"),
        ("1.75 +/- 0.25", "1.5 +/- 0.25", "undecided"),
        ("2.5 +/- 0.25", "1.5 +/- 0.25", "fails"),
    ],
)
def test_sides_that_touch_are_ordered_and_the_file_says_the_same(lhs, rhs, status):
    """The radius of a difference of balls is rounded up, even that of two numbers without one."""
    with balls.precision(128):
        sides = [Balls(np.array([ball(text)], dtype=object)) for text in (lhs, rhs)]
        decision = decide(Kind.UPPER, *sides, 0.0)
    assert decision.status == status
    if "inf" not in decision.enclosure:
        a, b, c, d = map(fraction, decision.enclosure)
        assert follows("upper", (a, b), (c, d), fmpq(0)) == status


def ball(text: str) -> arb:
    middle, _, radius = text.partition(" +/- ")
    return arb(float(middle), float(radius or 0))


def fraction(text: str) -> fmpq:
    return fmpq(*Fraction(text).as_integer_ratio())


def test_a_certificate_says_everything():
    one = certified("textbook:two-budgets,gamma=9/10,d=4/3+3")
    data = certificate(one)
    assert data["format"] == "tabular-fedrl certificate"
    assert (data["package_version"], data["theorem"], data["mark"]) == (__version__, "test.values", "ours")
    assert data["title"] == "Rational sides, a ball, and one that does not apply"
    assert data["source"] == "textbook:two-budgets,gamma=9/10,d=4/3+3"
    assert data["parameters"] == {"scale": 1, "weights": [0.5, 0.5]}
    assert data["bits"] == 128
    assert from_json(data["instance"]) == one.problem
    assert from_json(data["instance"]).visible == ((0,), (1,), (0, 1))
    below, same, every = data["claims"]
    assert below["statement"] == "rho_0 <= d_0"
    assert (below["kind"], below["status"], below["entries"]) == ("upper", "holds", 1)
    assert below["sides"]["lhs"] == ["1", "1"]
    low, high = map(Fraction, below["sides"]["rhs"])
    assert low <= Fraction(4, 3) <= high
    assert high - low <= Fraction(1, 10**30)
    assert Fraction(below["ratio"][0]) <= Fraction(3, 4) <= Fraction(below["ratio"][1])
    assert same["ratio"] is None
    assert (same["kind"], same["tolerance"]) == ("identity", 1e-9)
    assert float(same["sides"]["lhs"][0]) == pytest.approx(np.exp(4 / 3), rel=1e-15)
    assert every["entries"] == 4
    body = {key: x for key, x in data.items() if key != "sha256"}
    assert data["sha256"] == sha256(body)


def test_files_are_small_readable_and_named_by_their_content(tmp_path):
    folder = tmp_path / "new" / "folder"
    one = certify(find("fednpg.f1"), Case("textbook:three-state", rounds=5))
    (path,) = write_certificates([one], folder)
    text = path.read_text(encoding="ascii")
    data = json.loads(text)
    assert len(text) < 10_000
    assert max(map(len, text.splitlines())) < 1000
    assert path.name == f"fednpg.f1-textbook-three-state-{data['sha256'][:8]}.json"
    assert data == certificate(one)
    assert write_certificates([one], folder) == [path]
    other = certify(find("fednpg.f1"), Case("textbook:three-state", rounds=6))
    assert len({*write_certificates([one, other], folder), path}) == 2
    assert sorted(os.listdir(folder)) == sorted(p.name for p in write_certificates([one, other], folder))


def test_a_certificate_does_not_depend_on_the_process_it_is_made_in():
    first, second = (certificate(certified(scale=2)) for _ in range(2))
    assert canonical(first) == canonical(second)


def test_where_no_claim_applies_there_is_no_file(tmp_path):
    none = certify(find("fednpg.aliasing"), Case("textbook:three-state"))
    assert write_certificates([none], tmp_path) == []
    assert os.listdir(tmp_path) == []


def test_a_status_that_its_decimals_do_not_show_is_not_written():
    """Else the file would be refused by the checker."""
    one = certified("textbook:two-budgets,d=4/3+3")
    wrong = replace(one.verdicts[0], enclosure=("1", "1.5", "1.4", "1.4"))
    with pytest.raises(SolverFailure, match=r"test.values::below: holds, but .* say undecided"):
        certificate(replace(one, verdicts=[wrong]))


@pytest.mark.parametrize(
    "value, written",
    [
        (np.float64(0.5), 0.5),
        (np.arange(2), [0, 1]),
        (((1, None), ("x", True)), [[1, None], ["x", True]]),
        (0.1, 0.1),
    ],
)
def test_parameters_become_plain_json(value, written):
    one = certified()
    verdict = replace(one.verdicts[0], parameters={"weights": value})
    data = certificate(replace(one, verdicts=[verdict, *one.verdicts[1:]]))
    assert data["parameters"] == {"weights": written}
    assert json.loads(json.dumps(data["parameters"])) == {"weights": written}


@pytest.mark.parametrize("value", [np.nan, np.inf, object(), {"a": 1}, [1, np.nan], 1j])
def test_parameters_that_no_file_holds_are_refused(value):
    one = certified()
    verdict = replace(one.verdicts[0], parameters={"weights": value})
    with pytest.raises(InvalidProblem, match="the parameter weights"):
        certificate(replace(one, verdicts=[verdict]))


def test_nothing_is_left_half_written(tmp_path, monkeypatch):
    def fail(data):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "_readable", fail)
    with pytest.raises(KeyboardInterrupt):
        write_certificates([certified()], tmp_path)
    assert os.listdir(tmp_path) == []


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InvalidProblem, match="cannot write certificates"):
        write_certificates([certified()], tmp_path / "file")


def test_a_full_disk_is_one_clear_line(tmp_path, monkeypatch):
    def full(self, *_, **__):
        raise OSError(28, "No space left on device", str(self))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(InvalidProblem, match="No space left on device"):
        write_certificates([certified()], tmp_path)
    assert os.listdir(tmp_path) == []


class Near(Theorem):
    """Sides that forty digits do not tell apart."""

    id, mark = "test.near", "ours"

    def setup(self, problem):
        return problem.cmdp.d[0]

    @upper("1/3 <= 1/3")
    def same(self, x):
        return x, x

    @upper("1/3 + 3^-101 <= 1/3")
    def above(self, x):
        return x + x**101, x

    @upper("exp(1/3) <= exp(1/3) (1 + 3^-50)")
    def below(self, x):
        return Measured(x).exp(), Measured(x).exp() * (1 + x**50)


def test_decimals_show_what_was_decided_however_close():
    data = certificate(certify(Near, Case("textbook:two-arm,d=1/3")))
    same, above, below = data["claims"]
    assert [claim["status"] for claim in data["claims"]] == ["holds", "fails", "holds"]
    assert same["sides"] == {"lhs": ["1/3", "1/3"], "rhs": ["1/3", "1/3"]}
    assert Fraction(above["sides"]["lhs"][0]) > Fraction(above["sides"]["rhs"][1])
    assert Fraction(below["sides"]["lhs"][1]) < Fraction(below["sides"]["rhs"][0])
