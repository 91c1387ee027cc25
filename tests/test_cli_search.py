"""``tabular-fedrl search``: answers, files, exit codes, interruption."""

from __future__ import annotations

import json
import shlex
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular_fedrl.cli.settings import parse_value, setting
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load
from tests.commandline import call, start

WRONG = '''
from tabular_fedrl.claims import Table, Theorem, tight, upper


class Bounded(Theorem):
    """The reward of the first action is at most nine tenths."""

    id, mark = "wrong.bounded", "ours"
    family = "bandit:A=2,m=0"
    space = {"table": Table.POLICY, "factor": (0.5, 2.0)}

    def setup(self, problem, table=None, factor=1.0, count=1):
        return problem.cmdp.r[0, 0], factor

    @upper("r_0 <= 9/10", constant=0.9)
    def bound(self, x):
        return x[0], 0.9

    @tight("r_0 <= 1")
    def right(self, x):
        return x[0], 1.0
'''


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "bounded.py"
    path.write_text(WRONG)
    return path


def test_answer_of_a_search(capsys, tmp_path):
    out = tmp_path / "worst.npz"
    words = ("search", "lemmas.tilt", "--family", "bandit:A=2,m=0", "--budget", 400, "--out", out)
    said = call(capsys, *words, "--claim", "total_variation", "--seed", 3)
    assert said.code == 0
    assert "lemmas.tilt on bandit:A=2,m=0,N=1: 400 evaluations" in said.out
    assert "total_variation" in said.out
    data = call(capsys, *words, "--claim", "total_variation", "--seed", 3, "--json").data
    found = data["found"][0]
    assert data["status"] == "holds"
    assert (data["seed"], data["evaluations"]) == (3, 400)
    assert 0.9 < found["ratio"] <= 1
    assert data["files"] == {"total_variation": str(out)}
    assert {p.name for p in tmp_path.iterdir()} == {"worst.npz", "worst.json"}
    # The line it gives decides the claim on the instance again.
    command = shlex.split(data["commands"]["total_variation"])
    assert command[:3] == ["tabular-fedrl", "verify", "lemmas.tilt"]
    again = call(capsys, *command[1:], "--json").data
    verdict = next(v for v in again["verdicts"] if v["claim"] == "total_variation")
    assert verdict["ratio"] == pytest.approx(found["ratio"], rel=1e-6)
    assert verdict["parameters"]["law"] == found["parameters"]["law"]


def test_counterexample(capsys, page):
    """Certified, kept as an instance file, exit code 1; the other claim holds."""
    said = call(capsys, "search", page, "--budget", 200)
    assert said.code == 1
    assert (
        "COUNTEREXAMPLE: wrong.bounded::bound: 1 > 0.9 (counterexample.wrong.bounded.bound.npz)" in said.out
    )
    problem = load("counterexample.wrong.bounded.bound.npz")
    assert problem.cmdp.r[0, 0] == 1
    data = call(capsys, "search", page, "--budget", 200, "--json").data
    assert data["status"] == "counterexample"
    bound, right = data["found"]
    assert (bound["status"], right["status"]) == ("counterexample", "holds")
    assert bound["certified"]["level"] == "certified"
    assert bound["ratio"] == pytest.approx(10 / 9)
    assert right["words"] == "attained: no smaller constant holds"
    quiet = call(capsys, "search", page, "--budget", 200, "--quiet")
    assert quiet.out.startswith("COUNTEREXAMPLE: ")
    assert quiet.err == ""


def test_ranges_and_values_of_parameters(capsys, page):
    words = ("search", page, "--budget", 100, "--claim", "right", "--json")
    found = call(capsys, *words, "--set", "count=2..5", "--set", "factor=1.5").data["found"][0]
    assert found["parameters"]["factor"] == 1.5
    assert 2 <= found["parameters"]["count"] <= 5
    assert len(found["parameters"]["table"]) == 1


