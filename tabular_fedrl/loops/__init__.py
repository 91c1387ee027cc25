"""The iterations of ``algorithms/`` as compiled loops over many small problems of one shape."""

from tabular_fedrl.loops.batch import Batch
from tabular_fedrl.loops.fednpg import Iterated, fednpg

__all__ = ["Batch", "Iterated", "fednpg"]
