"""Datasets of the Farama Foundation's Minari, where that package is installed and spaces are discrete.

Each data set becomes one client. An episode of T transitions holds T+1 observations; ``terminations`` marks
its end in the environment, ``truncations`` a time limit, which is not an end.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.offline.dataset import Dataset


def load_minari(names: Sequence[str], download: bool = False) -> Dataset:
    """The data of one client per name (such as ``mine/frozenlake-v0``); all of the same spaces.

    Raises
    ------
    InvalidProblem: Minari is not installed or does not have the data set, or a space is not discrete.
    """
    try:
        minari: Any = importlib.import_module("minari")
    except ImportError:
        raise InvalidProblem(
            "Minari's data sets need its package: pip install 'tabular-fedrl[minari]'"
        ) from None
    tables = []
    for name in names:
        try:
            tables.append(from_episodes(name, minari.load_dataset(name, download=download)))
        except (FileNotFoundError, ValueError, KeyError, ImportError) as error:
            if isinstance(error, InvalidProblem):
                raise
            raise InvalidProblem(f"minari:{name}: {' '.join(str(error).split())}") from None
    sizes = {(table.S, table.A) for table in tables}
    if len(sizes) != 1:
        raise InvalidProblem(f"the data sets have different spaces: {sorted(sizes)} states and actions")
    client = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    ((S, A),) = sizes
    columns: Any = [
        np.concatenate([getattr(table, key) for table in tables])
        for key in ("state", "action", "reward", "costs", "next_state", "terminal")
    ]
    state, action, reward, costs, next_state, terminal = columns
    return Dataset(client, state, action, reward, costs, next_state, terminal, S, A, len(tables))


def from_episodes(name: str, data: Any) -> Dataset:
    """One client's rows from an object with Minari's interface (``observation_space``, ``action_space``,
    ``iterate_episodes()``)."""
    sizes = []
    for what in ("observation_space", "action_space"):
        space = getattr(data, what)
        n, start = getattr(space, "n", None), int(getattr(space, "start", 0))
        if n is None or start != 0:
            raise InvalidProblem(f"minari:{name}: its {what.replace('_', ' ')} is not a list from 0 on")
        sizes.append(int(n))
    columns: list[list[Any]] = [[], [], [], [], []]
    for episode in data.iterate_episodes():
        seen = np.asarray(episode.observations).reshape(-1)
        parts = (seen[:-1], episode.actions, episode.rewards, seen[1:], episode.terminations)
        for column, part in zip(columns, parts):
            column.append(np.asarray(part).reshape(-1))
    if not columns[0]:
        raise InvalidProblem(f"minari:{name}: there are no episodes")
    state, action, reward, next_state, terminal = (np.concatenate(column) for column in columns)
    n, (S, A) = len(state), sizes
    client, costs = np.zeros(n, dtype=np.int64), np.zeros((n, 0))
    try:
        return Dataset(client, state, action, reward, costs, next_state, terminal.astype(bool), S, A, 1)
    except InvalidProblem as error:
        raise InvalidProblem(f"minari:{name}: {error}") from None
