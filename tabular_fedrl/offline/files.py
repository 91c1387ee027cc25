"""Datasets as ``.npz`` files, read with the distrust that a stranger's file deserves.

Keys: ``client, state, action, next_state`` (whole numbers, ``(n,)``), ``reward (n,)``, ``costs (n, m)``
(optional), ``terminal (n,)`` (booleans; optional, none); ``sizes``: the numbers of states, actions and
clients (optional: the largest index plus 1). No pickle is ever loaded, and nothing is allocated before the
declared sizes have been checked.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from tabular_fedrl.archive import read_arrays
from tabular_fedrl.atomic import atomic_path
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.offline.dataset import Dataset

MAX_PAIRS = 10_000_000
"""States times actions times clients of a file: tables of that size are made of it."""

KEYS = {
    "client": "iu", "state": "iu", "action": "iu", "next_state": "iu", "sizes": "iu",
    "reward": "biuf", "costs": "biuf", "terminal": "b",
}  # fmt: skip
"""The kinds of number each key may hold."""


def load_dataset(path: str | os.PathLike[str]) -> Dataset:
    """The data in an ``.npz`` file.

    Raises
    ------
    InvalidProblem: naming the file and the key or the row.
    """
    origin = os.fspath(path)
    arrays, _ = read_arrays(origin, KEYS)
    for key in ("client", "state", "action", "reward", "next_state"):
        if key not in arrays:
            raise InvalidProblem(f"{origin}: key {key!r} is missing")
    n = arrays["client"].size
    if n == 0:
        raise InvalidProblem(f"{origin}: there are no transitions")
    columns = (("state", "next_state"), ("action",), ("client",))
    sizes = [1 + max(int(arrays[key].max(initial=0)) for key in keys) for keys in columns]
    if "sizes" in arrays:
        if arrays["sizes"].shape != (3,):
            raise InvalidProblem(f"{origin}: sizes has shape {arrays['sizes'].shape}: expected S, A, N")
        sizes = [int(x) for x in arrays["sizes"]]
    if math.prod(sizes) > MAX_PAIRS:
        raise InvalidProblem(
            f"{origin}: {sizes[0]} states, {sizes[1]} actions and {sizes[2]} clients are too many "
            f"(their product may be {MAX_PAIRS})"
        )
    try:
        return Dataset(
            arrays["client"],
            arrays["state"],
            arrays["action"],
            arrays["reward"],
            arrays.get("costs", np.zeros((n, 0))),
            arrays["next_state"],
            arrays.get("terminal", np.zeros(n, dtype=bool)),
            sizes[0],
            sizes[1],
            sizes[2],
        )
    except InvalidProblem as error:
        raise InvalidProblem(f"{origin}: {error}") from None


def save_dataset(path: str | os.PathLike[str], dataset: Dataset) -> None:
    """Write all keys of the format; the file appears whole or not at all.

    Raises
    ------
    InvalidProblem: a place that cannot be written.
    """
    arrays: dict[str, Any] = {key: getattr(dataset, key) for key in KEYS if key != "sizes"}
    arrays["sizes"] = np.array([dataset.S, dataset.A, dataset.N])
    try:
        with atomic_path(path) as temporary, temporary.open("wb") as stream:
            np.savez_compressed(stream, **arrays)
    except OSError as error:
        raise InvalidProblem(f"cannot write {os.fspath(path)}: {error.strerror or error}") from None
