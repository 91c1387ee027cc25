"""``tabular-fedrl sweep``: answers, files, exit codes, interruption."""

from __future__ import annotations

import json
import os
import signal
import sys

import pytest

from tabular_fedrl.cli.pool import workers
from tabular_fedrl.cli.sweep import parse_grid
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.sweeps import read_sweep, sweep
from tests.commandline import call, start
from tests.test_sweeps import identical

ARMS = ("sweep", "fednpg", "textbook:two-arm", "--rounds", "2", "--jobs", 1)


def test_answer(capsys, tmp_path):
    out = tmp_path / "s.arrow"
    words = (
        "sweep", "fednpg,omniscient", "random-mdp:seed=0..2", "textbook:two-arm", "--rounds", "2,4",
        "--grid", "eta=none,1/5", "--grid", "local-steps=1..2", "--grid", "gamma=0.8",
        "--jobs", 1, "--out", out,
    )  # fmt: skip
    said = call(capsys, *words, "--seeds", "3")
    assert said.code == 0
    assert "64 runs in" in said.out
    assert (
        "16 without a result (16 infeasible); the first, random-mdp:seed=0,gamma=0.8: no policy" in said.out
    )
    rows = sweep(
        ["fednpg", "omniscient"],
        ["random-mdp:seed=0..2", "textbook:two-arm"],
        rounds=[2, 4],
        seeds=3,
        grid={"eta": [None, 0.2], "local_steps": [1, 2], "gamma": [0.8]},
    )
    assert identical(read_sweep(out), rows)
    data = call(capsys, *words, "--seeds", "3", "--resume", "--json").data
    assert data["status"] == "ok"
    assert (data["cells"], data["statuses"]) == (64, {"infeasible": 16, "ok": 48})
    assert data["first_failure"]["status"] == "infeasible"
    chosen = (rows["algorithm"] == "omniscient") & (rows["rounds"] == 4) & (rows["status"] == "ok")
    assert data["results"][-1] == {
        "algorithm": "omniscient",
        "rounds": 4,
        "runs": 12,
        "mean_gap": pytest.approx(rows["gap"][chosen].mean()),
        "largest_gap": rows["gap"][chosen].max(),
        "largest_violation": rows["violation"][chosen].max(),
    }
    quiet = call(capsys, *words, "--seeds", "3", "--resume", "--quiet")
    assert (quiet.out, quiet.err) == (f"64 runs in {out}\n", "")


@pytest.mark.parametrize(
    "name, status, code", [("infeasible", "infeasible", 3), ("not-slater", "not-slater", 2)]
)
def test_nothing_but_failures(capsys, name, status, code):
    """A sweep in which nothing could be run has failed."""
    said = call(capsys, "sweep", "fednpg", f"textbook:{name}", "--rounds", 2, "--jobs", 1)
    assert said.code == code
    assert f"1 without a result (1 {status})" in said.out
    assert call(capsys, "sweep", "fednpg", f"textbook:{name}", *ARMS[2:]).code == 0


def test_processes(capsys):
    said = call(capsys, *ARMS[:-1], 2, "--seeds", "0..3", "--json")
    assert said.data["statuses"] == {"ok": 4}
    assert said.data["results"] == call(capsys, *ARMS, "--seeds", "0..3", "--json").data["results"]


def numba_threads():
    import numba

    return numba.get_num_threads()


def test_workers_have_one_thread_and_this_process_keeps_its_own(monkeypatch):
    """A changed variable would end the next compiling here."""
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    with workers(2) as executor:
        assert executor.submit(numba_threads).result() == 1
        assert "NUMBA_NUM_THREADS" not in os.environ


