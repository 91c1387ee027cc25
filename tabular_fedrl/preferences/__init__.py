"""Preferences between batches of episodes: link functions, panels of people, majorities, without sampling;
and a sampled twin of the same."""

from tabular_fedrl.preferences.comparison import Comparison, batch_law, comparison_of
from tabular_fedrl.preferences.inversion import Inversion
from tabular_fedrl.preferences.links import Linear, Link, Logistic, Weibull, link_of
from tabular_fedrl.preferences.panels import Panel
from tabular_fedrl.preferences.sampled import sampled_vote
from tabular_fedrl.preferences.votes import TIES, Ties, majority

__all__ = [
    "Link", "Linear", "Logistic", "Weibull", "link_of",
    "Panel", "Ties", "TIES", "majority",
    "Comparison", "comparison_of", "batch_law", "sampled_vote", "Inversion",
]  # fmt: skip
