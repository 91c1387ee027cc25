"""Where on its page a theorem's own code went wrong."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tabular_fedrl.claims.theorem import Theorem
from tabular_fedrl.errors import TabularFedRLError


@contextmanager
def placed(theorem: type[Theorem], part: str, case: str = "") -> Iterator[None]:
    """What a page raises, unless it is an error of this package, notes where: part, case, file and line."""
    try:
        yield
    except TabularFedRLError:
        raise
    except Exception as error:
        page = getattr(sys.modules[theorem.__module__], "__file__", None)
        lines = [
            frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == page
        ]
        place = f" ({Path(str(page)).name}, line {lines[-1]})" if lines else ""
        if not hasattr(error, "__notes__"):
            error.add_note(f"in {theorem.id}::{part}{f' on {case}' if case else ''}{place}")
        raise
