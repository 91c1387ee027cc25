"""LaTeX as MathML Core, which browsers typeset by themselves: the report fetches no script and no font."""

from __future__ import annotations

from functools import cache

from math_core import LatexError, LatexToMathML

from tabular_fedrl.report.markup import Html, tag, text


def mathml(latex: str, display: bool = False) -> Html:
    r"""A formula, its source kept beside it for readers and machines that want LaTeX.

    Several lines (``\\``) or columns (``&``) of a displayed formula are aligned, as in reStructuredText. What
    the converter does not know stays LaTeX, in the style of code.
    """
    source = " ".join(latex.split())
    try:
        formula = Html(converted(source, display))
    except LatexError:
        formula = tag("code", text(source), class_="math")
    # A formula within a line cannot be broken: on a narrow screen it scrolls by itself.
    return formula if display else tag("span", formula, class_="inline")


def converted(latex: str, display: bool) -> str:
    """The MathML element.

    Raises
    ------
    math_core.LatexError: a command that the converter does not know, or unbalanced braces.
    """
    aligned = display and ("\\\\" in latex or "&" in latex)
    body = rf"\begin{{aligned}}{latex}\end{{aligned}}" if aligned else latex
    return _converter().convert_with_local_state(body, displaystyle=display)


@cache
def _converter() -> LatexToMathML:
    # Local state: a definition in one formula is unknown to the next, whoever wrote it.
    return LatexToMathML(annotation=True, fancy_error=False)
