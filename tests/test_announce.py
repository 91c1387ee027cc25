"""Compiling is said, where it takes long; what is read from disk is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from numba.core import event

import tabular_fedrl
from tabular_fedrl.kernels import announce

PACKAGE = Path(tabular_fedrl.__file__).parent

LINE = "compiling the loops; from now on they are read from disk\n"


@pytest.fixture
def announcer(monkeypatch):
    """One in place of the package's own that has said nothing yet."""
    announcer = announce.Announcer()
    event.unregister("numba:compile", announce._announcer)
    monkeypatch.setattr(announce, "_announcer", announcer)
    event.register("numba:compile", announcer)
    yield announcer
    event.unregister("numba:compile", announcer)
    monkeypatch.undo()
    event.register("numba:compile", announce._announcer)


def compiling(wait, inside=None, module="tabular_fedrl.kernels.sparse"):
    """What Numba tells while it compiles a function of a module, and inside it perhaps another one."""
    data = {"dispatcher": SimpleNamespace(py_func=SimpleNamespace(__module__=module))}
    with event.trigger_event("numba:compile", data):
        wait()
        if inside:
            compiling(inside, module=module)


def test_long_compiling_is_said_while_it_lasts_and_once(announcer, monkeypatch, capsys):
    monkeypatch.setattr(announce, "PATIENCE", 0.05)
    said = []

    def until_said():
        end = time.monotonic() + 30
        while not said and time.monotonic() < end:
            time.sleep(0.01)
            said.extend(capsys.readouterr().err.splitlines(keepends=True))

    compiling(until_said)
    assert said == [LINE]
    compiling(lambda: time.sleep(0.2), lambda: time.sleep(0.2))
    assert capsys.readouterr().err == ""


def test_many_short_ones_are_long_together(announcer, monkeypatch, capsys):
    monkeypatch.setattr(announce, "PATIENCE", 0.5)
    for _ in range(40):
        compiling(lambda: time.sleep(0.01), lambda: time.sleep(0.01))
    assert capsys.readouterr().err == LINE


def test_nothing_is_said_of_other_waits_nor_of_others_functions(announcer, monkeypatch, capsys):
    monkeypatch.setattr(announce, "PATIENCE", 0.5)
    compiling(int, int)
    with pytest.raises(ZeroDivisionError):
        compiling(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError), announce.announced():
        raise ZeroDivisionError
    compiling(lambda: time.sleep(0.7), module="tabular_fedrl_s_guest.kernels")
    assert capsys.readouterr().err == ""


def test_the_second_process_compiles_nothing(tmp_path):
    """Sums of rows on a fresh disk, and again."""
    code = (
        "from tabular_fedrl.kernels import announce\n"
        "announce.PATIENCE = 0.0\n"
        "import numpy as np\n"
        "from tabular_fedrl.kernels.lanes import exp\n"
        "print(exp(1.0) == np.exp(1.0))\n"
    )
    said = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.stdout == "True\n", done.stderr
        said.append(done.stderr)
    assert said == [LINE, ""]


def test_what_calls_a_changed_block_is_compiled_anew(tmp_path):
    """Numba by itself would look at the caller's file alone."""
    shutil.copytree(PACKAGE, tmp_path / "tabular_fedrl", ignore=shutil.ignore_patterns("__pycache__"))
    kernels = tmp_path / "tabular_fedrl" / "kernels"
    (kernels / "caller.py").write_text(
        "from tabular_fedrl.kernels.lanes import compiled, exp\n\n\n"
        "@compiled\ndef twice(x):\n    return 2.0 * exp(x)\n"
    )
    code = (
        "from tabular_fedrl.kernels.caller import twice\n"
        "print(twice(0.0), sum(twice.stats.cache_hits.values()))\n"
    )
    said = []
    for result in ("series * power", "series * power", "3.0 * series * power"):
        if result not in (block := (kernels / "lanes.py").read_text()):
            (kernels / "lanes.py").write_text(block.replace("series * power", result))
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        said.append(done.stdout or done.stderr)
    assert said == ["2.0 0\n", "2.0 1\n", "6.0 0\n"]
