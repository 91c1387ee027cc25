"""Compiled building blocks, each beside a plain twin that says what it does."""
