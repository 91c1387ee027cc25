"""One module per algorithm: the readable specification. Algorithms yield rounds and never measure."""

from tabular_fedrl.algorithms.registry import ALGORITHMS, Algorithm
from tabular_fedrl.algorithms.rounds import Round

__all__ = ["ALGORITHMS", "Algorithm", "Round"]
