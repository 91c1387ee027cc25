"""The iterations of ``algorithms/`` and the constrained optimum, compiled, for many small problems of one
shape."""

from tabular_fedrl.loops.batch import Batch
from tabular_fedrl.loops.fednpg import fednpg
from tabular_fedrl.loops.graph_lanes import on_graph
from tabular_fedrl.loops.optimistic import optimistic
from tabular_fedrl.loops.optimum import Optima, optima
from tabular_fedrl.loops.prepare import prepare
from tabular_fedrl.loops.totals import Iterated

__all__ = ["Batch", "Iterated", "Optima", "fednpg", "on_graph", "optima", "optimistic", "prepare"]
