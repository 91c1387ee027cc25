"""Compiled building blocks, each beside a plain twin that says what it does."""

from tabular_fedrl.kernels import announce as announce  # from the first kernel on, compiling is said
