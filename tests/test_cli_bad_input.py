"""Bad input: one clear line, exit code 2 (3 for an infeasible problem), and a JSON object under --json."""

import json

import numpy as np
import pytest

import tabular_fedrl.cli.solve
from tabular_fedrl.claims.discovery import find
from tabular_fedrl.errors import SolverFailure
from tabular_fedrl.instances import load
from tabular_fedrl.solvers import FarkasCertificate
from tests.commandline import call, start

GOOD = {
    "P": np.full((2, 2, 2), 0.5),
    "r": np.ones((2, 2)),
    "c": np.ones((1, 2, 2)),
    "d": np.array([5.0]),
    "rho": np.array([1.0, 0.0]),
    "gamma": np.array(0.9),
}


def changed(key, place, value):
    array = np.array(GOOD[key], dtype=float)
    array[place] = value
    return {**GOOD, key: array}


BAD_FILES = {
    "nan in P": (changed("P", (1, 0, 1), np.nan), "P"),
    "nan in r": (changed("r", (0, 1), np.nan), "r[0, 1]"),
    "infinite cost": (changed("c", (0, 1, 0), np.inf), "c[0, 1, 0]"),
    "nan threshold": (changed("d", 0, np.nan), "d[0]"),
    "nan gamma": ({**GOOD, "gamma": np.array(np.nan)}, "gamma"),
    "negative probability": (changed("P", (0, 1), [-0.5, 1.5]), "negative"),
    "row not normalised": (changed("P", (1, 1), [0.5, 0.6]), "1.1"),
    "rho not normalised": ({**GOOD, "rho": np.array([0.5, 0.4])}, "rho"),
    "wrong shape of P": ({**GOOD, "P": np.full((2, 2, 3), 1 / 3)}, "P"),
    "wrong shape of c": ({**GOOD, "c": np.ones((1, 2, 3))}, "c"),
    "wrong number of thresholds": ({**GOOD, "d": np.array([1.0, 2.0])}, "thresholds"),
    "gamma of one": ({**GOOD, "gamma": np.array(1.0)}, "gamma"),
    "negative gamma": ({**GOOD, "gamma": np.array(-0.1)}, "gamma"),
    "an agent that sees nothing": ({**GOOD, "visible": np.array([[True], [False]])}, "agent 1"),
    "a constraint nobody sees": (
        {**GOOD, "c": np.ones((2, 2, 2)), "d": np.array([5.0, 5.0]), "visible": np.array([[True, False]])},
        "constraint 1",
    ),
    "a missing key": ({k: v for k, v in GOOD.items() if k != "r"}, "r"),
    "another version": ({**GOOD, "format_version": np.array(99)}, "99"),
}


def refused(capsys, *words, hint="", code=2):
    """The command fails with one line, and says the same as JSON."""
    said = call(capsys, *words)
    assert (said.code, said.out) == (code, "")
    assert said.err.count("\n") == 1
    assert "Traceback" not in said.err
    assert hint in said.err
    as_json = call(capsys, *words, "--json")
    assert as_json.code == code
    assert as_json.data["message"]
    assert hint in as_json.data["message"]
    return as_json.data


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files(capsys, tmp_path, name):
    arrays, hint = BAD_FILES[name]
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    for words in (["solve", path], ["show", path], ["run", "fednpg", path]):
        data = refused(capsys, *words, hint=hint)
        assert set(data) == {"status", "message"}
        assert data["status"] == "error"


def test_good_file(capsys, tmp_path):
    """The file that the bad ones differ from is fine."""
    np.savez(tmp_path / "good.npz", **GOOD)
    assert call(capsys, "solve", tmp_path / "good.npz").code == 3  # every policy costs 10
    np.savez(tmp_path / "good.npz", **{**GOOD, "d": np.array([11.0])})
    assert call(capsys, "solve", tmp_path / "good.npz").code == 0


