"""What the README says works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tabular_fedrl.claims import verify
from tabular_fedrl.claims.discovery import load_file
from tabular_fedrl.instances import load

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
FAMILIES = "gym|textbook|windy-cliff|random-mdp|garnet|ring|grid"
SOURCES = sorted(set(re.findall(rf"`((?:{FAMILIES}):[^`]*)`", README)))


def test_the_theorem_in_the_readme(tmp_path):
    page = tmp_path / "my_theorem.py"
    page.write_text(re.search(r"```python\n(.*?)```", README, re.DOTALL).group(1))
    (theorem,) = load_file(page)
    verdicts = verify(theorem, "windy-cliff:ncost=2")
    assert [v.status for v in verdicts] == ["holds"]
    assert len(page.read_text().split("class ")[1].split("if __name__")[0].strip().splitlines()) <= 16


@pytest.mark.parametrize("source", [s for s in SOURCES if "NAME" not in s])
def test_sources_in_the_readme(source):
    assert load(source).cmdp.S >= 1


def test_nothing_is_left_to_fill_in():
    assert "@" not in README.split("```text")[1].split("```")[0]
