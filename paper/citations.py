"""Which entries of the bibliography the sources of the pages name."""

from __future__ import annotations

from pathlib import Path

import proofs_check
from tabular_fedrl.report.references import FILE, named, read_references

BIBLIOGRAPHY = Path(str(proofs_check.__file__)).parent / FILE


def cited(page: str) -> str:
    r"""``\cite`` of the publications that a page names; nothing if it names none."""
    found = [reference.key for reference in named(page, read_references(BIBLIOGRAPHY))]
    return rf"\cite{{{','.join(found)}}}" if found else ""