@pytest.mark.parametrize(
    "content",
    [b"", b"PK\x03\x04", b"not an archive", b"\x80\x04\x95pickle"],
    ids=["empty", "zip magic", "text", "pickle"],
)
def test_foreign_files(capsys, tmp_path, content):
    (tmp_path / "x.npz").write_bytes(content)
    (tmp_path / "x.drn").write_bytes(content)
    refused(capsys, "solve", tmp_path / "x.npz")
    refused(capsys, "solve", f"{tmp_path / 'x.drn'},gamma=0.9")


def test_truncated_file(capsys, tmp_path):
    path = tmp_path / "cut.npz"
    np.savez(path, **GOOD)
    whole = path.read_bytes()
    for length in (len(whole) // 3, len(whole) - 10):
        path.write_bytes(whole[:length])
        refused(capsys, "solve", path)


def test_absurd_sizes(capsys):
    refused(capsys, "solve", "garnet:S=1000000000,A=4")
    refused(capsys, "solve", "random-mdp:nS=99999999999")
    refused(capsys, "show", "textbook:two-arm,agents=1000000000")


@pytest.mark.parametrize(
    "source",
    [
        "no-such-file.npz",
        "gym:NoSuchThing-v0",
        "textbook:nothing",
        "garnet:S=abc",
        "garnet:colour=red",
        "garnet,gamma=1.5",
        "garnet,gamma=nan",
        "textbook:two-arm,d=nan",
        "",
        ".",
    ],
)
def test_bad_sources(capsys, source):
    refused(capsys, "solve", source)
    refused(capsys, "verify", "lemmas.performance-difference", "--on", source)


def test_infeasible(capsys):
    for words in (["solve"], ["run", "fednpg"]):
        data = refused(capsys, *words, "textbook:infeasible", code=3)
        assert data["status"] == "infeasible"
        proof = data["certificate"]
        cmdp = load("textbook:infeasible").cmdp
        assert FarkasCertificate(**{**proof, "multipliers": np.array(proof["multipliers"])}).check(cmdp)
        # For every policy the weighted cost is 1/2; the thresholds allow 1/4.
        assert proof["multipliers"] == pytest.approx([0.5, 0.5], abs=1e-6)
        assert proof["margin"] == pytest.approx(0.25, abs=1e-6)


def test_not_slater(capsys):
    refused(capsys, "run", "fednpg", "textbook:not-slater")


@pytest.mark.parametrize(
    "words",
    [
        ["--local-steps", "0"],
        ["--local-steps", "-3"],
        ["--rounds", "0"],
        ["--rounds", "-1"],
        ["--eta", "-0.1"],
        ["--eta", "nan"],
        ["--eta", "inf"],
        ["--eta-dual", "-1"],
        ["--dual-cap", "-1"],
        ["--dual-cap", "nan"],
        ["--seed", "-1"],
        ["--aggregation", "harmonic"],
        ["--set", "colour=red"],
        ["--set", "eta"],
        ["--set", "rounds=3"],
        ["--set", "weights=1+x"],
        ["--set", "weights=0.5+0.5"],
        ["--set", "initial_multipliers=-1"],
        ["--eta", "0.1", "--set", "eta=0.2"],
        ["--resume"],
        ["--out", "no/such/folder/run.npz"],
    ],
    ids=" ".join,
)
def test_bad_parameters(capsys, words):
    refused(capsys, "run", "fednpg", "textbook:two-arm", *words)


@pytest.mark.parametrize(
    "words",
    [
        ["--bogus"],
        ["frobnicate"],
        ["solve"],
        ["solve", "textbook:two-arm", "extra"],
        ["solve", "textbook:two-arm", "--solver"],
        ["solve", "textbook:two-arm", "--solver", "abacus"],
        ["run", "fednpg"],
        ["run", "sgd", "textbook:two-arm"],
        ["run", "fednpg", "textbook:two-arm", "--rounds", "many"],
        ["list", "colours"],
        ["show"],
        ["verify", "no.such.theorem"],
        ["verify", "no-such-file.py"],
        ["verify", "lemmas", "--jobs", "0"],
        ["verify", "lemmas", "--set", "pairs=3"],
        ["verify", "lemmas", "--on", "textbook:two-arm", "--set", "colour=1"],
    ],
    ids=" ".join,
)
def test_usage_errors(capsys, words):
    data = refused(capsys, *words)
    assert data["status"] == "error"


def test_no_command_under_json(capsys):
    said = call(capsys, "--json")
    assert said.code == 2
    assert said.data["status"] == "error"


def test_run_file_of_another_run(capsys, tmp_path):
    out = tmp_path / "run.npz"
    words = ("run", "fednpg", "textbook:two-arm", "--out", out)
    assert call(capsys, *words, "--rounds", 3).code == 0
    before = out.read_bytes()
    refused(capsys, *words, "--rounds", 4, "--resume")
    refused(capsys, "run", "fednpg", "textbook:three-state", "--rounds", 3, "--out", out, "--resume")
    out.write_bytes(before[:100])
    refused(capsys, *words, "--rounds", 3, "--resume")


def test_report_in_a_file(capsys, tmp_path):
    (tmp_path / "taken").write_text("mine")
    refused(capsys, "verify", "lemmas", "--report", tmp_path / "taken")
    assert (tmp_path / "taken").read_text() == "mine"


def test_broken_theorem_file(capsys, tmp_path):
    path = tmp_path / "mine.py"
    for content in ("def (", "import no_such_module_at_all", "x = 1"):
        path.write_text(content)
        refused(capsys, "verify", path, hint="mine.py")
    path = tmp_path / "other.py"
    path.write_text("\nx = 1 / 0")
    refused(capsys, "verify", path, hint="ZeroDivisionError: division by zero (other.py, line 2)")


PAGE = """
from tabular_fedrl.claims import Theorem, upper


class Own(Theorem):
    id, mark = "own.bound", "ours"

    def setup(self, problem):
        return problem.cmdp

    @upper("a")
    def bound(self, x):
        {}
"""


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    "line, hint",
    [
        ("return x.gamma, 1 / (x.S - x.S)", "ZeroDivisionError: division by zero; in own.bound::bound"),
        ("return x.gap, 1.0", "AttributeError: 'CMDP' object has no attribute 'gap'; in own.bound::bound"),
        ("raise SystemExit(3)", "SystemExit: 3; in own.bound::bound"),
        ("assert not x", "AssertionError; in own.bound::bound"),
    ],
)
def test_a_page_of_one_s_own_that_raises_is_bad_input(capsys, tmp_path, line, hint, jobs):
    path = tmp_path / "mine.py"
    path.write_text(PAGE.format(line))
    problems = ["--on", "textbook:two-arm"] * jobs
    data = refused(capsys, "verify", path, *problems, "--jobs", jobs, hint=hint)
    assert "on textbook:two-arm (mine.py, line 13)" in data["message"]


