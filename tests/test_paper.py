"""The paper: every page becomes LaTeX, what cannot is refused with its place; numbers are the report's."""

import inspect
import json
import math
import re
from pathlib import Path

import pytest
from scipy.optimize import brentq

from paper.build import compile_paper, complaints
from paper.citations import BIBLIOGRAPHY, cited
from paper.docstring import paragraphs, parts
from paper.facts import facts, overview
from paper.generate import current, generate, placed
from paper.latex import code, escape
from paper.statements import statement, verdicts
from tabular_fedrl.claims.discovery import theorems
from tabular_fedrl.claims.suite import verify_all
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load
from tabular_fedrl.policies import softmax
from tabular_fedrl.report import results_data
from tabular_fedrl.report.references import read_references
from tabular_fedrl.report.words import number
from tabular_fedrl.solvers import solve

PAPER = Path("paper")
THEOREMS = theorems()


@pytest.fixture(scope="module")
def data():
    """The report of three small theorems that have claims, attained bounds and controls."""
    chosen = [THEOREMS[name] for name in ("fednpg.decomposition", "fednpg.l4", "lemmas.value-perturbation")]
    return json.loads(json.dumps(results_data(verify_all(chosen), chosen)))


@pytest.mark.parametrize("name", THEOREMS)
def test_every_page_becomes_latex(name):
    theorem = THEOREMS[name]
    heads = [part.head for part in parts(_page(theorem), name)]
    assert "Source." in heads
    assert paragraphs(theorem.title(), name)
    assert theorem.mark != "ours" or any(head.startswith("Proof") for head in heads)
    whole = "".join(part.body for part in parts(_page(theorem), name))
    assert whole.count(r"\begin{") == whole.count(r"\end{")


def _page(theorem):
    return inspect.getdoc(theorem)


@pytest.mark.parametrize("name", THEOREMS)
def test_claims_become_latex(name):
    theorem = THEOREMS[name]
    row = {
        "theorem": name,
        "role": "claim",
        "kind": "upper",
        "counts": {"holds": 1},
        "certified": 0,
        "ratio": 0.5,
        "expected": True,
        "worst": "a_b",
    }
    claims = [{**row, "claim": c.name, "statement": c.statement} for c in theorem.claims()]
    table = verdicts({"summary": claims}, name)
    assert all(code(claim["claim"]) in table for claim in claims)
    # A blank at the end would end no formula of the site.
    assert all(claim["statement"] == claim["statement"].strip() for claim in claims)


def test_the_text_cites_what_the_bibliography_has():
    entries = read_references(BIBLIOGRAPHY)
    for path in PAPER.glob("*.tex"):
        for keys in re.findall(r"\\cite\{([^}]*)\}", path.read_text()):
            assert set(keys.split(",")) <= entries.keys(), path
    assert cited(_page(THEOREMS["fednpg.f1"])) == r"\cite{jin2024}"
    assert cited("Nobody.") == ""


def test_awkward_characters():
    text = '50% of A_B & C#1: "quoted" <x> {y} ~ ^ \\ $5 -- é'
    assert paragraphs(text.replace("\\", "\\\\"), "here") == (
        r"50\% of A\_B \& C\#1: ``quoted'' \textless{}x\textgreater{} \{y\} \textasciitilde{} "
        r"\textasciicircum{} \textbackslash{} \$5 -{}- é"
    )
    assert escape("---''–") == "-{}-{}-'{}'--"
    assert code("a_b=1") == r"\code{a\_\allowbreak{}b=\allowbreak{}1}"


@pytest.mark.parametrize(
    "text, words",
    [
        ("Title.\n\nA **bold start without an end.", "line 3"),
        ("Title.\n\n.. nosuch:: directive", "nosuch"),
        ("Title.\n\n:math:`\\nosuchcommand x`", "nosuchcommand"),
        ("Title.\n\n:math:`{x`", "not understood"),
        ("Title.\n\n:math:`\\input{secret}`", "input"),
        ("Title.\n\n:math:`x$ y`", "formula"),
        ("Title.\n\n.. image:: x.png", "image"),
        ("Title.\n\n.. include:: /etc/hostname", "include"),
        ("Title.\n\n.. raw:: latex\n\n   x", "raw"),
        ("Title.\n\nThe letter \u2135 has no glyph.", "U+2135"),
    ],
)
def test_broken_pages_are_refused_with_their_place(text, words):
    with pytest.raises(InvalidProblem) as refused:
        parts(text, "the page of mine")
    assert words in str(refused.value)
    assert "the page of mine" in str(refused.value)


