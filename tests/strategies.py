"""Hypothesis strategies shared by the property-based tests: those of the pytest plugin, so that a reviewer's
``pytest proofs_check`` and the library's own tests draw from the same problems."""

from tabular_fedrl.claims.strategies import cmdps, episodic_mdps, federations, log_policies

__all__ = ["cmdps", "episodic_mdps", "federations", "log_policies"]
