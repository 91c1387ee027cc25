"""Six notebooks for students: what is in them, their exercises, and the same material as pages to read.

``check("three-state.slope", 1.0)`` in a notebook says whether an answer is right; on a command line
``tabular-fedrl example three-state`` runs a notebook and writes it as one HTML file.
"""

from tabular_fedrl.examples.exercises import check
from tabular_fedrl.examples.notebook import Cell, Notebook, load, names

__all__ = ["Cell", "Notebook", "check", "load", "names"]
