"""Figure scripts: every plot from saved data, the same bytes each time, one line where data are missing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from figures.__main__ import main
from figures.data import study
from tabular_fedrl import __version__
from tabular_fedrl.claims import theorems
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.plots import PLOTS, save
from tabular_fedrl.report.data import read_arrays

CONVERGENCE = {
    "T": np.array([100, 1000, 10000]),
    "gap": np.array([[0.3, 0.1, 0.0], [0.2, 0.1, -0.1]]),
    "violation": np.zeros((2, 3)),
    "gap_bound": np.array([3.0, 1.0, 0.3]),
    "violation_bound": np.array([2.0, 0.7, 0.2]),
    "trivial": np.array(1.0),
    "name": np.array("a_name with $ and _"),
}


def test_every_study_names_a_plot():
    named = {part.plot for theorem in theorems().values() for part in theorem.studies()}
    assert named
    assert named <= set(PLOTS)


def test_missing_data_is_one_line_and_exit_code_two(tmp_path, capsys):
    assert main(["--report", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "make verify" in message
    assert not (tmp_path / "out").exists()


def test_damaged_data_is_refused_by_name(tmp_path):
    entry = {"plot": "drift", "data": "data/a.b.npz", "summary": {}}
    head = {"package": "tabular_fedrl", "version": __version__}
    (tmp_path / "results.json").write_text(json.dumps(head | {"studies": {"a.b": entry}}))
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.b.npz").write_bytes(b"PK not a zip file")
    with pytest.raises(InvalidProblem, match=r"a\.b\.npz cannot be read"):
        study(tmp_path, "a.b")
    with pytest.raises(InvalidProblem, match=r"no study 'a\.c'"):
        study(tmp_path, "a.c")


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_same_bytes_in_every_process(tmp_path, suffix):
    np.savez(tmp_path / "data.npz", **CONVERGENCE)
    script = (
        "import sys, numpy as np\n"
        "from tabular_fedrl.plots import PLOTS, save\n"
        "with np.load(sys.argv[1]) as data:\n"
        "    save(PLOTS['convergence'](dict(data)), sys.argv[2])\n"
    )
    for name, seed in (("one", "1"), ("two", "2")):
        target = tmp_path / f"{name}.{suffix}"
        command = [sys.executable, "-c", script, tmp_path / "data.npz", target]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed})
    first, second = (tmp_path / f"{name}.{suffix}" for name in ("one", "two"))
    assert first.read_bytes() == second.read_bytes()
    save(PLOTS["convergence"](CONVERGENCE), tmp_path / f"three.{suffix}")
    assert (tmp_path / f"three.{suffix}").read_bytes() == first.read_bytes()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"text"])
def test_damaged_arrays_of_a_report_are_refused_by_name(tmp_path, content):
    (tmp_path / "a.b.npz").write_bytes(content)
    with pytest.raises(InvalidProblem, match=r"a\.b\.npz cannot be read"):
        read_arrays(tmp_path, {"data": "a.b.npz"})
