"""Optima: of an MDP by policy iteration, of a CMDP by its occupancy LP, of the regularised problem by its
saddle point."""

from tabular_fedrl.solvers.policy_iteration import Optimum, optimise, value_range

__all__ = ["Optimum", "optimise", "value_range"]
