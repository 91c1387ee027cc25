"""Methods for the tests of the benchmark's harness: well-behaved, lying, slow, failing and dying ones."""

from __future__ import annotations

import os
import time

import numpy as np

from benchmarks.contenders import Method


def solved(problem):
    """The optimal values by value iteration."""
    cmdp = problem.cmdp
    v = np.zeros(cmdp.S)
    for _ in range(3000):
        v = (cmdp.r + cmdp.gamma * (cmdp.rows @ v).reshape(cmdp.S, cmdp.A)).max(axis=1)
    return v


def method(solve):
    return Method(lambda problem: problem, solve, lambda values: {"values": values})


def sleep(problem):
    time.sleep(60)


def refuse(problem):
    raise ValueError("no model of mine\nwith a second line")


HONEST = method(solved)
LIAR = method(lambda problem: solved(problem) + 0.1)
SLOW = method(sleep)
REFUSING = method(refuse)
DYING = method(lambda problem: os._exit(3))
GREEDY = method(lambda problem: np.ones(2**50))
