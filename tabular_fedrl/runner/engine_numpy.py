"""The specification: the algorithm's own rounds, measured in batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from itertools import islice

import numpy as np

from tabular_fedrl import balls
from tabular_fedrl.algorithms import Round
from tabular_fedrl.arithmetic import exp, finite
from tabular_fedrl.cmdp import CMDP
from tabular_fedrl.errors import StepsTooLarge, Undecided
from tabular_fedrl.federation import State
from tabular_fedrl.runner.engine import Engine, Stretch, Task, not_finite
from tabular_fedrl.runner.measure import CHUNK

COARSER, LEAST_BITS = 8, 128
"""What is measured gets an eighth of the working precision, and no less than so many bits."""


def stretches(task: Task, state: State) -> Iterator[Stretch]:
    """Rounds of the specification, as many at a time as are measured together."""
    federation = task.federation()
    federation.ledger = task.ledger
    if state.round:
        federation.restore(state)
    rounds = _checked(task, task.algorithm.rounds(federation, dict(task.given)))
    size = _batch(task.problem.cmdp, task.problem.N, task.local_steps)
    done = state.round
    try:
        while done < task.rounds:
            batch = list(islice(rounds, min(size, task.rounds - done)))
            recorded = task.recorded(done, done + len(batch)) - done
            with coarser():
                every_round, kept = task.observer.measure(batch, recorded, task.iterates)
            yield Stretch(federation.state(), every_round, kept)
            done += len(batch)
    except Undecided as lost:
        k = federation.server.round
        raise Undecided(f"round {k} of {task.rounds}: {lost}", reached=k / task.rounds) from None


def coarser() -> AbstractContextManager[None]:
    """Balls of fewer bits for what is measured: the path alone must outlast the growth of its radii."""
    bits = balls.working()
    return balls.precision(max(LEAST_BITS, bits // COARSER)) if bits else nullcontext()


def _checked(task: Task, stream: Iterator[Round]) -> Iterator[Round]:
    """The rounds, refused as soon as an iterate is not finite."""
    # The logarithm of an intended 0 is no sign of anything.
    shown = exp if task.algorithm.zeros else lambda log_policies: log_policies
    while True:
        # Absurd steps overflow on the way; the answer is judged below.
        with np.errstate(all="ignore"):
            this = next(stream)
        if not (finite(shown(this.local)) and finite(shown(this.next_log_policy))):
            if balls.working():
                raise Undecided("a ball is unbounded")
            raise StepsTooLarge(not_finite(task, this.k))
        yield this


def _batch(cmdp: CMDP, N: int, E: int) -> int:
    """Rounds measured together; it depends on nothing else, so that a resumed run cuts them in the same
    places."""
    policies = 1 + N * (E - 1)
    entries = N * (E + 1) * cmdp.S * cmdp.A
    return max(1, min(CHUNK // policies, 4_000_000 // entries))


ENGINE = Engine("the specification", None, lambda task: None, stretches, books=True)
