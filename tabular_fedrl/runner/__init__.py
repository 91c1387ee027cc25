"""Run an algorithm by name and measure it: :func:`run` gives a :class:`Run`; :func:`run_batch` takes many
small problems at once."""

from tabular_fedrl.runner.batch import run_batch
from tabular_fedrl.runner.drive import run
from tabular_fedrl.runner.result import Iterates, Run

__all__ = ["Iterates", "Run", "run", "run_batch"]