@pytest.mark.parametrize(
    "words, message",
    [
        (("nothing",), "no theorem is called 'nothing'"),
        (("lemmas",), "lemmas names "),
        (("lemmas.tilt", "--family", "cmdp:X=3"), "cmdp: unknown key 'X'"),
        (("lemmas.tilt", "--family", "cmdp:S=0..3"), "cmdp: S=0..3: expected whole numbers from 1 to 12"),
        (("lemmas.tilt", "--family", "plain:S=2"), "unknown family 'plain'"),
        (("lemmas.tilt", "--budget", "soon"), "budget = soon: expected a time such as 60s"),
        (("lemmas.tilt", "--budget", "0s"), "budget = 0s: nothing can be searched"),
        (("lemmas.tilt", "--claim", "nothing"), "lemmas.tilt has no claim 'nothing'"),
        (("lemmas.tilt", "--claim", "jeffreys"), "is an identity"),
        (("lemmas.tilt", "--set", "colour=1"), "lemmas.tilt has no parameter 'colour'"),
        (("lemmas.tilt", "--set", "t=3..1"), "t = 3..1: a range rises"),
        (("lemmas.tilt", "--set", "t=a..b"), "--set t=a..b: a range is low..high"),
        (("lemmas.tilt", "--set", "t"), "--set t: expected KEY=VALUE"),
        (("lemmas.tilt", "--resume"), "name it with --out FILE"),
        (("lemmas.tilt", "--out", "w.txt"), "must end in .npz"),
        (("lemmas.tilt", "--out", "no/such/w.npz"), "does not exist"),
        (("lemmas.performance-difference",), "states no inequality"),
    ],
)
def test_bad_input(capsys, words, message):
    said = call(capsys, "search", "--budget", 50, *words)
    assert said.code == 2
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1


number = st.floats(allow_nan=False, allow_infinity=False, min_value=-1e300, max_value=1e300)
rows = st.integers(2, 4).flatmap(lambda n: st.lists(st.lists(number, min_size=n, max_size=n), min_size=1))


@given(
    st.one_of(
        number, st.integers(-(10**9), 10**9), st.booleans(), st.none(), st.lists(number, min_size=2), rows
    )
)
def test_values_survive_the_command_line(value):
    assert parse_value(setting(value)) == value


def test_tables_on_the_command_line():
    assert parse_value("1/2+1/2:0+1") == [[0.5, 0.5], [0.0, 1.0]]
    assert parse_value("0.25+0.75:") == [[0.25, 0.75]]
    assert parse_value("textbook:two-arm") == "textbook:two-arm"


def test_full_disk(capsys, tmp_path, monkeypatch):
    """One line, exit code 2, what was there stays."""
    out = tmp_path / "w.npz"
    words = ("search", "lemmas.hoeffding", "--claim", "hoeffding", "--budget", 100, "--out", out)
    assert call(capsys, *words).code == 0
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def full(path, problem):
        raise InvalidProblem(f"cannot write {path}: No space left on device")

    monkeypatch.setattr("tabular_fedrl.claims.search.files.save", full)
    said = call(capsys, *words)
    assert said.code == 2
    assert said.err == f"error: cannot write {out}: No space left on device\n"
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_another_search_in_the_file(capsys, tmp_path):
    out = tmp_path / "w.npz"
    words = ("search", "lemmas.hoeffding", "--budget", 100, "--out", out)
    assert call(capsys, *words).code == 0
    said = call(capsys, *words, "--resume", "--seed", 1)
    assert said.code == 2
    assert "w.json was searched with seed = 0, not 1" in said.err


def test_interrupted_search_leaves_the_best_and_goes_on(capsys, tmp_path):
    """Ctrl-C once it says something: exit code 130, whole files, and the end is that of a search that was
    not interrupted."""
    out = tmp_path / "w.npz"
    words = ("search", "lemmas.value-perturbation", "--budget", 6000, "--json")
    process = start(*words, "--out", out, prepare="import tabular_fedrl.cli.output as o; o.PATIENCE = 0.0")
    line = next(line for line in process.stderr if line.startswith("searching: "))
    assert line.endswith(" of 6000 evaluations\n")
    process.send_signal(signal.SIGINT)
    answer, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(answer)["message"] == f"interrupted; continue with --out {out} --resume"
    assert {p.name for p in tmp_path.iterdir()} == {"w.npz", "w.json"}
    assert load(str(out)).cmdp.A >= 2
    short = (*words[:3], 1000, *words[4:])
    resumed = call(capsys, *short, "--out", out, "--resume").data
    straight = call(capsys, *short, "--out", tmp_path / "other.npz").data
    for answer in (resumed, straight):
        for key in ("seconds", "files", "commands"):
            del answer[key]
    assert resumed["evaluations"] >= 1000
    if resumed["evaluations"] == 1000:
        assert resumed == straight


def test_killed_search_leaves_whole_files(capsys, tmp_path):
    out = tmp_path / "w.npz"
    words = ("search", "lemmas.value-perturbation", "--budget", 20000, "--out", out)
    process = start(*words, prepare="import tabular_fedrl.claims.search.run as r; r.EVERY = 0.0")
    while not out.with_suffix(".json").exists() and process.poll() is None:
        pass
    process.kill()
    process.communicate(timeout=30)
    assert load(str(out)).cmdp.A >= 2
    assert "best" in json.loads(out.with_suffix(".json").read_text())
    assert call(capsys, *words[:3], 300, *words[4:], "--resume").code == 0