def test_values_of_a_grid():
    assert parse_grid(["local-steps=1,3..5", "eta=none,1/4,1e-3", "weights=0.5+0.5,1+0"]) == {
        "local_steps": [1, 3, 4, 5],
        "eta": [None, 0.25, 0.001],
        "weights": [[0.5, 0.5], [1.0, 0.0]],
    }
    assert parse_grid(["visible=0+1/1,0/1", "sparse=true", "aggregation=geometric"]) == {
        "visible": ["0+1/1", "0/1"],
        "sparse": [True],
        "aggregation": ["geometric"],
    }
    for bad in ("eta", "eta=", "=1", "eta=1,,2", "a b=1", "eta=3..1"):
        with pytest.raises(InvalidProblem):
            parse_grid([bad])
    with pytest.raises(InvalidProblem, match="given twice"):
        parse_grid(["eta=1", "eta=2"])


@pytest.mark.parametrize(
    "words, message",
    [
        (("--grid", "etaa=1"), "did you mean 'eta'"),
        (("--grid", "eta"), "--grid eta: expected NAME=VALUE,VALUE,..."),
        (("--grid", "aggregation=mean"), "aggregation 'mean': expected 'arithmetic' or 'geometric'"),
        (("--grid", "gamma=1.5"), "gamma = 1.5 is outside [0, 1)"),
        (("--rounds", "0"), "rounds = 0: expected whole numbers from 1 on"),
        (("--rounds", "ten"), "--rounds ten: expected whole numbers joined by commas, or low..high"),
        (("--seeds", "5..2"), "5..2: a range rises"),
        (("--resume",), "name it with --out FILE"),
        (("--dask", "tcp://127.0.0.1:1"), "--jobs and --dask exclude each other"),
        (("--out", "no/such/s.arrow"), "does not exist"),
        (("no/such.npz",), "no file 'no/such.npz'"),
    ],
)
def test_bad_input(capsys, words, message):
    said = call(capsys, *ARMS, *words)
    assert said.code == 2
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1


def test_another_file(capsys, tmp_path):
    out = tmp_path / "s.arrow"
    out.write_text("mine\n")
    for words, message in (((), "is there already"), (("--resume",), "is not the file of a sweep")):
        said = call(capsys, *ARMS, "--out", out, *words)
        assert (said.code, said.err.count("\n")) == (2, 1)
        assert message in said.err
    assert out.read_text() == "mine\n"


def test_without_dask(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    said = call(capsys, *ARMS[:-2], "--dask", "tcp://127.0.0.1:1")
    assert said.code == 2
    assert "--dask needs the extra dask" in said.err


def test_a_defect(capsys, monkeypatch):
    def broken(*words, **more):
        raise ZeroDivisionError("a slip")

    monkeypatch.setattr("tabular_fedrl.sweeps.work.run", broken)
    said = call(capsys, *ARMS)
    assert said.code == 4
    assert "1 of 1 runs ended in a defect" in said.err


def test_interrupted_and_resumed(capsys, tmp_path):
    """Ctrl-C once it says something: exit code 130, a whole file, and the same rows in the end."""
    out = tmp_path / "s.arrow"
    words = (
        "sweep",
        "fednpg",
        "textbook:two-arm",
        "--rounds",
        "20",
        "--seeds",
        "0..299",
        "--jobs",
        1,
        "--json",
    )
    soon = (
        "import tabular_fedrl.cli.output as o; o.PATIENCE = o.EVERY = 0.0\n"
        "from tabular_fedrl.sweeps import drive; drive.MOST_CELLS = 5"
    )
    process = start(*words, "--out", out, prepare=soon)
    next(line for line in process.stderr if line.startswith("sweeping: 5 of 300 runs"))
    process.send_signal(signal.SIGINT)
    answer, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert json.loads(answer)["message"] == f"interrupted; continue with --out {out} --resume"
    assert 5 <= len(read_sweep(out)["cell"]) < 300
    said = call(capsys, *words, "--out", out, "--resume")
    assert said.data["statuses"] == {"ok": 300}
    assert read_sweep(out)["seed"].tolist() == list(range(300))
