"""The verdict table on the terminal."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from tabular_fedrl.report.data import Data
from tabular_fedrl.report.words import (
    Row,
    counts_in_words,
    largest_ratio,
    links_in_words,
    links_of,
    number,
    vacuous,
)

STYLES = {"fails": "bold red", "undecided": "yellow", "not applicable": "dim", "holds": "green"}
NAMES, VERDICTS = 30, 26
"""Most columns for names and for verdicts; longer ones are folded."""

Cells = tuple[Text, Text, Text, Text, Text]


def verdict_table(data: Data) -> Group:
    """A heading per theorem with its mark; a row per claim, its proof folded into one row; the controls."""
    parts: dict[str, list[Cells]] = {name: _rows(data, name) for name in data["theorems"]}
    cells = [row for rows in parts.values() for row in rows]
    names = min(NAMES, max((len(line) for row in cells for line in row[0].plain.split("\n")), default=17))
    verdicts = min(VERDICTS, max((row[2].cell_len for row in cells), default=8))
    head = _table(max(names, 17), verdicts)
    head.add_row("theorem and claim", "kind", "verdicts", "lhs/rhs", "worst on", style="bold")
    out: list[RenderableType] = [head, Rule(style="dim")]
    for name, theorem in data["theorems"].items():
        heading = Text.assemble((name, "bold"), (f" ({theorem['mark']}) ", "cyan"), (theorem["title"], "dim"))
        heading.no_wrap, heading.overflow = True, "ellipsis"
        body = _table(max(names, 17), verdicts)
        for row in parts[name]:
            body.add_row(*row)
        out += [heading, body]
    return Group(*out, Rule(style="dim"))


def _table(names: int, verdicts: int) -> Table:
    """An empty table; all have columns of the same widths, so that they stand below each other as one."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False, expand=True)
    table.add_column(width=names, overflow="fold")
    table.add_column(width=10)
    table.add_column(width=max(verdicts, 8))
    table.add_column(width=8, justify="right", no_wrap=True)
    table.add_column(ratio=1, overflow="ellipsis", no_wrap=True)
    return table


def _rows(data: Data, name: str) -> list[Cells]:
    out: list[Cells] = []
    for row in data["summary"]:
        if row["theorem"] != name or row["role"] == "link":
            continue
        out.append((Text(_label(row)), Text(row["kind"]), _verdicts(row), *_worst(row)))
        if row["role"] == "claim" and (links := links_of(data, row)):
            out += _links(links)
    return out


def _links(links: list[Row]) -> list[Cells]:
    bad = [link for link in links if {"fails", "undecided"} & set(link["counts"])]
    words = Text(links_in_words(links), style="bold red" if bad else "green")
    rows = [(Text("    proof"), Text(""), words, *_worst(largest_ratio(links) or links[0]))]
    for link in bad:
        label = f"    link {link['claim'].rpartition('/')[2]}"
        rows.append((Text(label), Text(""), _verdicts(link), *_worst(link)))
    return rows


def _label(row: Row) -> str:
    match row["role"]:
        case "control":
            label = f"  control: {row['claim']}"
            return label if len(label) <= NAMES else f"  control:\n    {row['claim']}"
        case "attained":
            return f"    {row['claim']} is tight"
        case _:
            return f"  {row['claim']}"


def _verdicts(row: Row) -> Text:
    worst = next((s for s in STYLES if s in row["counts"]), "")
    style = STYLES.get(worst, "")
    if row["role"] == "control":
        style = "green" if row["expected"] else "bold red"
    words = Text(counts_in_words(row), style=style)
    if n := vacuous(row):
        words.append(f"; {n} vacuous", style="yellow")
    return words


def _worst(row: Row) -> tuple[Text, Text]:
    if set(row["counts"]) == {"not applicable"}:
        return Text("–"), Text("")
    tells = row["ratio"] is not None or not row["expected"]
    return Text(number(row["ratio"])), Text(row["worst"] if tells else "", style="dim")
