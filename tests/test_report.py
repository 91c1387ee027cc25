"""The report: made from its files alone, escaped, and moved into place whole."""

import inspect
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tabular_fedrl.claims import Kind, Mark, Results, Role, Status, StudyData, Verdict
from tabular_fedrl.claims.discovery import select, theorems
from tabular_fedrl.claims.suite import verify_all
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import load
from tabular_fedrl.measured import Measured
from tabular_fedrl.report import (
    failures,
    headline,
    plain,
    publish,
    results_data,
    save_results,
    to_json,
    write_report,
)
from tabular_fedrl.report.docstring import docstring_html
from tabular_fedrl.report.mathematics import mathml
from tabular_fedrl.report.overview import overview
from tests.commandline import THEOREM


class Page(HTMLParser):
    """Text, tags and links of a page; every tag must be closed in order."""

    VOID = {"meta", "link", "img", "br"}

    # Formulas have tags that close themselves, as XML does.
    def handle_startendtag(self, tag, attrs):
        assert tag.startswith("m")

    def __init__(self, source):
        super().__init__()
        self.open, self.tags, self.sources, self.text = [], [], [], ""
        self.feed(source)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.sources += [v for k, v in attrs if k in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.text += data + "\n"


@pytest.fixture
def verified(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(THEOREM)
    theorems = select(str(path))
    results = verify_all(theorems)
    slopes = [
        {"curve": "gap", "instance": "garnet", "slope": -0.5, "low": -0.6, "high": -0.4},
        {"curve": "violation", "instance": "garnet", "slope": None, "reason": "n/a: zero or negative"},
    ]
    tables = [{"title": "On <ice>", "head": ["method", "value"], "rows": [["greedy & quick", 0.25]]}]
    summary = {"slopes": slopes, "tables": tables, "seeds": 5, "caption": "What <happens>"}
    results.studies["tiny.range.curve"] = StudyData({"T": np.arange(3.0)}, summary)
    results.plots["tiny.range.curve"] = "no such plot"
    return results, theorems


def test_page(verified, tmp_path):
    results, theorems = verified
    save_results(results, theorems, tmp_path / "report", ["--on=a b"])
    assert write_report(tmp_path / "report") == [
        "no figure of tiny.range.curve: no plot is called 'no such plot'"
    ]
    first = Page((tmp_path / "report" / "index.html").read_text())
    page = Page((tmp_path / "report" / "theorems" / "tiny.range.html").read_text())
    for words in (
        "All 2 claims of 1 theorem hold on every instance they apply to. 1 control fails, as it must.",
        "the rounding of the trajectory itself",
        "proved here, with explicit constants",
    ):
        assert words in first.text
    for words in (
        "with <angle> brackets & an ampersand",
        "every reward is at most the largest <one>",
        r"V_r^\star \le \max r/(1-\gamma)",
        "fails, as it must",
        "What <happens>",
        "-0.500",
        "[-0.600, -0.400]",
        "n/a: zero or negative",
        "On <ice>",
        "greedy & quick\n0.25",
        "tabular-fedrl verify mine.py '--on=a b'",
        "bound: the bound exceeds the trivial range on 2 of 2 instances; no non-vacuous instance was found.",
    ):
        assert words in page.text
    assert "theorems/tiny.range.html" in first.sources
    # The statement is typeset, and nothing is fetched and nothing runs.
    assert {"math", "mfrac"} <= {tag for tag, _ in page.tags}
    for each in (first, page):
        assert all(x.startswith(("#", "theorems/", "../index", "data:,")) for x in each.sources)
        assert not {"script", "iframe"} & {tag for tag, _ in each.tags}


SEARCHED = """
from tabular_fedrl.claims import Theorem, upper


class Bounded(Theorem):
    '''A reward is at most FACTOR <of one>.'''

    id, mark, family, effort, suite = "tiny.reward", "ours", "bandit:A=2,m=0", 60, ()

    @upper("r <= FACTOR", constant=FACTOR)
    def bound(self, problem):
        return problem.cmdp.r.max(), FACTOR
"""


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_worst_instances_in_the_report(tmp_path, factor):
    """The table, the instance beside it, and, where the bound is exceeded, the headline and the exit code."""
    path, report = tmp_path / f"searched{int(10 * factor)}.py", tmp_path / "report"
    path.write_text(SEARCHED.replace("FACTOR", str(factor)))
    theorems = select(str(path))
    results = verify_all(theorems)
    data = save_results(results, theorems, report)
    write_report(report)
    row = data["searches"][0]
    assert (row["theorem"], row["claim"], row["searched"]) == ("tiny.reward", "bound", 60)
    assert row["ratio"] == pytest.approx(1 / factor)
    assert row["data"] == "data/worst.tiny.reward.bound.npz"
    assert load(str(report / row["data"])).cmdp.r.max() == 1
    page = Page((report / "index.html").read_text())
    assert "How loose the theorems are" in page.text
    assert row["data"] in page.sources
    if factor > 1:
        assert results.exit_code == 0
        assert "holds with 1 in place of 2 on everything found" in page.text
        assert not list(failures(data))
    else:
        assert results.exit_code == 1
        assert "COUNTEREXAMPLE" in page.text
        assert "The worst-case search goes beyond tiny.reward::bound." in headline(data)
        assert "tiny.reward::bound on data/worst.tiny.reward.bound.npz" in next(failures(data))
    # A report without it takes the instance away.
    (tmp_path / "stage").mkdir()
    save_results(Results(), [], tmp_path / "stage")
    write_report(tmp_path / "stage")
    publish(tmp_path / "stage", report)
    assert not list((report / "data").iterdir())


def test_page_is_drawn_from_files_alone(verified, tmp_path):
    results, theorems = verified
    save_results(results, theorems, tmp_path / "report")
    write_report(tmp_path / "report")
    first = (tmp_path / "report" / "index.html").read_bytes()
    write_report(tmp_path / "report")
    assert (tmp_path / "report" / "index.html").read_bytes() == first
    with np.load(tmp_path / "report" / "data" / "tiny.range.curve.npz") as file:
        assert (file["T"] == [0, 1, 2]).all()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"package": "other"}', '{"package": "tabular_fedrl"}'])
def test_foreign_results_are_refused(tmp_path, content):
    with pytest.raises(InvalidProblem):
        write_report(tmp_path)
    (tmp_path / "results.json").write_text(content)
    with pytest.raises(InvalidProblem, match=r"results\.json"):
        write_report(tmp_path)


def test_damaged_data_are_refused(verified, tmp_path):
    save_results(*verified, tmp_path)
    (tmp_path / "data" / "tiny.range.curve.npz").write_bytes(b"PK")
    with pytest.raises(InvalidProblem, match=r"curve\.npz"):
        write_report(tmp_path)


def test_publish_replaces_our_files_only(verified, tmp_path):
    results, theorems = verified
    for name in ("old", "new"):
        save_results(results, theorems, tmp_path / name)
        write_report(tmp_path / name)
        results.studies.clear()
    target = tmp_path / "report"
    publish(tmp_path / "old", target)
    (target / "data" / "notes.txt").write_text("mine")
    assert (target / "data" / "tiny.range.curve.npz").exists()
    publish(tmp_path / "new", target)
    assert [p.name for p in (target / "data").iterdir()] == ["notes.txt"]
    assert json.loads((target / "results.json").read_text())["studies"] == {}


def test_an_earlier_report_names_no_file_outside(verified, tmp_path):
    results, theorems = verified
    save_results(results, theorems, tmp_path / "report")
    write_report(tmp_path / "report")
    path = tmp_path / "report" / "results.json"
    path.write_text(path.read_text().replace("data/tiny.range.curve.npz", "../../precious.npz"))
    (tmp_path / "precious.npz").write_text("mine")
    results.studies.clear()
    save_results(results, theorems, tmp_path / "new")
    write_report(tmp_path / "new")
    publish(tmp_path / "new", tmp_path / "report")
    assert (tmp_path / "precious.npz").read_text() == "mine"


def verdict(claim, status, role=Role.CLAIM):
    return Verdict(
        theorem="t.x", claim=claim, kind=Kind.UPPER, mark=Mark.OURS, instance="i", case="i", parameters={},
        status=status, role=role,
    )  # fmt: skip


@pytest.mark.parametrize(
    "verdicts, words",
    [
        ([], "Nothing was verified."),
        ([("a", Status.HOLDS)], "The claim of t.x holds on every instance it applies to."),
        ([("a", Status.HOLDS), ("b", Status.FAILS)], "1 claim of 2 fails: t.x::b."),
        ([("a", Status.HOLDS), ("b", Status.UNDECIDED)], "1 claim of 2 is undecided: t.x::b."),
        ([("a", Status.NOT_APPLICABLE)], "None of the 1 claim of 1 theorem applies"),
        ([("a", Status.HOLDS), ("b", Status.NOT_APPLICABLE)], "1 of the 2 claims of 1 theorem hold"),
        ([("a", Status.HOLDS), ("a/1", Status.FAILS, Role.LINK)], "1 claim of 1 fails: t.x::a."),
        (
            [("a", Status.HOLDS), ("c", Status.HOLDS, Role.CONTROL)],
            "1 control of 1 should fail and does not.",
        ),
    ],
)
def test_headline(verdicts, words):
    data = results_data(Results([verdict(*v) for v in verdicts]), [])
    assert words in headline(data)


scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
nested = st.recursive(
    scalars, lambda x: st.lists(x) | st.dictionaries(st.text(), x) | st.tuples(x, x), max_leaves=20
)


@given(nested)
def test_json_is_valid(x):
    def refuse(word):
        raise AssertionError(word)

    assert json.loads(to_json(x), parse_constant=refuse) == json.loads(json.dumps(plain(x)))


def test_json_of_arrays():
    assert plain(np.array([[1.0, np.nan], [np.inf, 2.0]])) == [[1.0, None], [None, 2.0]]
    assert plain(Measured([1.0, 2.0], [0.0, np.inf])) == [1.0, None]
    assert plain({Status.HOLDS: np.float64(0.5), "n": np.int64(3)}) == {"holds": 0.5, "n": 3}


@given(st.text())
def test_docstrings_of_any_kind(text):
    """Whatever a docstring holds, its HTML is closed and its text is there."""
    page = Page(docstring_html(text))
    letters = re.sub(r"[^a-z]", "", text)
    if not re.search(r"[:`*.\-\d]", text):
        assert re.sub(r"[^a-z]", "", page.text) == letters


def test_docstring():
    text = "**Bold** and :math:`a < b`, ``x``:\n\n.. math:: \\frac{1}{2}\n\n    + y\n\nEnd.\n\n* one\n* two"
    html = docstring_html("First.\n\n" + text)
    assert "<p>First.</p>" in html
    assert "<strong>Bold</strong>" in html
    assert "<mi>a</mi><mo>&lt;</mo><mi>b</mi>" in html
    assert "<mfrac><mn>1</mn><mn>2</mn></mfrac><mo>+</mo><mi>y</mi>" in html
    assert "<li>one</li><li>two</li>" in html


def test_what_cannot_be_typeset_stays_latex():
    assert mathml(r"\nosuch{<x>}") == (
        r'<span class="inline"><code class="math">\nosuch{&lt;x&gt;}</code></span>'
    )
    assert "\\href" in mathml(r"\href{javascript:alert(1)}{x}")
    assert "<mtable" in mathml(r"a &= b \\ c &= d", display=True)


def test_every_page_is_typeset():
    """Docstrings and statements keep to the LaTeX that the converter knows."""
    for name, theorem in theorems().items():
        page = docstring_html(inspect.getdoc(theorem))
        page += "".join(mathml(claim.statement, display=True) for claim in theorem.claims())
        assert "<math" in page, name
        assert 'class="math"' not in page, name


def test_a_folder_is_introduced_by_its_docstring(tmp_path):
    from proofs_check import drpo

    data = results_data(Results(), select("drpo"))
    html = overview(data)
    assert html.count('class="group"') == 1
    assert "every federated round" in html
    assert drpo.__doc__.strip().startswith(data["groups"]["proofs_check.drpo"].splitlines()[0])
