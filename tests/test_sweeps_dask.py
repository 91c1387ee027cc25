"""A sweep on a local Dask cluster of two workers."""

from __future__ import annotations

import pytest

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.sweeps import drive, read_sweep, sweep
from tests.commandline import call
from tests.test_sweeps import SOURCES, WHAT, identical

distributed = pytest.importorskip("distributed", reason="needs the extra dask")

PATIENCE = 60
"""Seconds for anything to start or to answer."""


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """Two workers, processes of their own; nothing listens but on this machine."""
    cluster = distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        host="127.0.0.1",
        dashboard_address=None,
        local_directory=str(tmp_path_factory.mktemp("dask")),
    )
    with cluster, distributed.Client(cluster, timeout=PATIENCE) as client:
        client.wait_for_workers(2, timeout=PATIENCE)
        yield client


def test_same_rows_as_in_one_process(client, tmp_path, monkeypatch):
    monkeypatch.setattr(drive, "MOST_CELLS", 4)
    out = tmp_path / "s.arrow"
    told = []
    rows = sweep(
        "fednpg",
        SOURCES,
        executor=client.get_executor(),
        workers=2,
        out=out,
        progress=lambda done, total: told.append(done),
        **WHAT,
    )
    assert told == [*range(0, len(rows["cell"]), 4), len(rows["cell"])]
    assert identical(rows, sweep("fednpg", SOURCES, **WHAT))
    assert identical(rows, read_sweep(out))


def test_on_the_command_line(client, capsys, tmp_path):
    out = tmp_path / "s.arrow"
    words = ("sweep", "fednpg", "textbook:two-arm", "--rounds", 2, "--seeds", "0..5", "--json")
    said = call(capsys, *words, "--out", out, "--dask", client.scheduler.address)
    assert said.code == 0
    assert said.data["statuses"] == {"ok": 6}
    here = call(capsys, *words, "--jobs", 1)
    assert here.data["results"] == said.data["results"]


def test_a_worker_that_finds_no_problem(client):
    """Errors come back from the workers as they are."""
    table = sweep("fednpg", "textbook:infeasible", rounds=2, executor=client.get_executor(), workers=2)
    assert table["status"].tolist() == ["infeasible"]
    with pytest.raises(InvalidProblem, match="no file"):
        sweep("fednpg", "no.npz", rounds=2, executor=client.get_executor())


def test_no_scheduler(capsys, monkeypatch):
    monkeypatch.setattr("tabular_fedrl.cli.sweep.PATIENCE", 0.2)
    said = call(capsys, "sweep", "fednpg", "textbook:two-arm", "--dask", "tcp://127.0.0.1:1")
    assert said.code == 2
    assert said.err.startswith("error: --dask tcp://127.0.0.1:1: no scheduler answers")
    assert said.err.count("\n") == 1
