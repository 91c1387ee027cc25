"""Theorems, claims, verdicts: what is stated, and what is decided about it."""

from tabular_fedrl.claims.check import check_all, verify
from tabular_fedrl.claims.discovery import find, theorems
from tabular_fedrl.claims.suite import Results, summarise, verify_all
from tabular_fedrl.claims.theorem import (
    Case,
    Range,
    Rows,
    StudyData,
    Table,
    Theorem,
    chain,
    conjecture,
    control,
    hypothesis,
    identity,
    study,
    tight,
    upper,
)
from tabular_fedrl.claims.verdict import Kind, Mark, Role, Status, Verdict

__all__ = [
    "Case",
    "Kind",
    "Mark",
    "Range",
    "Results",
    "Role",
    "Rows",
    "Status",
    "StudyData",
    "Table",
    "Theorem",
    "Verdict",
    "chain",
    "check_all",
    "conjecture",
    "control",
    "find",
    "hypothesis",
    "identity",
    "study",
    "summarise",
    "theorems",
    "tight",
    "upper",
    "verify",
    "verify_all",
]
