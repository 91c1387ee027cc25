"""Run an algorithm by name and measure it: :func:`run` gives a :class:`Run`."""

from tabular_fedrl.runner.drive import run
from tabular_fedrl.runner.result import Iterates, Run

__all__ = ["Iterates", "Run", "run"]
