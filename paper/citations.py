"""Which entries of ``references.bib`` the sources of the pages name."""

from __future__ import annotations

import re

WORDS = {
    "2405.03236": "jin2024",
    "2405.17474": "yue2024",
    "Yue et al": "yue2024",
    "Agarwal": "agarwal2021",
    "Cen, Cheng, Chen": "cen2022",
    "Xiao": "xiao2022",
    "Ding, Zhang, Basar": "ding2020",
    "Ding, Wei, Zhang, Ribeiro": "ding2023",
    "Liu, Zhou, Kalathil": "liu2021",
    "Xu, Liang, Lan": "xu2021",
    "Yang, Cen, Wei": "yang2024",
    "Jin, Peng, Yang": "jin2022",
    "Labbi": "labbi2025",
    "Kakade and Langford": "kakade2002",
    "Hoeffding (1963)": "hoeffding1963",
    "Weissman": "weissman2003",
    "Kumar, Zhou, Tucker": "kumar2020",
    "Achiam": "achiam2017",
    "Schulman": "schulman2015",
    "TRPO": "schulman2015",
    "Laroche": "laroche2019",
    "Peng, Kumar, Zhang": "peng2019",
}
"""What a source says, and the entry it means."""

_YEAR = re.compile(r"\b(?:arXiv \d{4}\.\d{5}|\((?:19|20)\d\d(?:, (?:19|20)\d\d)?\))")


def keys(source: str) -> list[str]:
    """The entries that a page's source names, each once."""
    text = re.sub(r"\\allowbreak\{\}", "", source)
    return list(dict.fromkeys(key for words, key in WORDS.items() if words in text))


def cited(source: str) -> str:
    r"""``\cite`` of them; nothing for a source that names none."""
    found = keys(source)
    return rf"\cite{{{','.join(found)}}}" if found else ""


def names_a_publication(source: str) -> bool:
    """Whether a source gives a year or an arXiv number, so that it must be in the bibliography."""
    return bool(_YEAR.search(source))
