"""The command ``tabular-fedrl``."""

from tabular_fedrl.cli.app import main

__all__ = ["main"]
