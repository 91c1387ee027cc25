"""A sweep's file: killed, torn, damaged, in use, on a full disk."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from random import Random

import numpy as np
import pyarrow as pa
import pytest

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.sweeps import drive, files, read_sweep, sweep
from tests.test_sweeps import identical

WORDS = ("fednpg", ["textbook:two-arm", "textbook:two-budgets"])
WHAT = {"rounds": 2, "grid": {"eta": [0.1, 0.2]}, "seeds": range(5)}
CELLS = 20

PROGRAM = """
import sys
from tabular_fedrl.sweeps import drive, sweep
drive.MOST_CELLS = 1
def told(done, total):
    print(done, flush=True)
{before}
sweep({words!r}, {sources!r}, rounds=2, grid={{"eta": [0.1, 0.2]}}, seeds=range(5),
      out=sys.argv[1], resume=True, progress=told, executor={executor})
print("end", flush=True)
"""


def start(out, before="", executor="None", **options):
    """The sweep in a process of its own, one cell a task; it prints how many are done."""
    text = PROGRAM.format(words=WORDS[0], sources=WORDS[1], before=before, executor=executor)
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", text, str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def scan(out):
    """Schema, record batches and the end of the last one."""
    return files.scan(str(out), lambda batch: batch)


@pytest.fixture(scope="module")
def rows():
    return sweep(*WORDS, **WHAT)


@pytest.fixture
def small_tasks(monkeypatch):
    monkeypatch.setattr(drive, "MOST_CELLS", 4)


@pytest.fixture
def out(tmp_path, small_tasks):
    """The file of a finished sweep, of several batches."""
    path = tmp_path / "s.arrow"
    sweep(*WORDS, out=path, **WHAT)
    return path


SLOW = """
import time
def told(done, total):
    print(done, flush=True)
    time.sleep(0.05)
