"""The students' notebooks: whole, run by Jupyter and by the package, their exercises decided rightly."""

import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import matplotlib as mpl
import nbformat
import pytest
from nbclient import NotebookClient

import tabular_fedrl.examples
from tabular_fedrl import examples
from tabular_fedrl.cli import main
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.examples import check, load, names
from tabular_fedrl.examples.execute import MODULE, execute
from tabular_fedrl.examples.exercises import exercises, is_right
from tabular_fedrl.examples.notebook import Cell, Notebook
from tabular_fedrl.examples.page import markdown_html, page, render
from tests.answers import ANSWERS

FOLDER = Path(tabular_fedrl.examples.__file__).parent / "notebooks"


def test_every_file_is_listed():
    assert {path.stem for path in FOLDER.iterdir()} == set(names())
    assert {load(name).title for name in names()} >= {"What natural gradient does on the simplex"}
    with pytest.raises(InvalidProblem, match="no example 'simplicity': three-state"):
        load("simplicity")


@pytest.mark.parametrize("name", names())
def test_a_notebook_is_valid_and_holds_no_output(name):
    notebook = nbformat.reads(load(name).raw, as_version=nbformat.NO_CONVERT)
    assert (notebook.nbformat, notebook.nbformat_minor) == (4, 5)
    nbformat.validate(notebook)
    assert [cell.id for cell in notebook.cells] == [
        f"{name}-{n:02d}" for n in range(1, len(notebook.cells) + 1)
    ]
    for cell in notebook.cells:
        assert cell.cell_type != "code" or (cell.outputs == [] and cell.execution_count is None)
    # Written as Jupyter writes it, so that who saves it changes only what they changed.
    again = json.dumps(json.loads(load(name).raw), indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    assert again == load(name).raw


@pytest.mark.parametrize("name", names())
def test_jupyter_runs_it(name, tmp_path, monkeypatch):
    for variable in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    notebook = nbformat.reads(load(name).raw, as_version=4)
    NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    drawn = {
        cell.id
        for cell in notebook.cells
        if cell.cell_type == "code" and any("image/png" in out.get("data", {}) for out in cell.outputs)
    }
    # Every figure says in words what it shows, and nothing else does.
    assert drawn == {cell.id for cell in notebook.cells if "alt" in cell.metadata}
    assert len(drawn) >= (1 if name == "wrong-theorem" else 2)


@pytest.mark.parametrize("name", names())
def test_its_page(name):
    html = page(load(name))
    assert re.findall(r"(?:src|href)=\"(?!data:)", html) == []
    assert "<script" not in html
    assert "<math" in html
    prose = re.sub(
        r"<pre.*?</pre>|<code.*?</code>|<annotation.*?</annotation>|<style.*?</style>", "", html, flags=re.S
    )
    assert "$" not in prose
    assert "formula0x" not in html
    assert 'class="math"' not in html  # every formula was converted
    assert html.count("<img") == sum(cell.alt is not None for cell in load(name).cells)
    assert 'alt="a figure"' not in html
    for exercise in (e for e in exercises() if e.startswith(f"{name}.")):
        assert f"{exercise}: no answer yet" in html


def test_the_verdicts_that_the_texts_speak_of():
    notebook = load("wrong-theorem")
    printed = "\n".join(result.text for result in execute(notebook))
    assert printed.count(" holds: ") == 4
    assert "counterexample" in printed
    assert "level: certified" in printed


@pytest.mark.parametrize("name", ANSWERS)
def test_right_answers_pass_and_wrong_ones_fail(name, capsys):
    answer, decimals = ANSWERS[name]
    right = answer()
    check(name, right)
    assert capsys.readouterr().out == f"{name}: right!\n"
    if decimals is None:
        wrong = ["", "fails", 1.0]
        assert is_right(name, f" {right.upper()} ")
    else:
        unit = 10.0**-decimals
        assert is_right(name, round(float(right), decimals))
        wrong = [
            right + 4 * unit,
            right - 4 * unit,
            -right,
            float("nan"),
            float("inf"),
            "",
            "many",
            [right, right],
        ]
        wrong += [right + 1, right - 1] if decimals == 0 else []
    for x in wrong:
        assert not is_right(name, x), x
        check(name, x)
        said = capsys.readouterr().out
        assert said.startswith(f"{name}: not yet. Hint: ")
        assert said.count("\n") == 1


def test_every_exercise_is_asked_and_answered():
    assert set(exercises()) == set(ANSWERS)
    asked = [re.findall(r'check\("([^"]+)", None\)', load(name).raw.replace('\\"', '"')) for name in names()]
    assert sorted(e for each in asked for e in each) == sorted(ANSWERS)
    with pytest.raises(InvalidProblem, match=r"no exercise 'simplex\.nothing'"):
        check("simplex.nothing", 1)


def test_no_answer_yet(capsys):
    check("simplex.factor", None)
    assert "no answer yet" in capsys.readouterr().out


REPAIRED = """
class Repaired(Theorem):
    "The bound with its second term."

    id, mark = "mine.repaired", "ours"

    def setup(self, problem, rounds=10, eta=1.0):
        return run("npg", problem, rounds=rounds + 1, eta=eta)

    @upper("V^* - V(pi_K) <= (log(A)/eta + 1/(1-gamma)^2)/K")
    def gap(self, x):
        K, eta, horizon = x.rounds - 1, x.parameters["eta"], x.problem.cmdp.horizon
        return x.solution.value - x.value[K], (np.log(x.problem.cmdp.A) / eta + horizon**2) / K


verdict = verify(Repaired, found.problem, **found.parameters)[0]
check("wrong-theorem.repaired", str(verdict.status))
"""


def test_the_repaired_theorem_is_the_answer():
    """The exercise is solved in the notebook itself, not only in the sheet of answers."""
    notebook = load("wrong-theorem")
    solved = Notebook("solved", "", (*notebook.cells, Cell("code", REPAIRED)), "")
    assert execute(solved)[-1].text == "wrong-theorem.repaired: right!\n"


def small(*sources):
    return Notebook("small", "Small", tuple(Cell("code", source) for source in sources), "")


def test_cells_share_names_and_show_their_last_value():
    results = execute(small("x = 2\nprint('first')", "x + 1", "x;", "None", "__name__"))
    assert [r.text for r in results] == ["first\n", "3\n", "", "", f"'{MODULE}'\n"]
    assert MODULE not in sys.modules


def test_figures_are_closed_and_settings_restored():
    before = mpl.rcParams["lines.linewidth"], mpl.get_backend()
    source = (
        "import matplotlib.pyplot as plt\nplt.rcParams['lines.linewidth'] = 9\nplt.plot([1, 2]);\nplt.show()"
    )
    first, second = execute(small(source, "1"))
    assert len(first.figures) == 1
    assert first.figures[0].lstrip().startswith("<?xml")
    assert second.figures == ()
    assert (mpl.rcParams["lines.linewidth"], mpl.get_backend()) == before


def test_an_error_names_its_cell():
    with pytest.raises(ZeroDivisionError) as caught:
        execute(small("1", "1 / 0"))
    assert caught.value.__notes__ == ["in cell 2 of the example small"]


def test_text_is_escaped():
    html = markdown_html("a < b, <script>x</script>, `$x$` and $x < y$")
    assert "<script" not in html
    assert "<code>$x$</code>" in html
    assert html.count("<math") == 1
    shown = render(small("'<b>'"), execute(small("'<b>'")))
    assert "&lt;b&gt;" in shown
    assert "<b>" not in shown


def test_the_same_page_again():
    assert page(load("simplex")) == page(load("simplex"))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "webbrowser.open", lambda url: pytest.fail(f"nobody sits at a terminal, yet {url} opens")
    )
    return tmp_path


