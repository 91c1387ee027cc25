"""Verification of theorems of federated, constrained and regularised tabular reinforcement learning."""

__version__ = "0.1.0"
