"""Statements of others, and simple ones of ours, that DRPO is measured against."""
