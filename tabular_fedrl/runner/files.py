"""A run's file: everything measured so far and all that is needed to go on, as plain ``.npz`` arrays (no
pickle).

``header``: JSON text that says what was run; a file is resumed only by the same run. ``state``: JSON text
with the next round, the ledger and the random streams. Then the tracks, the sums over all rounds, the global
log-policy and the multipliers, and the values that the next evaluations start from, if the run keeps any.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from tabular_fedrl.atomic import atomic_path
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.federation import Ledger, State
from tabular_fedrl.runner.engine import Task
from tabular_fedrl.runner.overall import Sums, from_arrays, to_arrays
from tabular_fedrl.runner.tracks import Tracks

FORMAT = "tabular-fedrl run 3"


class RunFile:
    """The file of one run; what it is, is fixed here and compared when resuming."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        task: Task,
        backend: str,
        parameters: dict[str, Any],
        resume: bool,
    ) -> None:
        self.path = Path(path)
        # Refuse a place that cannot be written before the work, not after it.
        folder = self.path.resolve().parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise InvalidProblem(
                f"cannot write {self.path}: the folder {folder} does not exist or is read-only"
            )
        if self.path.exists() and not self.path.is_file():
            raise InvalidProblem(f"cannot write {self.path}: it is not a regular file")
        if not resume and not _replaceable(self.path):
            raise InvalidProblem(f"cannot write {self.path}: what is there is not the file of a run")
        comparator = task.observer.comparator
        against = None if comparator is None else hashlib.sha256(comparator.policy.table().data).hexdigest()
        self.header: dict[str, Any] = {
            "format": FORMAT,
            "algorithm": task.algorithm.name,
            "problem": task.problem.cmdp.digest,
            "visible": [list(seen) for seen in task.problem.visible],
            "rounds": task.rounds,
            "seed": task.seed,
            "backend": backend,
            "every": task.every,
            "record": "iterates" if task.iterates else "metrics",
            "parameters": parameters,
            "comparator": against,
        }

    def save(self, tracks: Tracks, state: State, ledger: dict[str, Any], sums: Sums) -> None:
        """Write the file, whole or not at all."""
        progress = {
            "round": state.round,
            "random": state.random,
            "transitions": list(state.transitions),
            "ledger": ledger,
        }
        arrays: dict[str, Any] = {
            **tracks.rows(state.round),
            **to_arrays(sums),
            "header": np.array(json.dumps(self.header, sort_keys=True)),
            "state": np.array(json.dumps(progress)),
            "final_log_policy": state.log_policy,
            "final_multipliers": state.multipliers,
        }
        if state.values is not None:
            arrays["values"] = state.values
        with atomic_path(self.path) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)

    def load(self, tracks: Tracks) -> tuple[State, Ledger, Sums] | None:
        """State, ledger and sums where the file left them, with the tracks filled so far; None if there is
        no file."""
        if not self.path.exists():
            return None
        try:
            with open(self.path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            header, progress = json.loads(str(arrays["header"])), json.loads(str(arrays["state"]))
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            why = f"no key {error}" if isinstance(error, KeyError) else error
            raise InvalidProblem(f"{self.path} is not the file of a run, or is damaged: {why}") from None
        self._same(header)
        try:
            tracks.restore(arrays, int(progress["round"]))
            state = State(
                int(progress["round"]),
                arrays["final_log_policy"],
                arrays["final_multipliers"],
                progress["random"],
                tuple(progress["transitions"]),
                arrays.get("values"),
            )
            return state, Ledger.from_dict(progress["ledger"]), from_arrays(arrays)
        except (KeyError, ValueError, TypeError) as error:
            raise InvalidProblem(f"{self.path} is damaged: {error}") from None

    def _same(self, header: Any) -> None:
        mine = json.loads(json.dumps(self.header))
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            raise InvalidProblem(f"{self.path} is not a run file of this version ({FORMAT})")
        for key, value in mine.items():
            if key == "parameters":
                for name, mine_value in value.items():
                    other = header.get(key, {}).get(name)
                    if other != mine_value:
                        raise InvalidProblem(f"{self.path} was run with {name} = {other}, not {mine_value}")
            elif header.get(key) != value:
                what = (
                    "another " + key
                    if key in ("problem", "comparator")
                    else f"{key} = {header.get(key)}, not {value}"
                )
                raise InvalidProblem(f"{self.path} was run with {what}")


def _replaceable(path: Path) -> bool:
    """Whether nothing is lost but a run: a problem's own file, say, is kept."""
    if not path.exists() or path.stat().st_size == 0:
        return True
    try:
        with zipfile.ZipFile(path) as file:
            return "header.npy" in file.namelist()
    except (OSError, zipfile.BadZipFile):
        return False
