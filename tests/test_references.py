"""Publications: read from one file, found in the text of the pages, and none that the file does not have."""

import inspect
from pathlib import Path

import pytest

from tabular_fedrl.claims import Theorem
from tabular_fedrl.claims.discovery import theorems
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.report.references import named, read_references, references_for, unknown

THEOREMS = theorems()
ALL = read_references(Path("proofs_check/references.bib"))


@pytest.mark.parametrize("name", THEOREMS)
def test_every_publication_that_a_page_names_is_in_the_file(name):
    assert unknown(inspect.getdoc(THEOREMS[name]), references_for(THEOREMS[name])) == []


def test_the_packages_share_one_file():
    assert references_for(THEOREMS["fednpg.f1"]) == references_for(THEOREMS["drpo.gain"]) == ALL
    assert [r.key for r in named(inspect.getdoc(THEOREMS["fednpg.f1"]), ALL)] == ["jin2024"]
    # No publication is known twice, and none is recent by a slip of the pen.
    assert len({reference.fields["title"].casefold() for reference in ALL.values()}) == len(ALL)
    assert all(reference.fields["year"].isdigit() for reference in ALL.values())


def test_how_a_page_may_name_one():
    text = """See Xiao (2022), Kakade and Langford
    (2002), Ding et al. (2023); Kumar, Zhou, Tucker, and Levine (2020); arXiv 2405.03236."""
    found = named(text, ALL)
    assert [r.key for r in found] == ["xiao2022", "kakade2002", "ding2023", "kumar2020", "jin2024"]
    # The end of a list of authors is not another list.
    assert [r.key for r in named("Wang, Zhang, Ying (2026)", ALL)] == ["wang2026"]
    assert named("Ding, Zhang, Basar, Jovanovic", ALL) == []


def test_what_is_not_known():
    assert unknown("Nobody (1999), arXiv 1234.56789, Xiao (2022), 2022 states", ALL) == [
        "1999",
        "arXiv 1234.56789,",
        "2022",
    ]


def test_a_reference_in_words():
    assert str(ALL["ding2025"]) == (
        "Dongsheng Ding, Kaiqing Zhang, Jiali Duan, Tamer Başar, Mihailo R. Jovanović. Convergence and "
        "Sample Complexity of Natural Policy Gradient Primal-Dual Methods for Constrained MDPs. Journal of "
        "Machine Learning Research 26(256), 1–76, 2025. arXiv 2206.02346."
    )
    assert str(ALL["xu2021"]).endswith("on Machine Learning, PMLR 139, 11480–11491, 2021.")
    assert ALL["ding2025"].labels[0] == "Ding, Zhang, Duan, Basar, Jovanovic (2025)"


def test_a_theorem_of_ones_own_has_none():
    class Mine(Theorem):
        id, mark = "mine.one", "ours"

    Mine.__module__ = "_theorems_mine"
    assert references_for(Mine) == {}


@pytest.mark.parametrize(
    "text, words",
    [
        ("@misc{a,\n  author = {B, C},\n  title = {T}\n}\n", "a has no year"),
        ("@misc{a, author = {B, C}}\n", "no entry"),
        ("words\n", "'words'"),
    ],
)
def test_a_broken_file_is_refused(tmp_path, text, words):
    path = tmp_path / "references.bib"
    path.write_text(text)
    with pytest.raises(InvalidProblem, match=words):
        read_references(path)
    with pytest.raises(InvalidProblem, match="cannot be read"):
        read_references(tmp_path / "absent.bib")
