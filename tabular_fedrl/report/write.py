"""Drawing the report from the data of a verification, and putting it where it belongs."""

from __future__ import annotations

import shutil
from pathlib import Path

from tabular_fedrl.atomic import atomic_path
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.report.data import Data, read_arrays, read_results
from tabular_fedrl.report.overview import overview
from tabular_fedrl.report.page import OVERVIEW, theorem_page
from tabular_fedrl.report.sections import figure_path
from tabular_fedrl.report.theorem import theorem_html


def write_report(directory: Path) -> list[str]:
    """Draw ``figures/*.svg``, ``theorems/*.html`` and ``index.html`` from ``results.json`` and
    ``data/*.npz``; nothing is run.

    A study whose plot nobody knows, or whose data do not suit it, gets no figure. Returns a line for each of
    these; the page says so too.

    Raises
    ------
    InvalidProblem: data that are missing, damaged, or of another version.
    """
    data = read_results(directory)
    absent = _draw(data, directory)
    pages = {theorem_page(name): theorem_html(data, name, absent) for name in data["theorems"]}
    pages[OVERVIEW] = overview(data)
    (directory / "theorems").mkdir(exist_ok=True)
    for name, page in pages.items():
        with atomic_path(directory / name) as path:
            path.write_text(page, encoding="utf-8")
    return [f"no figure of {name}: {reason}" for name, reason in absent.items()]


def _draw(data: Data, directory: Path) -> dict[str, str]:
    """Draw what can be drawn; why the others cannot, by study."""
    # Matplotlib takes a second to import, and only this needs it.
    from tabular_fedrl.plots import PLOTS, save

    (directory / "figures").mkdir(exist_ok=True)
    absent = {}
    for name, study in data["studies"].items():
        arrays = read_arrays(directory, study)
        plot = PLOTS.get(study["plot"])
        if plot is None:
            absent[name] = f"no plot is called {study['plot']!r}"
            continue
        try:
            save(plot(arrays), directory / figure_path(study))
        except InvalidProblem as error:
            absent[name] = str(error)
    return absent


def publish(stage: Path, directory: Path) -> None:
    """Move a finished report into ``directory``: each file whole, the page last.

    Files of an earlier report that the new one does not have are removed, and no others.

    Raises
    ------
    InvalidProblem: the directory cannot be made or written.
    """
    try:
        old = _files(read_results(directory))
    except InvalidProblem:
        old = set()
    new = _files(read_results(stage))
    try:
        for folder in (directory, *(directory / name for name in ("data", "figures", "theorems"))):
            folder.mkdir(parents=True, exist_ok=True)
        for name in sorted(new, key=lambda n: (n == OVERVIEW, n == "results.json", n)):
            if (stage / name).exists():
                with atomic_path(directory / name) as path:
                    shutil.copyfile(stage / name, path)
        for name in sorted(old - new):
            (directory / name).unlink(missing_ok=True)
    except OSError as error:
        raise InvalidProblem(f"cannot write the report to {directory}: {error.strerror or error}") from None


def _files(data: Data) -> set[str]:
    """The files a report consists of, relative to its directory."""
    found = {"results.json", OVERVIEW}
    found |= {theorem_page(name) for name in data["theorems"]}
    for study in data["studies"].values():
        # An old results.json is a file that anyone may have written: only names of ours are ever removed.
        name = Path(study["data"]).name
        found |= {f"data/{name}", f"figures/{Path(name).with_suffix('.svg')}"}
    found |= {f"data/{Path(row['data']).name}" for row in data.get("searches", []) if row["data"]}
    return found
