"""Run an algorithm by name and measure it: :func:`run` gives a :class:`Run`; :func:`run_batch` takes many
small problems at once, :func:`improve_batch` many with offline clients."""

from tabular_fedrl.runner.batch import run_batch
from tabular_fedrl.runner.drive import run
from tabular_fedrl.runner.offline_batch import improve_batch
from tabular_fedrl.runner.preferences import PreferenceRun
from tabular_fedrl.runner.result import Iterates, Run

__all__ = ["Iterates", "PreferenceRun", "Run", "improve_batch", "run", "run_batch"]
