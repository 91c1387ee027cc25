"""What the site's pages show is what happens: their files, commands and Python are run and compared."""

from __future__ import annotations

import doctest
import glob
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from docs.check import faults
from tests.commandline import call

DOCS = Path(__file__).parent.parent / "docs"
PAGES = sorted(p for p in DOCS.rglob("*.rst") if "_generated" not in p.parts)
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
BLOCK = re.compile(
    r"^(?P<indent> *)\.\. (?P<kind>code-block:: (?:console|pycon)|literalinclude:: (?P<file>\S+))\n"
    r"(?P<body>(?:(?P=indent) +.*\n|\n)*)",
    re.MULTILINE,
)
RUN = [p for p in PAGES if BLOCK.search(p.read_text(encoding="utf-8"))]


def commands(body: str) -> Iterator[tuple[str, str]]:
    """The commands of a console block (after ``$``), each with the output shown."""
    first, *rest = re.split(r"(?m)^\$ ", body)
    assert not first.strip()
    for part in rest:
        command, _, shown = part.partition("\n")
        yield command, shown


class Reader:
    """Someone who types what a page shows, in a folder of their own."""

    def __init__(self, capsys):
        self.capsys, self.code, self.names = capsys, 0, {}

    def type(self, command: str) -> str:
        program, *words = shlex.split(command)
        if command == "echo $?":
            return str(self.code)
        words = [found for w in words for found in (sorted(glob.glob(w)) if "*" in w else [w]) or [w]]
        if program == "tabular-fedrl":
            self.code, out, err = call(self.capsys, *words)
            return out + "".join(
                line for line in err.splitlines(True) if line.startswith(("error:", "infeasible:"))
            )
        if program == "pytest":
            words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words]
        else:
            words = [program, *words]
        done = subprocess.run(words, capture_output=True, text=True)
        self.code = done.returncode
        return done.stdout + done.stderr

    def python(self, body: str, name: str, line: int) -> None:
        said: list[str] = []
        test = doctest.DocTestParser().get_doctest(body, self.names, name, name, line)
        runner = doctest.DocTestRunner(optionflags=FLAGS)
        runner.run(test, out=said.append, clear_globs=False)
        self.names = test.globs
        assert not said, "".join(said)


@pytest.mark.parametrize("page", RUN, ids=lambda p: p.stem)
def test_what_a_page_shows(page, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "90")
    monkeypatch.setenv("PYTEST_ADDOPTS", "")
    text, reader = page.read_text(encoding="utf-8"), Reader(capsys)
    for block in BLOCK.finditer(text):
        if block["file"]:
            shutil.copy(page.parent / block["file"], tmp_path)
            # A page read before is not read again under the same name.
            for name in [n for n in sys.modules if n.startswith("_theorems_")]:
                del sys.modules[name]
            continue
        body = textwrap.dedent(block["body"]).strip("\n") + "\n"
        if block["kind"].endswith("pycon"):
            reader.python(body, page.name, text[: block.start()].count("\n"))
            continue
        for command, shown in commands(body):
            out = reader.type(command)
            assert doctest.OutputChecker().check_output(shown, out, FLAGS), f"$ {command}\n{out}"


def html(body: str) -> str:
    return f'<html><head><link rel="stylesheet" href="a.css"></head><body id="top">{body}</body></html>'


def test_a_site_that_stands_by_itself(tmp_path):
    (tmp_path / "a.css").write_text('p { background: url("b.html") }')
    (tmp_path / "b.html").write_text(html('<p id="here">'))
    (tmp_path / "index.html").write_text(
        html('<a href="b.html#here">x</a><a href="#top">x</a><a href="https://example.org">may leave</a>')
    )
    assert list(faults(tmp_path)) == []


@pytest.mark.parametrize(
    "body",
    [
        '<a href="c.html">x</a>',
        '<a href="#gone">x</a>',
        '<img src="gone.png">',
        '<script src="https://example.org/x.js"></script>',
        '<img srcset="//example.org/x.png 2x">',
        '<p style="background: url(https://example.org/x.png)">',
        str(DOCS),
        "<style>@import 'https://example.org/x.css';</style>",
    ],
)
def test_a_site_that_does_not(tmp_path, body):
    (tmp_path / "a.css").touch()
    (tmp_path / "index.html").write_text(html(body))
    assert len(list(faults(tmp_path))) == 1


def test_a_style_from_elsewhere(tmp_path):
    (tmp_path / "a.css").write_text("@font-face { src: url(https://example.org/x.woff2) }")
    (tmp_path / "index.html").write_text(html(""))
    assert list(faults(tmp_path)) == ["a.css fetches https://example.org/x.woff2"]
