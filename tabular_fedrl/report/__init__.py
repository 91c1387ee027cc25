"""What a verification shows: a table on the terminal, ``results.json`` with data, figures, an HTML page."""

from tabular_fedrl.report.data import read_results, results_data, save_results
from tabular_fedrl.report.plain import plain, to_json
from tabular_fedrl.report.table import verdict_table
from tabular_fedrl.report.words import failures, headline
from tabular_fedrl.report.write import publish, write_report

__all__ = [
    "failures",
    "headline",
    "plain",
    "publish",
    "read_results",
    "results_data",
    "save_results",
    "to_json",
    "verdict_table",
    "write_report",
]
