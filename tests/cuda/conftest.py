"""Tests of the CUDA kernels, collected only where CUDA was asked for.

``NUMBA_ENABLE_CUDASIM=1 pytest tests/cuda`` runs them in the simulator (``tests/test_cuda.py`` does so in a
process of its own: the variable counts only before Numba is first imported), ``NUMBA_ENABLE_CUDASIM=0 pytest
tests/cuda`` on a device.
"""

import os
import sys

import pytest

if "NUMBA_ENABLE_CUDASIM" not in os.environ:
    collect_ignore_glob = ["test_*.py"]
else:
    # The simulator's threads hand over to each other at every barrier; at the usual 5 ms a hand-over a test
    # would take minutes.
    sys.setswitchinterval(1e-5)


@pytest.fixture(autouse=True)
def glance_often(monkeypatch):
    """So few states are solved for in as few iterations."""
    from tabular_fedrl.loops import cuda_solve

    monkeypatch.setattr(cuda_solve, "GLANCE", 2)
