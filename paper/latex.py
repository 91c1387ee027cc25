"""Text as LaTeX: everything is escaped here, once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tabular_fedrl.errors import InvalidProblem

_ESCAPES = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "–": "--",
    "—": "---",
    "…": r"\dots{}",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "×": r"$\times$",
    "−": "$-$",
}
_BREAKS = re.compile(r"([,;:=+/._-])(?=.)")


def escape(text: str) -> str:
    """Plain text.

    Raises
    ------
    InvalidProblem: a character that the paper's fonts do not have.
    """
    # "--" would become a dash and two commas a quotation mark: an empty group keeps the characters apart.
    following = [*text[1:], ""]
    return "".join(
        _escaped(c) + ("{}" if c == after and c in "-,'" else "") for c, after in zip(text, following)
    )


def code(text: str) -> str:
    """A name or an instance, which may be broken after its punctuation."""
    parts = _BREAKS.split(text)
    return (
        r"\code{"
        + "".join(escape(p) + (r"\allowbreak{}" if i % 2 else "") for i, p in enumerate(parts))
        + "}"
    )


def quoted(text: str) -> str:
    """Plain text whose straight quotation marks come in pairs."""
    parts = re.split(r'"([^"]*)"', text)
    return "".join(f"``{escape(part)}''" if i % 2 else escape(part) for i, part in enumerate(parts))


def table(columns: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table that may run over several pages; the cells are LaTeX already."""
    titles = " & ".join(head)
    body = "\n".join(" & ".join(row) + r" \\" for row in rows)
    return (
        rf"\begin{{longtable}}{{{columns}}}\toprule" + "\n"
        rf"{titles} \\\midrule\endhead" + "\n"
        rf"{body}" + "\n"
        r"\bottomrule\end{longtable}" + "\n"
    )


def _escaped(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    # What T1 fonts have: ASCII and the letters of Western Europe.
    if character in "\n\t" or " " <= character <= "~" or ("À" <= character <= "ÿ" and character not in "×÷"):
        return character
    raise InvalidProblem(f"the paper cannot set the character {character!r} (U+{ord(character):04X})")