def test_example_alone_lists(capsys, folder):
    assert main(["example", "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in data["examples"]] == list(names())
    assert main(["example"]) == 0
    assert load("offline").title in capsys.readouterr().out


@pytest.mark.parametrize("words, opens", [("", True), ("--json", False), ("--out a.ipynb", False)])
def test_a_page_opens_for_whoever_sits_at_a_terminal(words, opens, folder, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("tabular_fedrl.examples.page.page", lambda notebook, progress: "a page")
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setenv("FORCE_COLOR", "1")  # a terminal, to rich
    assert main(["example", "simplex", *words.split()]) == 0
    assert opened == ([(folder / "simplex.html").as_uri()] if opens else [])


def test_example_writes_a_page_or_the_notebook(capsys, folder):
    assert main(["example", "simplex"]) == 0
    assert (folder / "simplex.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main(["example", "simplex", "--out", "mine.ipynb", "--json"]) == 0
    assert (folder / "mine.ipynb").read_text(encoding="utf-8") == examples.load("simplex").raw
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["file"] == "mine.ipynb"


@pytest.mark.parametrize(
    "words", [["nothing"], ["simplex", "--out", "a.pdf"], ["simplex", "--out", "no/a.html"]]
)
def test_bad_input(words, capsys, folder):
    assert main(["example", *words]) == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert list(folder.iterdir()) == []