"""
"""So that whoever kills it need not be quick."""


def test_killed_again_and_again(tmp_path, rows):
    """Nothing that was reported is lost, nothing is repeated, and the end is as if nothing had happened."""
    out, kills, random = tmp_path / "s.arrow", 0, Random(7)
    while True:
        process = start(out, SLOW)
        limit = random.randint(5, 7)
        told = []
        for line in process.stdout:
            told.append(line.strip())
            if len(told) > limit:
                process.kill()
        process.communicate(timeout=60)
        if told[-1] == "end":
            break
        kills += 1
        kept = read_sweep(out)["cell"].tolist()
        assert len(kept) >= int(told[-1])
        assert kept == list(range(len(kept)))
        resumed_at = int(told[0])
        assert resumed_at <= int(told[-1])
    assert kills >= 2
    assert identical(read_sweep(out), rows)
    assert sum(batch.num_rows for batch in scan(out)[1]) == CELLS


HALF = """
import os, signal
from io import FileIO
from tabular_fedrl.sweeps import files
class Half(FileIO):
    writes = 0
    def write(self, data):
        Half.writes += 1
        if Half.writes > 4:
            super().write(data[: len(data) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return super().write(data)
files.FileIO = Half
"""


def test_killed_in_the_middle_of_a_write(tmp_path, rows):
    out = tmp_path / "s.arrow"
    process = start(out, HALF)
    told, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert told.split() == ["0", "1", "2", "3"]
    size = out.stat().st_size
    # Half a batch is there, and read past.
    assert scan(out)[2] < size
    assert len(read_sweep(out)["cell"]) == 3
    assert identical(sweep(*WORDS, out=out, resume=True, **WHAT), rows)


def test_cut_anywhere(out, rows):
    """The file cut at any byte is resumed to the same rows; a batch is kept whole or not at all."""
    content = out.read_bytes()
    header = scan(out)[0].serialize().size
    random = Random(3)
    for size in [0, 3, header - 1, header, header + 1, *(random.randrange(len(content)) for _ in range(12))]:
        out.write_bytes(content[:size])
        if size >= header:
            assert len(read_sweep(out)["cell"]) % 4 == 0
        assert identical(sweep(*WORDS, out=out, resume=True, **WHAT), rows)


@pytest.mark.parametrize("tail", [b"\0" * 4096, b"\xff" * 4096, b"\xff\xff\xff\xff\x10\0\0\0abc", b"rubbish"])
def test_rubbish_behind_the_last_batch_is_cut(out, rows, tail):
    """What a disk may show after its power went."""
    content = out.read_bytes()
    out.write_bytes(content + tail)
    assert identical(read_sweep(out), rows)
    assert identical(sweep(*WORDS, out=out, resume=True, **WHAT), rows)
    assert out.read_bytes() == content


def test_damage_in_the_middle_is_refused(out):
    """Cutting there would lose the batches behind it."""
    content = bytearray(out.read_bytes())
    place = content.index(files.MARK, scan(out)[0].serialize().size + 8)
    content[place : place + 8] = b"\0" * 8
    out.write_bytes(content)
    for use in (lambda: read_sweep(out), lambda: sweep(*WORDS, out=out, resume=True, **WHAT)):
        with pytest.raises(InvalidProblem, match=r"s\.arrow is damaged at byte \d+"):
            use()
    assert out.read_bytes() == content


def test_flipped_bits_crash_nothing(out):
    """Rows, or one line that says what is wrong."""
    content, random = out.read_bytes(), Random(11)
    refused = []
    for _ in range(150):
        damaged = bytearray(content)
        place = random.randrange(len(content))
        damaged[place] ^= 1 << random.randrange(8)
        out.write_bytes(damaged)
        try:
            table = read_sweep(out)
        except InvalidProblem as error:
            refused.append(str(error))
        else:
            assert len(table["cell"]) <= CELLS
    assert len(refused) > 5
    assert not any("\n" in message for message in refused)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"rubbish", "is not the file of a sweep"),
        (b"PK\x03\x04" + bytes(1000), "is not the file of a sweep"),
        (b"\xff\xff\xff\xff\xff\xff\xff\x7f" + bytes(100), "is not the file of a sweep"),
        (pa.schema([("x", pa.int64())]).serialize().to_pybytes(), "is not the file of a sweep"),
        (
            pa.schema([], {"tabular_fedrl.sweep": "3"}).serialize().to_pybytes(),
            "not a sweep file of this version",
        ),
        (
            pa.schema([], {"tabular_fedrl.sweep": '{"format": "x"}'}).serialize().to_pybytes(),
            "of this version",
        ),
    ],
)
def test_a_file_of_something_else(tmp_path, content, message):
    out = tmp_path / "s.arrow"
    out.write_bytes(content)
    with pytest.raises(InvalidProblem, match=message):
        sweep(*WORDS, out=out, resume=True, **WHAT)
    with pytest.raises(InvalidProblem, match="is there already"):
        sweep(*WORDS, out=out, **WHAT)
    with pytest.raises(InvalidProblem, match=message):
        read_sweep(out)
    assert out.read_bytes() == content


@pytest.mark.parametrize(
    "change, message",
    [
        ({"rounds": 3}, r"was swept with rounds = \[2\], not \[3\]"),
        ({"seeds": range(6)}, "was swept with seeds = "),
        ({"grid": {"eta": [0.1, 0.3]}}, "was swept with grid = "),
        ({"sources": ["textbook:two-arm", "textbook:three-state"]}, "was swept with other sources"),
        ({"sources": "textbook:two-arm"}, "was swept with instances = 2, not 1"),
        ({"algorithms": "isolated"}, "was swept with algorithms = "),
        ({"resume": False}, "is there already: resume its sweep, or name another file"),
    ],
)
def test_another_sweep_is_refused(out, change, message):
    before = out.read_bytes()
    given = {"algorithms": WORDS[0], "sources": WORDS[1], "resume": True, **WHAT, **change}
    with pytest.raises(InvalidProblem, match=message):
        sweep(out=out, **given)
    assert out.read_bytes() == before


def test_another_version_is_refused(out, monkeypatch):
    monkeypatch.setattr("tabular_fedrl.sweeps.plan.__version__", "99")
    with pytest.raises(InvalidProblem, match="was swept with version = "):
        sweep(*WORDS, out=out, resume=True, **WHAT)
    assert len(read_sweep(out)["cell"]) == CELLS


def test_a_changed_file_of_a_problem_is_another_source(tmp_path):
    from tabular_fedrl.instances import load, save

    out, path = tmp_path / "s.arrow", tmp_path / "p.npz"
    save(path, load("textbook:two-arm"))
    sweep("fednpg", path, rounds=2, out=out)
    save(path, load("textbook:scaled-arms"))
    with pytest.raises(InvalidProblem, match="was swept with other sources"):
        sweep("fednpg", path, rounds=2, out=out, resume=True)


def test_a_cell_twice_is_damage(out):
    schema, batches, _ = scan(out)
    with pa.OSFile(str(out), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for batch in [*batches, batches[1]]:
            writer.write_batch(batch)
    with pytest.raises(InvalidProblem, match="holds a cell twice"):
        sweep(*WORDS, out=out, resume=True, **WHAT)


def test_resuming_a_finished_sweep_runs_nothing(out, rows, monkeypatch):
    monkeypatch.setattr("tabular_fedrl.sweeps.work.run", None)
    before = out.read_bytes()
    told = []
    assert identical(sweep(*WORDS, out=out, resume=True, progress=lambda *x: told.append(x), **WHAT), rows)
    assert told == [(CELLS, CELLS)]
    assert out.read_bytes() == before


def test_one_sweep_at_a_time(out):
    """In this process or in another; reading is free."""
    schema = scan(out)[0]
    held = files.SweepFile(out, schema, CELLS, resume=True)
    try:
        with pytest.raises(InvalidProblem, match=r"s\.arrow is in use: another sweep is writing it"):
            sweep(*WORDS, out=out, resume=True, **WHAT)
        process = start(out)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 1
        assert "is in use" in said
        assert len(read_sweep(out)["cell"]) == CELLS
    finally:
        held.close()
    sweep(*WORDS, out=out, resume=True, **WHAT)


FORKS = 'ProcessPoolExecutor(1, get_context("fork"))'


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_orphans_of_a_killed_sweep_do_not_keep_its_lock(tmp_path, rows):
    """A forked worker inherits the open file and outlives its parent."""
    out = tmp_path / "s.arrow"
    before = "from concurrent.futures import ProcessPoolExecutor\nfrom multiprocessing import get_context"
    process = start(out, SLOW + before, FORKS, start_new_session=True)
    try:
        for line in process.stdout:
            if int(line) >= 2:
                break
        process.kill()
        process.wait(60)
        assert identical(sweep(*WORDS, out=out, resume=True, **WHAT), rows)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.stdout.close()
        process.stderr.close()


FULL = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))
"""


def test_full_disk(tmp_path, rows):
    """A write that fails half-way leaves the batches before it; one line names the file."""
    out = tmp_path / "s.arrow"
    process = start(out, FULL.format(size=12_000))
    told, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"'{out}'" in said.strip().splitlines()[-1]
    kept = int(told.split()[-1])
    assert 0 < kept < CELLS
    _, batches, end = scan(out)
    assert sum(batch.num_rows for batch in batches) == kept
    assert out.stat().st_size == end
    assert identical(sweep(*WORDS, out=out, resume=True, **WHAT), rows)


def test_interrupted_in_a_write(tmp_path, small_tasks, rows, monkeypatch):
    """Ctrl-C between the write and the flush: the file is as before that batch."""
    out = tmp_path / "s.arrow"
    true, calls = os.fsync, []

    def interrupt(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:
            raise KeyboardInterrupt
        true(descriptor)

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        sweep(*WORDS, out=out, **WHAT)
    assert len(read_sweep(out)["cell"]) == 4
    assert scan(out)[2] == out.stat().st_size
    assert identical(sweep(*WORDS, out=out, resume=True, **WHAT), rows)


@pytest.mark.parametrize(
    "name, message", [("no/such/s.arrow", "does not exist"), (".", "is not a regular file")]
)
def test_places_that_cannot_be_written(tmp_path, name, message):
    with pytest.raises(InvalidProblem, match=message):
        sweep(*WORDS, out=tmp_path / name, **WHAT)
    with pytest.raises(InvalidProblem, match="is not a file"):
        read_sweep(tmp_path / name)


def test_any_arrow_reader_reads_it(out, rows):
    table = pa.ipc.open_stream(out.read_bytes()).read_all()
    assert table["gap"].to_pylist() == rows["gap"].tolist()
    assert table["violations"].to_pylist()[0] == rows["violations"][0][:1].tolist()
    swept = json.loads(table.schema.metadata[b"tabular_fedrl.sweep"])
    assert swept["grid"] == [{"eta": [0.1, 0.2]}]
    assert np.isnan(rows["violations"][0, 1])
