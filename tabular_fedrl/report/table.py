"""The verdict table on the terminal."""

from __future__ import annotations

from rich.box import SIMPLE_HEAD
from rich.table import Table
from rich.text import Text

from tabular_fedrl.report.data import Data
from tabular_fedrl.report.words import Row, counts_in_words, largest_ratio, links_in_words, links_of, number

STYLES = {"fails": "bold red", "undecided": "yellow", "not applicable": "dim", "holds": "green"}


def verdict_table(data: Data) -> Table:
    """A heading per theorem with its mark; a row per claim, its proof folded into one row; the controls."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, 1))
    table.add_column("theorem and claim", overflow="fold", min_width=16, max_width=44)
    table.add_column("mark, kind", no_wrap=True)
    table.add_column("verdicts", min_width=17, max_width=34)
    table.add_column("lhs/rhs", justify="right", no_wrap=True)
    table.add_column("worst on", overflow="ellipsis", no_wrap=True, min_width=12, style="dim")
    first = True
    for name, theorem in data["theorems"].items():
        rows = [row for row in data["summary"] if row["theorem"] == name]
        if not first:
            table.add_row()
        first = False
        table.add_row(Text(name, style="bold"), Text(theorem["mark"], style="cyan"))
        for row in rows:
            if row["role"] == "link":
                continue
            table.add_row(Text(_label(row)), Text(row["kind"]), _verdicts(row), *_worst(row))
            if links := links_of(data, row) if row["role"] == "claim" else []:
                _add_links(table, links)
    return table


def _add_links(table: Table, links: list[Row]) -> None:
    bad = [link for link in links if {"fails", "undecided"} & set(link["counts"])]
    worst = largest_ratio(links)
    table.add_row(
        Text("    proof"),
        Text(""),
        Text(links_in_words(links), style="bold red" if bad else "green"),
        *(_worst(worst) if worst else ()),
    )
    for link in bad:
        table.add_row(
            Text(f"    link {link['claim'].rpartition('/')[2]}"), Text(""), _verdicts(link), *_worst(link)
        )


def _label(row: Row) -> str:
    match row["role"]:
        case "control":
            return f"  control: {row['claim']}"
        case "attained":
            return f"    {row['claim']} is tight"
        case _:
            return f"  {row['claim']}"


def _verdicts(row: Row) -> Text:
    worst = next((s for s in STYLES if s in row["counts"]), "")
    style = STYLES.get(worst, "")
    if row["role"] == "control":
        style = "green" if row["expected"] else "bold red"
    return Text(counts_in_words(row), style=style)


def _worst(row: Row) -> tuple[Text, Text]:
    if set(row["counts"]) == {"not applicable"}:
        return Text("–"), Text("")
    return Text(number(row["ratio"])), Text(row["worst"])
