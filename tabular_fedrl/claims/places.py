"""Where on its page a theorem's own code went wrong."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tabular_fedrl.claims.theorem import Theorem
from tabular_fedrl.errors import TabularFedRLError

OWN_PAGES = "_theorems_"
"""What the names of modules begin with that are read from a user's files."""


def line_of(error: BaseException, page: str | None) -> str:
    """``NAME, line N`` where the file ``page`` raised it, also where it arose below; empty if it did not."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == page]
    return f"{Path(str(page)).name}, line {lines[-1]}" if lines else ""


@contextmanager
def placed(theorem: type[Theorem], part: str, case: str = "") -> Iterator[None]:
    """What a page raises, unless it is an error of this package, notes where: part, case, file and line; and
    what a user's own page raises is marked as bad input (``bad_input``)."""
    try:
        yield
    except TabularFedRLError:
        raise
    except (Exception, SystemExit) as error:
        place = line_of(error, getattr(sys.modules[theorem.__module__], "__file__", None))
        if not hasattr(error, "__notes__"):
            where = f" ({place})" if place else ""
            error.add_note(f"in {theorem.id}::{part}{f' on {case}' if case else ''}{where}")
            # With the exception, as the note: both come along from a worker process.
            vars(error)["bad_input"] = theorem.__module__.startswith(OWN_PAGES)
        raise
