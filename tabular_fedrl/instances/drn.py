r"""Storm's explicit DRN format, read.

A text file of Storm (https://www.stormchecker.org): a header (``@type``, ``@parameters``, ``@placeholders``,
``@reward_models``, ``@nr_states``, ``@nr_choices``), then ``@model`` and, for every state in order::

    state 0 [state rewards] labels
            action name [action rewards]
                    successor : probability

``//`` starts a comment line. Numbers are decimals, fractions or placeholders (``$0``). MDPs and DTMCs load;
r(s, a) and the costs are state reward plus action reward of named reward models. The states labelled ``init``
get the initial distribution, uniformly. The format has no discount and no thresholds: the source must give
them.

Grammar read off Storm's parser and exporter (``DirectEncodingParser.cpp``, ``DirectEncodingExporter.cpp``).
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.draft import Draft, stored
from tabular_fedrl.instances.drn_parser import UNNAMED, Choices, Header, parse_drn
from tabular_fedrl.instances.text import shorten, suggestion
from tabular_fedrl.measured import Array

ROUNDED = 1e-6
"""Storm prints six digits unless told otherwise: a row may miss 1 by this much per entry and is then divided
by its sum (its own tolerance for rows is 1e-6 as well)."""


def read_drn(
    path: str | os.PathLike[str], reward: str | None = None, costs: Sequence[str] | None = None
) -> Draft:
    """The problem in a DRN file; d and gamma are None.

    ``reward``: the reward model that becomes r, default the first; ``costs``: those that become the costs, in
    this order, default all others in the order of the file.

    Raises
    ------
    InvalidProblem: naming the file, the line and the state.
    """
    origin = os.fspath(path)
    header, model = parse_drn(origin)
    S, A = _sizes(origin, header, model)
    order, action_names = _actions(model, S, A)
    names = _reward_names(header, model)
    if not names:
        raise InvalidProblem(f"{origin}: no reward model: nothing to maximise")
    reward = names[0] if reward is None else reward
    costs = [name for name in names if name != reward] if costs is None else list(costs)
    for name in (reward, *costs):
        if name not in names:
            raise InvalidProblem(f"{origin}: no reward model is called {name!r}{suggestion(name, names)}")
    signals = _signals(model, len(names), S, A)[:, order]
    rows, notes = _rows(origin, model, S, A)
    started = [s for s, labels in enumerate(model.labels) if "init" in labels]
    rho = np.zeros(S)
    rho[started] = 1.0 / max(len(started), 1)
    return Draft(
        origin, stored(rows[order.ravel()], A), signals[names.index(reward)].reshape(S, A),
        signals[[names.index(name) for name in costs]].reshape(len(costs), S, A),
        d=None if costs else np.zeros(0), rho=rho if started else None,
        state_names=_state_names(model), action_names=action_names,
        notes=(f"r is {reward}", *(f"cost {j} is {name}" for j, name in enumerate(costs)), *notes),
    )  # fmt: skip


def _sizes(origin: str, header: Header, model: Choices) -> tuple[int, int]:
    """``(S, A)``, after checking that every state has all actions."""
    S = len(model.first)
    if header.states != S or S == 0:
        raise InvalidProblem(f"{origin}: {S} states, but @nr_states is {header.states}: truncated?")
    if header.choices not in (-1, len(model.names)):
        raise InvalidProblem(
            f"{origin}: {len(model.names)} choices, but @nr_choices is {header.choices}: truncated?"
        )
    counts = np.diff(np.append(np.frombuffer(model.first, dtype=np.int64), len(model.names)))
    A = int(counts.max())
    if (counts < A).any():
        s = int(np.argmax(counts < A))
        label = f" ({shorten(' '.join(model.labels[s]))})" if model.labels[s] else ""
        raise InvalidProblem(
            f"{origin}:{model.state_lines[s]}: state {s}{label} has {counts[s]} of {A} actions: "
            "every state must offer as many as the others (repeat one to fill up)"
        )
    return S, A


def _actions(model: Choices, S: int, A: int) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """``order (S, A)``: the choice that is action a of state s. Actions are matched by name where every state
    has the same distinct names, else by position (and stay unnamed)."""
    positions = np.arange(S * A).reshape(S, A)
    names = tuple(model.names[:A])
    if len(set(names)) < A or UNNAMED in names:
        return positions, None
    for s in range(S):
        here = tuple(model.names[s * A : s * A + A])
        if here == names:
            continue
        if set(here) != set(names):
            return np.arange(S * A).reshape(S, A), None
        positions[s] = [s * A + here.index(name) for name in names]
    return positions, None if names == tuple(str(a) for a in range(A)) else names


def _reward_names(header: Header, model: Choices) -> list[str]:
    """Declared names, then Storm's ``rew0, rew1, ..`` for models that appear without one."""
    width = max((len(x) for x in (*model.state_rewards, *model.action_rewards)), default=0)
    return [*header.rewards, *(f"rew{k}" for k in range(len(header.rewards), width))]


def _signals(model: Choices, k: int, S: int, A: int) -> Array:
    """State reward plus action reward of every reward model and choice: ``(k, S*A)``."""
    out = np.zeros((k, S * A))
    for choice, rewards in enumerate(model.action_rewards):
        out[: len(rewards), choice] += rewards
    for s, rewards in enumerate(model.state_rewards):
        out[: len(rewards), s * A : s * A + A] += np.reshape(rewards, (-1, 1))
    return out


def _rows(origin: str, model: Choices, S: int, A: int) -> tuple[sp.csr_array, list[str]]:
    """The kernel's rows ``(S*A, S)``, rounded ones divided by their sums."""
    pairs = np.frombuffer(model.pairs, dtype=np.int64)
    entries = (np.frombuffer(model.weights), (pairs, np.frombuffer(model.successors, dtype=np.int64)))
    rows = sp.csr_array(entries, shape=(S * A, S))
    sums = np.bincount(pairs, np.frombuffer(model.weights), minlength=S * A)
    off = np.abs(sums - 1)
    bad = off > ROUNDED * np.maximum(np.diff(rows.indptr), 1)
    if bad.any():
        k = int(np.argmax(bad))
        raise InvalidProblem(
            f"{origin}:{model.choice_lines[k]}: the probabilities of state {k // A}, action {model.names[k]} "
            f"sum to {sums[k]:.9g}, not to 1"
        )
    rounded = off > 1e-12
    if not rounded.any():
        return rows, []
    factors = np.where(rounded, sums, 1.0)
    rows.data /= np.repeat(factors, np.diff(rows.indptr))
    return rows, [
        f"{int(rounded.sum())} rows of P miss 1 by up to {off.max():.1e} (few digits): divided by their sums"
    ]


def _state_names(model: Choices) -> tuple[str, ...] | None:
    """Labels other than ``init`` name the states if each state has one of its own."""
    own = [[label for label in labels if label != "init"] for labels in model.labels]
    if any(len(labels) != 1 for labels in own) or len({labels[0] for labels in own}) < len(own):
        return None
    return tuple(labels[0] for labels in own)
