"""latexmk, and what its log says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tabular_fedrl.errors import InvalidProblem

WIDEST = 5.0
"""Points by which a line may be too wide."""

PACKAGES = (
    "latexmk texlive-latex-base texlive-latex-recommended texlive-latex-extra texlive-fonts-recommended "
    "lmodern"
)

_OVERFULL = re.compile(r"Overfull \\[hv]box \((?P<points>[\d.]+)pt too (?:wide|high)\)")


def compile_paper(directory: Path) -> Path:
    """Run latexmk on ``directory/paper.tex``; the PDF.

    Raises
    ------
    InvalidProblem: latexmk is missing or fails, or the log complains: what it says, and about which line.
    """
    if shutil.which("latexmk") is None:
        raise InvalidProblem(f"latexmk is missing; on Debian: apt-get install {PACKAGES}")
    command = ["latexmk", "-pdf", "-interaction=nonstopmode", "-halt-on-error", "-file-line-error"]
    # The date of the PDF is fixed, so that equal inputs give equal files; long log lines stay whole.
    settings = {"SOURCE_DATE_EPOCH": "0", "FORCE_SOURCE_DATE": "1", "max_print_line": "10000"}
    done = subprocess.run(
        [*command, "-outdir=out", "paper.tex"],
        cwd=directory,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    log = directory / "out" / "paper.log"
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    if done.returncode:
        wrong = errors(text) or (done.stdout + done.stderr).splitlines()[-15:]
        raise InvalidProblem("latexmk fails:\n" + "\n".join(wrong))
    bibliography = (directory / "out" / "paper.blg").read_text(encoding="utf-8", errors="replace")
    if found := [
        *complaints(text),
        *(line for line in bibliography.splitlines() if line.startswith("Warning")),
    ]:
        raise InvalidProblem("the paper has defects:\n" + "\n".join(found))
    return directory / "out" / "paper.pdf"


def errors(log: str) -> list[str]:
    """The lines of a log that say why LaTeX stopped, each with the one that quotes the source."""
    lines = log.splitlines()
    starts = [i for i, line in enumerate(lines) if line.startswith("!") or re.match(r"\S+\.\w+:\d+: ", line)]
    return [line for i in starts for line in lines[i : i + 3]]


def complaints(log: str, widest: float = WIDEST) -> list[str]:
    """Warnings (undefined references and citations among them), and boxes wider than ``widest`` points."""
    found, file = [], "paper.tex"
    for line in log.splitlines():
        # TeX writes an opening parenthesis and the name of each file that it reads.
        for name in re.findall(r"\((\.?/?[\w./-]+\.tex)", line):
            file = name
        match = _OVERFULL.search(line)
        if (match and float(match["points"]) > widest) or re.search(
            r"^(?:LaTeX|Package \w+|Class \w+).* Warning:", line
        ):
            found.append(f"{file}: {line.strip()}")
    return found
