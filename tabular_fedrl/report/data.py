"""What a verification leaves on disk: ``results.json`` and ``data/*.npz``; what is shown comes from them."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import sys
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tabular_fedrl import __version__
from tabular_fedrl.atomic import atomic_path
from tabular_fedrl.claims import Results, Role, Theorem, Verdict, summarise
from tabular_fedrl.claims.search import Found, Search
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import save
from tabular_fedrl.report.plain import plain, to_json
from tabular_fedrl.report.references import named, references_for

PACKAGE = "tabular_fedrl"
Data = dict[str, Any]
"""The content of ``results.json``."""


def results_data(results: Results, theorems: Sequence[type[Theorem]], options: Sequence[str] = ()) -> Data:
    """The content of ``results.json``.

    ``theorems``: those that were verified; ``options``: the command-line options that were used, for the
    line that reproduces a theorem's part. Keys: ``package, version, seconds, exit_code, counts``,
    ``theorems`` (by id), ``groups`` (what the docstring of their folder says), ``summary`` (a row per claim
    and role), ``verdicts``, ``studies`` (by ``theorem.study``), ``searches`` (a row per claim that was
    searched).
    """
    verdicts = [v.to_dict() for v in results.verdicts]
    data = {
        "package": PACKAGE,
        "version": __version__,
        "seconds": results.seconds,
        "exit_code": results.exit_code,
        "counts": _counts(results.verdicts),
        "theorems": {t.id: _theorem(t, results.verdicts, options) for t in theorems},
        "groups": _groups(theorems),
        "summary": summarise(results.verdicts),
        "verdicts": verdicts,
        "studies": _studies(results, theorems),
        "searches": [_found(search, found) for search in results.searches for found in search.found],
    }
    plain_data: Data = plain(data)
    return plain_data


def save_results(
    results: Results, theorems: Sequence[type[Theorem]], directory: Path, options: Sequence[str] = ()
) -> Data:
    """Write ``results.json`` and ``data/*.npz`` into ``directory`` (made if need be), each atomically."""
    data = results_data(results, theorems, options)
    (directory / "data").mkdir(parents=True, exist_ok=True)
    for name, study in results.studies.items():
        with (
            atomic_path(directory / data["studies"][name]["data"]) as path,
            path.open("wb") as file,
        ):
            # Text and numbers only: nothing that would need pickle to be read back.
            np.savez_compressed(
                file, allow_pickle=False, **{k: np.asarray(v) for k, v in study.arrays.items()}
            )
    for row, found in zip(data["searches"], (f for s in results.searches for f in s.found), strict=True):
        if found.problem is not None:
            save(directory / row["data"], found.problem)
    with atomic_path(directory / "results.json") as path:
        path.write_text(to_json(data, indent=1) + "\n", encoding="utf-8")
    return data


def read_results(directory: Path) -> Data:
    """The content of ``directory/results.json``.

    Raises :class:`InvalidProblem` if it is missing, damaged, or not ours.
    """
    path = directory / "results.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidProblem(f"{path} cannot be read: {error}") from None
    if not isinstance(data, dict) or data.get("package") != PACKAGE:
        raise InvalidProblem(f"{path} was not written by {PACKAGE}")
    if data.get("version") != __version__:
        raise InvalidProblem(
            f"{path} was written by version {data.get('version')}, this is version {__version__}"
        )
    return data


def read_arrays(directory: Path, study: Mapping[str, Any]) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays of one entry of ``studies``."""
    path = directory / study["data"]
    try:
        with np.load(path, allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InvalidProblem(f"{path} cannot be read: {error}") from None


def file_name(name: str) -> str:
    """A name for a file, from the name of a theorem or study, which may hold anything."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)


def _counts(verdicts: Iterable[Verdict]) -> dict[str, Any]:
    """Verdicts by status, and apart from them the controls that fail (as they must) and those that do not."""
    verdicts = list(verdicts)
    controls = [v for v in verdicts if v.role is Role.CONTROL]
    counts: dict[str, Any] = dict(Counter(str(v.status) for v in verdicts if v.role is not Role.CONTROL))
    failing = sum(v.as_expected for v in controls)
    counts["controls"] = {"fail": failing, "do not fail": len(controls) - failing}
    return counts


def _theorem(theorem: type[Theorem], verdicts: Sequence[Verdict], options: Sequence[str]) -> dict[str, Any]:
    own = [v for v in verdicts if v.theorem == theorem.id]
    page = inspect.getdoc(theorem) or ""
    module = sys.modules[theorem.__module__]
    is_file = theorem.__module__.startswith("_theorems_") and module.__file__
    target = Path(str(module.__file__)).name if is_file else theorem.id
    return {
        "title": theorem.title(),
        "mark": theorem.mark,
        "source": theorem.source,
        "page": page,
        "references": [str(reference) for reference in named(page, references_for(theorem))],
        "group": "" if is_file else theorem.__module__.rpartition(".")[0],
        "hypotheses": [h.text for h in theorem.hypotheses()],
        "instances": sorted({v.instance for v in own}),
        "seconds": sum(v.seconds for v in own),
        "command": shlex.join(["tabular-fedrl", "verify", target, *options]),
    }


def _groups(theorems: Sequence[type[Theorem]]) -> dict[str, str]:
    """The docstrings of the packages that the theorems are in."""
    names = dict.fromkeys(t.__module__.rpartition(".")[0] for t in theorems)
    return {name: inspect.getdoc(sys.modules[name]) or "" for name in names if name in sys.modules}


def _found(search: Search, found: Found) -> dict[str, Any]:
    """A row of ``searches``; ``data``: the worst instance's file, None without one."""
    name = file_name(f"{found.theorem}.{found.claim}")
    return {
        **found.to_dict(),
        "family": search.family,
        "seed": search.seed,
        "searched": search.evaluations,
        "data": f"data/worst.{name}.npz" if found.problem is not None else None,
    }


def _studies(results: Results, theorems: Sequence[type[Theorem]]) -> dict[str, Any]:
    captions = {f"{t.id}.{s.name}": inspect.getdoc(s.function) or "" for t in theorems for s in t.studies()}
    return {
        name: {
            "plot": results.plots.get(name, ""),
            "data": f"data/{file_name(name)}.npz",
            "caption": study.summary.get("caption", captions.get(name, "")),
            "summary": {k: v for k, v in study.summary.items() if k != "caption"},
        }
        for name, study in results.studies.items()
    }
