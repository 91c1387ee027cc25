"""The iterations of ``algorithms/`` as compiled loops over many small problems of one shape."""

from tabular_fedrl.loops.batch import Batch

__all__ = ["Batch"]
