"""Finite-horizon tabular problems: models, values and gradients of policies, the law of the return."""

from tabular_fedrl.episodic.federation import FederatedEpisodicMDP, environments, exact
from tabular_fedrl.episodic.mdp import EpisodicMDP
from tabular_fedrl.episodic.returns import (
    ReturnGrid,
    extreme_returns,
    return_grid,
    return_law,
    sample_returns,
)
from tabular_fedrl.episodic.simulate import episodes
from tabular_fedrl.episodic.values import (
    action_values,
    curvature,
    gradient,
    occupancy,
    repeated,
    start_value,
    stationary_gradient,
)

__all__ = [
    "EpisodicMDP", "FederatedEpisodicMDP", "environments", "exact",
    "action_values", "start_value", "occupancy", "gradient", "stationary_gradient", "curvature", "repeated",
    "ReturnGrid", "return_grid", "return_law", "sample_returns", "extreme_returns", "episodes",
]  # fmt: skip
