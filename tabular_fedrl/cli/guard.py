"""From whatever a command raises to one clear line and an exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

from tabular_fedrl.cli.output import Answer, Output
from tabular_fedrl.errors import InfeasibleCMDP, InvalidProblem, TabularFedRLError

BAD_INPUT, INFEASIBLE, INTERNAL, INTERRUPTED, BROKEN_PIPE = 2, 3, 4, 130, 141
DEBUG = "TABULAR_FEDRL_DEBUG"
"""Environment variable that asks for tracebacks."""


@contextlib.contextmanager
def terminable() -> Iterator[None]:
    """A request to terminate, as batch systems send it, is an interrupt: work done so far is kept, workers
    end, temporary files go. Outside the main thread, which alone hears signals, nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def deliver(output: Output, command: Callable[[Output], Answer]) -> int:
    """Run a command, show its answer, give the exit code."""
    try:
        # What a user's theorem prints must not end up in the answer.
        with contextlib.redirect_stdout(sys.stderr):
            answer = command(output)
        output.show(answer)
        return answer.code
    except KeyboardInterrupt as stop:
        return fail(output, f"interrupted{f'; {stop}' if str(stop) else ''}", INTERRUPTED, prefix="")
    except BrokenPipeError:
        return _nobody_reads()
    except InfeasibleCMDP as error:
        proof = {"certificate": error.certificate.to_dict()}
        return fail(output, str(error), INFEASIBLE, "infeasible", proof, prefix="infeasible: ")
    except InvalidProblem as error:
        return fail(output, str(error), BAD_INPUT)
    except OSError as error:
        if error.filename is None:
            return _internal(output, error)
        return fail(output, f"{error.filename}: {error.strerror or error}", BAD_INPUT)
    except TabularFedRLError as error:
        return fail(output, str(error), INTERNAL)
    except MemoryError:
        return fail(output, "there is not enough memory for this problem", INTERNAL)
    except SystemExit as error:
        # A page that calls sys.exit would end the command with a code of its own, and without a word.
        return _internal(output, error)
    except Exception as error:
        # Python wraps an interrupt that falls into the making of a class, as while a library is imported.
        if isinstance(error.__cause__, KeyboardInterrupt):
            return fail(output, "interrupted", INTERRUPTED, prefix="")
        return _internal(output, error)


def fail(
    output: Output,
    message: str,
    code: int,
    status: str = "error",
    more: dict[str, Any] | None = None,
    prefix: str = "error: ",
) -> int:
    """One line on standard error, or the JSON object of an error; gives the code."""
    line = " ".join(message.split())
    if os.environ.get(DEBUG) and sys.exc_info()[0] is not None:
        traceback.print_exc(file=sys.stderr)
    try:
        if output.json:
            output.emit({"status": status, "message": line, **(more or {})})
        else:
            output.say(prefix + line, "red")
    except BrokenPipeError:
        return _nobody_reads()
    except OSError:
        # Neither stream can be written: the exit code is all that is left.
        return code
    return code


def _internal(output: Output, error: Exception | SystemExit) -> int:
    """What nobody expected: a fault of the user's own page if it is marked so, else of this package."""
    notes = "".join(f"; {note}" for note in getattr(error, "__notes__", ()))
    own = getattr(error, "bad_input", False)
    kind, code = ("error", BAD_INPUT) if own else ("internal error", INTERNAL)
    # Not every exception has a message.
    what = f"{kind}: {type(error).__name__}{f': {error}' if str(error) else ''}{notes}"
    return fail(output, f"{what} (set {DEBUG}=1 for the traceback)", code, prefix="")


def _nobody_reads() -> int:
    """The reader of our output has gone: what is still buffered goes nowhere."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
    return BROKEN_PIPE
