"""Reading what ``verify`` wrote."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tabular_fedrl.errors import InvalidProblem

Arrays = dict[str, np.ndarray]


def study(report: Path, name: str) -> Arrays:
    """Arrays of one study, ``report/data/<theorem>.<study>.npz``."""
    path = report / "data" / f"{name}.npz"
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except FileNotFoundError:
        raise InvalidProblem(f"{path} is missing: run `make verify` first") from None
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise InvalidProblem(f"{path} cannot be read: {error}") from None


def results(report: Path) -> dict[str, Any]:
    """``report/results.json``."""
    path = report / "results.json"
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InvalidProblem(f"{path} is missing: run `make verify` first") from None
    except (OSError, ValueError) as error:
        raise InvalidProblem(f"{path} cannot be read: {error}") from None
    return data
