"""``verify``: verdicts, exit codes, the report it leaves; what interrupts and kills leave."""

import json
import re
import signal
import time
from pathlib import Path

import numpy as np
import pytest

import tabular_fedrl.cli.run
import tabular_fedrl.cli.verify
from tabular_fedrl.claims import verify_all
from tabular_fedrl.claims.discovery import select
from tests.commandline import THEOREM, call, start


@pytest.fixture
def theorem(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(THEOREM)
    return path


def test_suite(capsys, theorem):
    said = call(capsys, "verify", theorem, "--jobs", 1)
    assert said.code == 0
    for words in ("tiny.range (ours)", "2 hold", "1/1 link holds", "control: tenth", "fails, as it must"):
        assert words in said.out
    assert "All 2 claims of 1 theorem hold on every instance they apply to." in said.out


GENEROUS = """
from tabular_fedrl.claims import Theorem, upper


class Bounded(Theorem):
    'A reward is at most a constant.'

    id, mark = "tiny.reward", "ours"

    def setup(self, problem, bound=2.0):
        return float(problem.cmdp.r.max()), bound

    @upper("r <= bound")
    def bound(self, x):
        return *x, 1.5
"""


@pytest.mark.parametrize(("bound", "words"), [(2.0, "1 hold[s]; 1 vacuous"), (1.4, "1 hold[s]  ")])
def test_a_bound_that_says_nothing_is_called_so(capsys, tmp_path, bound, words):
    """Above 1.5, what the left side can be at most."""
    path = tmp_path / "mine.py"
    path.write_text(GENEROUS)
    said = call(capsys, "verify", path, "--on", "textbook:two-arm", "--set", f"bound={bound}")
    assert re.search(words, said.out)
    assert ("vacuous" in said.out) == (bound > 1.5)


def test_suite_json(capsys, theorem):
    """What the theorem prints stays off standard output."""
    said = call(capsys, "verify", theorem, "--jobs", 1, "--json")
    assert said.code == 0
    assert "a user's theorem may print" in said.err
    data = said.data
    assert data["status"] == "holds"
    assert data["counts"] == {"holds": 6, "controls": {"fail": 1, "do not fail": 0}}
    assert data["report"] is None
    assert {v["role"] for v in data["verdicts"]} == {"claim", "link", "control"}
    # The paying arm pays 1 and is capped at 1/2: value 1/2 against the bound 1. In the second problem
    # it is 5/4 against 3/(1 - 1/2).
    ratios = {row["claim"]: row["ratio"] for row in data["summary"]}
    assert ratios["bound"] == pytest.approx(0.5)


def test_worker_processes_say_the_same(theorem):
    process = start("verify", theorem, "--jobs", 2, "--json")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 0
    verdicts = json.loads(out)["verdicts"]
    here = verify_all(select(str(theorem))).verdicts
    for there, v in zip(verdicts, here, strict=True):
        assert (there["claim"], there["status"], there["lhs"]) == (v.claim, v.status, v.to_dict()["lhs"])


def test_on_a_problem(capsys, theorem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = call(capsys, "verify", theorem, "--on", "textbook:three-state", "--on", "garnet", "--json")
    assert said.code == 0
    assert {v["instance"] for v in said.data["verdicts"]} == {"textbook:three-state", "garnet"}
    assert not (tmp_path / "report").exists()


def test_a_claim_that_fails(capsys, theorem):
    words = ("verify", theorem, "--on", "textbook:two-arm", "--set", "factor=0.25")
    said = call(capsys, *words)
    assert said.code == 1
    assert "tiny.range::bound on textbook:two-arm" in said.out
    assert "fails: 0.5 <= 0.25" in said.out
    assert call(capsys, *words, "--json").data["status"] == "fails"


def test_undecided(capsys, theorem):
    """Equality cannot be told from an excess by enclosures: an upper bound that is attained is undecided."""
    words = ("verify", theorem, "--on", "textbook:two-arm", "--set", "factor=0.5")
    said = call(capsys, *words, "--json")
    assert said.code == 5
    assert said.data["status"] == "undecided"
    assert "undecided" in call(capsys, *words).out


def test_a_control_that_does_not_fail(capsys, theorem):
    theorem.with_name("weak.py").write_text(THEOREM.replace("0.1 * cmdp", "10 * cmdp"))
    said = call(capsys, "verify", theorem.with_name("weak.py"), "--jobs", 1)
    assert said.code == 1
    assert "must fail, but" in said.out
    assert "1 control of 1 should fail and does not." in said.out


def test_nothing_applies(capsys, theorem):
    theorem.with_name("only.py").write_text(THEOREM.replace(', only=("paid",)', ""))
    words = ("verify", theorem.with_name("only.py"), "--on", "windy-cliff:ncost=0")
    said = call(capsys, *words)
    assert said.code == 0
    assert "warning: nothing was verified" in said.err
    assert "at least one constraint" in said.err
    data = call(capsys, *words, "--json").data
    assert data["status"] == "not applicable"
    assert len(data["warnings"]) == 1


def test_infeasible_is_not_applicable(capsys, theorem):
    said = call(capsys, "verify", theorem, "--on", "textbook:infeasible", "--json")
    assert said.code == 0
    assert said.data["status"] == "not applicable"


def test_prefix_and_parameters_of_some(capsys):
    """A parameter goes to the theorems that have it."""
    words = ("verify", "lemmas", "--on", "textbook:three-state", "--set", "pairs=2", "--seed", 3, "--json")
    said = call(capsys, *words)
    assert said.code == 0
    parameters = {v["theorem"]: v["parameters"] for v in said.data["verdicts"]}
    assert parameters["lemmas.performance-difference"] == {"pairs": 2, "seed": 3}
    assert len(parameters) > 2


def test_quiet(capsys, theorem):
    said = call(capsys, "verify", theorem, "--jobs", 1, "--quiet")
    assert said.out.count("\n") == 1


def test_report(capsys, theorem, tmp_path):
    report = tmp_path / "deep" / "report"
    said = call(capsys, "verify", theorem, "--jobs", 1, "--report", report, "--json")
    assert said.code == 0
    assert said.data["report"] == str(report)
    written = json.loads((report / "results.json").read_text())
    assert written == {k: said.data[k] for k in written}
    assert (report / "index.html").exists()
    assert not [p for p in report.rglob("*") if p.name.startswith(".")]


def test_interrupted(capsys, theorem, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(tabular_fedrl.cli.verify, "verify_all", stop)
    monkeypatch.setattr(tabular_fedrl.cli.run, "run_rounds", stop)
    for words in (("verify", theorem, "--jobs", 1), ("run", "fednpg", "textbook:two-arm")):
        said = call(capsys, *words)
        assert (said.code, said.out) == (130, "")
        assert said.err == "interrupted\n"
        assert call(capsys, *words, "--json").data == {"status": "error", "message": "interrupted"}


SLOW = """
import time
from tabular_fedrl.claims import Case, Theorem, upper


class Slow(Theorem):
    '''Nothing, slowly.'''

    id, mark = "slow.wait", "ours"
    suite = tuple(Case("textbook:two-arm", n=n) for n in range(200))

    def setup(self, problem, n=0):
        time.sleep(0.5)

    @upper("0 <= 1")
    def wait(self, x):
        return 0.0, 1.0
"""


def children(pid):
    """Living processes whose parent is ``pid``."""
    return [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and _parent(p) == str(pid)]


def _parent(process):
    try:
        state, parent, *_ = (process / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if state == "Z" else parent


def alive(pids):
    return [pid for pid in pids if _parent(Path(f"/proc/{pid}")) is not None]


@pytest.mark.parametrize(
    "kill", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["interrupted", "terminated", "killed"]
)
def test_end_during_a_verification(tmp_path, kill):
    """The earlier report stays as it was, no file is half-written, no worker stays behind."""
    (tmp_path / "slow.py").write_text(SLOW)
    report = tmp_path / "report"
    report.mkdir()
    (report / "index.html").write_text("the earlier report")
    process = start("verify", tmp_path / "slow.py", "--jobs", 2, "--report", report, "--json")
    deadline = time.monotonic() + 60
    while len(workers := children(process.pid)) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1.0)
    process.send_signal(kill)
    out, _ = process.communicate(timeout=30)
    if kill != signal.SIGKILL:
        assert process.returncode == 130
        assert json.loads(out) == {"status": "error", "message": "interrupted"}
    assert [(p.name, p.read_text()) for p in report.iterdir()] == [("index.html", "the earlier report")]
    while alive(workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(workers)


def test_killed_run_leaves_a_whole_file(capsys, tmp_path):
    """Killed while it saves as often as it can: the file is whole, and the run goes on from it."""
    out = tmp_path / "run.npz"
    words = ("run", "fednpg", "garnet:S=10,m=2", "--rounds", 6000, "--json")
    process = start(
        *words, "--out", out, prepare="import tabular_fedrl.runner.drive as d; d.SAVE_EVERY = 0.0"
    )
    while not out.exists() and process.poll() is None:
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=30)
    with np.load(out, allow_pickle=False) as file:
        assert all(file[name] is not None for name in file.files)
    assert call(capsys, *words, "--out", out, "--resume").data == call(capsys, *words).data


def test_interrupted_run_is_resumed(capsys, tmp_path):
    """An interrupt keeps what was done; resuming gives the answer of a run that was not interrupted."""
    out = tmp_path / "run.npz"
    words = ("run", "fednpg", "garnet:S=30,m=2", "--rounds", 3000, "--local-steps", 2, "--json")
    process = start(*words, "--out", out, prepare="import tabular_fedrl.cli.output as o; o.PATIENCE = 0.0")
    line = next(line for line in process.stderr if line.startswith("fednpg: "))
    assert line.endswith(" of 3000 rounds\n")
    process.send_signal(signal.SIGINT)
    answer, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(answer)["message"] == f"interrupted; continue with --out {out} --resume"
    assert [p.name for p in tmp_path.iterdir()] == ["run.npz"]
    resumed = call(capsys, *words, "--out", out, "--resume")
    assert resumed.data == call(capsys, *words).data