def test_numbers_are_the_reports(data):
    """Every row of every table has the ratio, the counts and the certified instances of results.json."""
    for name in data["theorems"]:
        table = verdicts(data, name)
        lines = [line for line in table.splitlines() if line.endswith(r"\\*")]
        rows = [row for row in data["summary"] if row["theorem"] == name and row["role"] != "link"]
        assert len(lines) == len(rows)
        for line, row in zip(lines, rows):
            cells = line.removesuffix(r" \\*").split(" & ")
            assert code(row["claim"]) in cells[0]
            assert cells[1] == row["kind"]
            assert cells[3] == (str(row["certified"]) if row["certified"] else "--")
            assert cells[4] == escape(number(row["ratio"]))
            assert sum(map(int, re.findall(r"\d+", cells[2]))) in (sum(row["counts"].values()), 0)
        assert f"{{{data['theorems'][name]['mark']}}}{{{name}}}" in statement(data, name)
        assert rf"\hyperref[{name}]" in overview(data)
    known = facts(data)
    assert known["theorems"] == "3"
    assert known["claims"] == str(sum(row["role"] == "claim" for row in data["summary"]))


def test_the_text_holds_no_result_typed_by_hand():
    """Numbers of two digits stand only in layout and formulas; and what the text refers to exists."""
    for path in sorted(PAPER.glob("*.tex")):
        text = path.read_text()
        if path.name != "preamble.tex":
            plain = re.sub(
                r"\\(?:cite|input|plot|theorem)(?:\[[\d.]*\])?\{[^}]*\}|\[[^\]]*em[^\]]*\]", "", text
            )
            plain = re.sub(r"\\(?:ref|theorem|cite|label)\{[^}]*\}|\\frac\d+", "", plain)
            assert not re.findall(r"\d+\.\d+|\d{2,}", plain), path
        for key in re.findall(r"\\fact\{([^#}]*)\}", text):
            theorem = key.split("/")[1] if key.startswith(("ratio/", "found/")) else None
            assert theorem is None or theorem in THEOREMS, (path, key)


def test_numbers_that_pages_work_out():
    """What a page says of its own instance is what the package finds."""
    visits = _page(THEOREMS["drpo.two-visitations"])
    assert f"({0.9 * 2**0.5 / 2 - 0.1 * (2**0.5 - 1):.3f})" in visits
    threshold = brentq(lambda x: 2 * math.exp(0.9 * x) / (math.exp(x) + 1) - 1, 1, 20)
    assert f"about {threshold:.1f} for b = 0.9" in _page(THEOREMS["fednpg.heterogeneity-fixed"])
    best = solve(load("textbook:heterogeneous-bandit").cmdp)
    plays = ", ".join(f"{p:.1f}" for p in softmax(best.log_policy)[0])
    assert f"(LP: {float(best.value):.2f}) plays ({plays})" in _page(THEOREMS["fednpg.heterogeneous-duals"])


def test_every_theorem_has_its_place(tmp_path):
    ids = {"theorems": dict.fromkeys(THEOREMS)}
    placed(ids, PAPER)
    (tmp_path / "a.tex").write_text(r"\theorem{fednpg.f1}\theorem{fednpg.f1}")
    with pytest.raises(InvalidProblem, match=r"fednpg\.f1"):
        placed(ids, tmp_path)


def test_a_report_of_other_pages_is_refused(data, tmp_path):
    with pytest.raises(InvalidProblem, match="make verify"):
        current(data)
    with pytest.raises(InvalidProblem, match="make verify"):
        generate(data, tmp_path / "generated", PAPER)
    assert not (tmp_path / "generated").exists()


def test_the_log_is_read():
    log = "\n".join(
        [
            "(./one.tex",
            r"Overfull \hbox (4.9pt too wide) in paragraph at lines 1--2",
            r"Overfull \hbox (5.1pt too wide) detected at line 7",
            "LaTeX Warning: Reference `x' on page 1 undefined on input line 9.",
            "Package natbib Warning: Citation `y' on page 1 undefined on input line 3.",
            r"Underfull \hbox (badness 10000) in paragraph",
        ]
    )
    found = complaints(log)
    assert len(found) == 3
    assert all(line.startswith("./one.tex: ") for line in found)
    assert "line 7" in found[0]


def test_without_latexmk_one_line_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InvalidProblem, match="apt-get install latexmk"):
        compile_paper(tmp_path)
