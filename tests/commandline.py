"""Calling the command line in this process, and a theorem file to call it with."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any, NamedTuple

import pytest

from tabular_fedrl.cli import main

THEOREM = '''
from tabular_fedrl.claims import Case, StudyData, Theorem, chain, control, hypothesis, study, tight, upper
from tabular_fedrl.solvers import solve


class Trivial(Theorem):
    r"""Values are at most the horizon times the largest reward.

    **Statement.** For every policy, with <angle> brackets & an ampersand,

    .. math:: V_r^\\pi(\\rho) \\le \\frac{1}{1-\\gamma} \\max r .
    """

    id, mark, source = "tiny.range", "ours", "elementary"
    suite = (Case("textbook:two-arm"), Case("textbook:three-state"))

    @hypothesis("at least one constraint", only=("paid",))
    def constrained(self, problem):
        return problem.cmdp.m > 0

    def setup(self, problem, factor=1.0, seed=0):
        print("a user's theorem may print")
        return problem.cmdp, solve(problem.cmdp), factor

    @upper(r"V_r^\\star \\le \\max r/(1-\\gamma)")
    def bound(self, x):
        cmdp, optimum, factor = x
        return optimum.value, factor * cmdp.r.max() * cmdp.horizon, cmdp.r.max() * cmdp.horizon

    @upper(r"0 \\le \\lambda^\\star_j")
    def paid(self, x):
        return -x[1].multipliers, 1e-9

    @chain("bound")
    def proof(self, x):
        cmdp, optimum, _ = x
        yield "an optimum is a value", optimum.value
        yield "every reward is at most the largest <one>", cmdp.r.max() * cmdp.horizon

    @control("a tenth of the bound is too little", Case("textbook:two-arm"))
    def tenth(self, x):
        cmdp, optimum, _ = x
        return optimum.value, 0.1 * cmdp.r.max()
'''


class Said(NamedTuple):
    """Exit code, standard output, standard error."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """The one JSON object on standard output: nothing else may be there, NaN and Infinity neither."""

        def refuse(word: str) -> None:
            raise AssertionError(f"{word} is not JSON")

        assert self.out.endswith("\n")
        assert self.out.count("\n") == 1
        return json.loads(self.out, parse_constant=refuse)


def call(capsys: pytest.CaptureFixture[str], *words: object) -> Said:
    """``tabular-fedrl WORDS``."""
    capsys.readouterr()
    code = main([str(word) for word in words])
    return Said(code, *capsys.readouterr())


def start(*words: object, prepare: str = "", **options: Any) -> subprocess.Popen[str]:
    """``tabular-fedrl WORDS`` as a process of its own, after the statements in ``prepare``."""
    # Tests that run in the background of a shell inherit that interrupts are ignored.
    heard = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"
    program = f"{heard}\n{prepare}\nimport sys\nfrom tabular_fedrl.cli import main\nsys.exit(main())"
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-c", program, *(w if isinstance(w, bytes) else str(w) for w in words)],
        env=environment,
        **settings,
    )