def test_a_page_of_the_package_that_raises_is_not(capsys, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("x")

    page = find("lemmas.tilt")
    monkeypatch.setattr(page, "setup", broken)
    refused(capsys, "verify", "lemmas.tilt", "--on", "textbook:two-arm", code=4, hint="internal error")


@pytest.mark.parametrize(
    "name, hint",
    [
        ("crosslm", "tabular_fedrl.algorithms.crosslm"),
        ("fedngp", "did you mean 'fednpg'?"),
        ("par-szpo", "did you mean 'par-s2zpo'?"),
        ("sgd", "fed-se"),
    ],
)
def test_algorithms_that_cannot_be_run(capsys, name, hint):
    """Said before the problem is read, and before settings of what is not known are judged."""
    refused(capsys, "run", name, "no-such-file.npz", hint=hint)
    refused(capsys, "run", name, "textbook:two-arm", "--set", "data=real", hint=hint)


@pytest.mark.parametrize("place", ["raise SystemExit(3)", "def setup(self, problem):\n        exit(3)"])
def test_a_page_that_exits(capsys, tmp_path, place):
    """Its code is not the command's, nor does the command end without a word."""
    page = tmp_path / "page.py"
    page.write_text(
        "from tabular_fedrl.claims import Theorem, upper\n"
        "class Page(Theorem):\n"
        "    id, mark = 'own.page', 'ours'\n"
        f"    {place}\n"
        "    @upper('0')\n"
        "    def f(self, x):\n        return 0, 1\n"
    )
    refused(capsys, "verify", page, "--on", "textbook:two-arm", hint="SystemExit: 3")


@pytest.mark.parametrize(
    "theorem, given, hint",
    [
        ("fednpg.decomposition", "seed=-1", "seed = -1: expected 0 or more"),
        ("fednpg.decomposition", "draws=0", "draws = 0: expected 1 or more"),
        ("fednpg.decomposition", "draws=1e30", "64 bits"),
        ("crosslm.collapse", "scores=1", "expected a table"),
        ("rlhf.inverted-links", "link=clipped", "'linear' or 'logistic'"),
        ("rlhf.fedavg", "agents=-1", "agents = -1: expected 1 or more"),
    ],
)
def test_parameters_that_a_page_cannot_take(capsys, theorem, given, hint):
    refused(capsys, "verify", theorem, "--on", "random-mdp:seed=1", "--set", given, hint=hint)


def test_whole_numbers_with_an_exponent(capsys):
    words = ["verify", "fednpg.decomposition", "--on", "random-mdp:seed=1", "--set"]
    sides = [
        [v["lhs"] for v in call(capsys, *words, draws, "--json").data["verdicts"]]
        for draws in ("draws=2e0", "draws=2")
    ]
    assert sides[0] == sides[1]


def test_files_of_others_are_kept(capsys, tmp_path):
    """Only a run's file may be replaced by a run, a search's by a search; an empty file is nobody's."""
    path = tmp_path / "problem.npz"
    np.savez(path, **{**GOOD, "d": np.array([50.0])})
    before = path.read_bytes()
    run = ["run", "fednpg", path, "--rounds", "2", "--out"]
    refused(capsys, *run, path, hint="is not the file of a run")
    refused(capsys, "search", "fednpg.l2", "--budget", "2", "--out", path, hint="is not from a search")
    assert path.read_bytes() == before
    for name in ("new.npz", "new.npz", "empty.npz"):
        (tmp_path / "empty.npz").touch()
        assert call(capsys, *run, tmp_path / name).code == 0


@pytest.mark.parametrize("key", ["r", "c", "d"])
def test_numbers_whose_squares_overflow(capsys, tmp_path, key):
    path = tmp_path / "huge.npz"
    np.savez(path, **changed(key, 0, -2e100))
    refused(capsys, "solve", path, hint="= -2e+100 is beyond 1e+100")


@pytest.mark.parametrize(
    "algorithm, given, hint",
    [
        ("sampled-fednpg", "samples=1e30", "up to 9223372036854775807"),
        ("fedppo", "clip=-1", "clip = -1: expected a number from 0 on"),
        ("fednpg", "weights=1", "expected a list of 1"),
    ],
)
def test_parameters_out_of_range(capsys, algorithm, given, hint):
    refused(capsys, "run", algorithm, "textbook:two-arm", "--rounds", "2", "--set", given, hint=hint)


def test_a_group_of_theorems_is_not_shown_at_once(capsys):
    refused(capsys, "show", "lemmas", hint="lemmas names several theorems; show one: lemmas.")


@pytest.mark.parametrize("error", [SolverFailure("stuck"), ZeroDivisionError("x"), MemoryError()])
def test_internal_errors(capsys, monkeypatch, error):
    def broken(*_):
        raise error

    monkeypatch.setattr(tabular_fedrl.cli.solve, "solve", broken)
    data = refused(capsys, "solve", "textbook:two-arm", code=4)
    assert set(data) == {"status", "message"}
    monkeypatch.setenv("TABULAR_FEDRL_DEBUG", "1")
    assert "Traceback" in call(capsys, "solve", "textbook:two-arm").err


def test_full_disk():
    with open("/dev/full", "w") as full:
        process = start("list", "instances", stdout=full)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 4
    assert "No space left" in err
    assert "Traceback" not in err


def test_names_that_cannot_be_encoded():
    process = start("solve", b"\xff\xfe.npz", "--json", text=False)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (2, b"")
    assert json.loads(out)["status"] == "error"
    process = start("solve", b"\xff.npz")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err.count("\n")) == (2, "", 1)
