"""Problems as ``.npz`` files, read with the distrust that a stranger's file deserves.

Keys: ``P`` (dense ``(S, A, S)``) or ``P_data, P_indices, P_indptr`` (CSR, rows ``s*A + a``), ``r (S, A)``,
``c (m, S, A)``, ``d (m,)``, ``rho (S,)``, ``gamma``; optional ``visible`` (boolean ``(N, m)``),
``state_names``, ``action_names`` (text). A problem without constraints may leave out ``c`` and ``d``.

With the key ``H`` the problem is one of H steps: ``P`` (dense) and ``r``, each with an axis of H steps before
the others where it changes with time, ``rho``, names, and none of the other keys; of N environments
``P (N, H, S, A, S)``, ``r (N, H, S, A)`` and ``rho (N, S)``.

Numbers may also be text, as decimals or fractions (``'1/3'``): read as the nearest float, or exactly where
the problem is asked for in exact rationals. No pickle is ever loaded, and nothing is allocated before the
declared sizes have been checked.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from tabular_fedrl.archive import read_arrays
from tabular_fedrl.atomic import atomic_path
from tabular_fedrl.cmdp import FederatedCMDP
from tabular_fedrl.episodic import FederatedEpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.draft import DENSE_ENTRIES, Draft, densified
from tabular_fedrl.instances.episodic_draft import EpisodicDraft
from tabular_fedrl.instances.text import parse_number, parse_rational
from tabular_fedrl.measured import Array

FORMAT_VERSION = 1

NUMERIC = ("P", "P_data", "P_indices", "P_indptr", "r", "c", "d", "rho", "gamma", "H", "format_version")
TEXT = ("state_names", "action_names")
KINDS = {**dict.fromkeys(NUMERIC, "biufU"), "visible": "b", **dict.fromkeys(TEXT, "U")}


def read_npz(path: str | os.PathLike[str], exact: bool = False) -> Draft | EpisodicDraft:
    """The problem in an ``.npz`` file, ``d``, ``rho`` and ``gamma`` of a discounted one None where the file
    is silent.

    ``exact``: keep what is written as text or as integers as the rational it is (object arrays).

    Raises
    ------
    InvalidProblem: naming the file and the key.
    """
    origin = os.fspath(path)
    arrays, ignored = _arrays(origin, exact)
    if "format_version" in arrays:
        version = float(_scalar(origin, "format_version", arrays["format_version"]))
        if version != FORMAT_VERSION:
            raise InvalidProblem(
                f"{origin}: format_version is {version:g}, this program reads {FORMAT_VERSION}"
            )
    notes = (f"ignored keys: {', '.join(ignored)}",) if ignored else ()
    if "H" in arrays:
        return _episodic(origin, arrays, notes)
    r = _need(origin, arrays, "r")
    if r.ndim != 2 or r.size == 0:
        raise InvalidProblem(f"{origin}: r has shape {r.shape}: expected (S, A)")
    d = arrays.get("d")
    if "c" not in arrays and d is not None and d.size:
        raise InvalidProblem(f"{origin}: key 'c' is missing but there are {d.size} thresholds in d")
    c = arrays.get("c", np.zeros((0, *r.shape)))
    if "c" not in arrays:
        d = np.zeros(0)
    gamma = arrays.get("gamma")
    return Draft(
        origin,
        _kernel(origin, arrays, *r.shape),
        r,
        c,
        d,
        arrays.get("rho"),
        None if gamma is None else _scalar(origin, "gamma", gamma),
        arrays.get("visible"),
        _names(origin, "state_names", arrays.get("state_names")),
        _names(origin, "action_names", arrays.get("action_names")),
        notes,
    )


def _episodic(origin: str, arrays: dict[str, Any], notes: tuple[str, ...]) -> EpisodicDraft:
    odd = sorted(set(arrays) - {"P", "r", "rho", "H", "format_version", *TEXT})
    if odd:
        raise InvalidProblem(
            f"{origin}: key {odd[0]!r} does not go with key 'H': an episode has no such thing"
        )
    P, r, rho = parts = tuple(_need(origin, arrays, key) for key in ("P", "r", "rho"))
    if rho.ndim == 2 and not (P.ndim == 5 and r.ndim == 4 and len(P) == len(r) == len(rho) > 0):
        raise InvalidProblem(
            f"{origin}: rho has shape {rho.shape}, P {P.shape} and r {r.shape}: of N environments they "
            "are (N, S), (N, H, S, A, S) and (N, H, S, A)"
        )
    return EpisodicDraft(
        origin,
        tuple(zip(P, r, rho)) if rho.ndim == 2 else (parts,),
        _scalar(origin, "H", arrays["H"]),
        _names(origin, "state_names", arrays.get("state_names")),
        _names(origin, "action_names", arrays.get("action_names")),
        notes,
    )


def write_npz(path: str | os.PathLike[str], problem: FederatedCMDP | FederatedEpisodicMDP) -> None:
    """Write all keys of the format; the floats are kept exactly."""
    if isinstance(problem, FederatedEpisodicMDP):
        named: Any = problem.mdps[0]
        parts = (
            named.fields() if problem.N == 1 else {key: getattr(problem, key) for key in ("P", "r", "rho")}
        )
        out = {"P": parts["P"], "r": parts["r"], "rho": parts["rho"], "H": problem.H}
    else:
        named = problem.cmdp
        out = _discounted(problem)
    for key in TEXT:
        if getattr(named, key) is not None:
            out[key] = np.array(getattr(named, key), dtype=np.str_)
    with atomic_path(path) as temporary, temporary.open("wb") as stream:
        np.savez_compressed(stream, format_version=FORMAT_VERSION, **out)


def _discounted(problem: FederatedCMDP) -> dict[str, Any]:
    cmdp = problem.cmdp
    out = {key: getattr(cmdp, key) for key in ("r", "c", "d", "rho", "gamma")} | {"visible": problem.mask}
    if isinstance(cmdp.P, np.ndarray):
        return {"P": cmdp.P} | out
    return {"P_data": cmdp.P.data, "P_indices": cmdp.P.indices, "P_indptr": cmdp.P.indptr} | out


def _arrays(origin: str, exact: bool) -> tuple[dict[str, Any], list[str]]:
    """The known arrays, converted, and the names of members that are not part of the format."""
    arrays, ignored = read_arrays(origin, KINDS)
    convert = _exact_numbers if exact else _numbers
    return {k: convert(origin, k, x) if k in NUMERIC else x for k, x in arrays.items()}, ignored


def _numbers(origin: str, key: str, array: Any) -> Array:
    if array.dtype.kind == "U":
        what = f"{origin}: key {key!r}"
        values = [parse_number(str(word), what) for word in array.ravel()]
        return np.array(values, dtype=np.float64).reshape(array.shape)
    return array if key in ("P_indices", "P_indptr") else array.astype(np.float64)


def _exact_numbers(origin: str, key: str, array: Any) -> Any:
    """Text and integers as rationals; floats stay floats, which hold their number exactly."""
    if array.size > DENSE_ENTRIES and array.dtype.kind != "f":
        raise InvalidProblem(
            f"{origin}: key {key!r} holds {array.size} numbers, exact ones end at {DENSE_ENTRIES}"
        )
    if array.dtype.kind == "U":
        what = f"{origin}: key {key!r}"
        values = np.empty(array.size, dtype=object)
        values[:] = [parse_rational(str(word), what) for word in array.ravel()]
        return values.reshape(array.shape)
    if array.dtype.itemsize > 8:
        raise InvalidProblem(f"{origin}: key {key!r} holds {array.dtype}, which is not taken exactly")
    if array.dtype.kind == "f" or key in ("P_indices", "P_indptr"):
        return array.astype(np.float64) if array.dtype.kind == "f" else array
    return (array.astype(np.uint8) if array.dtype.kind == "b" else array).astype(object)


def _need(origin: str, arrays: dict[str, Any], key: str) -> Any:
    if key not in arrays:
        raise InvalidProblem(f"{origin}: key {key!r} is missing")
    return arrays[key]


def _scalar(origin: str, key: str, x: Any) -> Any:
    if x.size != 1:
        raise InvalidProblem(f"{origin}: {key} has shape {x.shape}: expected one number")
    return x.ravel().tolist()[0]


def _names(origin: str, key: str, names: Any) -> tuple[str, ...] | None:
    if names is None:
        return None
    if names.ndim != 1:
        raise InvalidProblem(f"{origin}: {key} has shape {names.shape}: expected a list of names")
    return tuple(str(n) for n in names)


def _kernel(origin: str, arrays: dict[str, Any], S: int, A: int) -> Any:
    if "P" in arrays:
        return arrays["P"]
    if not {"P_data", "P_indices", "P_indptr"} & set(arrays):
        raise InvalidProblem(f"{origin}: key 'P' is missing (and no P_data, P_indices, P_indptr either)")
    data, indices, indptr = (_need(origin, arrays, key) for key in ("P_data", "P_indices", "P_indptr"))
    for key, x in (("P_data", data), ("P_indices", indices), ("P_indptr", indptr)):
        if x.ndim != 1 or (key != "P_data" and x.dtype.kind not in "iu"):
            raise InvalidProblem(
                f"{origin}: {key} is {x.dtype} of shape {x.shape}: expected a list of whole numbers"
            )
    # SciPy's own check trusts these three; out-of-range ones would read foreign memory later.
    if (
        indptr.size != S * A + 1
        or indptr[0] != 0
        or indptr[-1] != data.size
        or (np.diff(indptr.astype(np.int64)) < 0).any()
    ):
        raise InvalidProblem(
            f"{origin}: P_indptr must rise from 0 to {data.size} in S*A + 1 = {S * A + 1} entries"
        )
    if indices.size != data.size or (data.size and (indices.min() < 0 or indices.max() >= S)):
        raise InvalidProblem(f"{origin}: P_indices must hold {data.size} states in 0..{S - 1}")
    if data.dtype == object:
        return densified(origin, data, indices, indptr, S, A)
    return sp.csr_array((data, indices.astype(np.int64), indptr.astype(np.int64)), shape=(S * A, S))


def is_npz(path: Path) -> bool:
    """Is it a zip archive, whatever it is called?"""
    return path.suffix == ".npz" or zipfile.is_zipfile(path)
