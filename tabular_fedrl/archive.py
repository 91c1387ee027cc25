"""Arrays from ``.npz`` files of strangers: nothing is unpickled, and nothing is allocated before the declared
sizes have been checked."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from tabular_fedrl.errors import InvalidProblem

MAX_BYTES = 2**30
"""A file may unpack to at most this many bytes."""

MAX_TEXT = 1000
"""Characters of one text."""

WHAT = {"iu": "whole numbers", "b": "booleans", "biuf": "real numbers", "biufU": "real numbers", "U": "text"}
"""Kinds of entries by NumPy's letters, in words."""


def read_arrays(origin: str, kinds: Mapping[str, str]) -> tuple[dict[str, Any], list[str]]:
    """The arrays of a file whose names are in ``kinds`` (the letters of the kinds each may hold, a key of
    :data:`WHAT`), and the names of its other members.

    Raises
    ------
    InvalidProblem: naming the file and the key.
    """
    try:
        with zipfile.ZipFile(origin) as archive:
            members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
            wanted = {key: members[key] for key in kinds if key in members}
            total = sum(member.file_size for member in wanted.values())
            if total > MAX_BYTES:
                raise InvalidProblem(
                    f"{origin}: unpacks to {total:.3g} bytes, over the limit of {MAX_BYTES:.3g}"
                )
            arrays = {key: _read(origin, key, kinds[key], archive, member) for key, member in wanted.items()}
            return arrays, sorted(set(members) - set(wanted))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InvalidProblem(f"{origin}: truncated, corrupt or not an .npz file ({error})") from None
    except OSError as error:
        raise InvalidProblem(f"{origin}: cannot be read ({error.strerror or error})") from None


def _read(origin: str, key: str, kinds: str, archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Any:
    """One member: its header is compared with its size before the data are read."""
    with archive.open(member) as stream:
        try:
            version = np.lib.format.read_magic(stream)
            header = (
                np.lib.format.read_array_header_1_0
                if version == (1, 0)
                else np.lib.format.read_array_header_2_0
            )
            if version not in ((1, 0), (2, 0)):
                raise ValueError(f"array format {version} is unknown")
            shape, fortran, dtype = header(stream)
        except (ValueError, TypeError, SyntaxError) as error:
            raise InvalidProblem(
                f"{origin}: key {key!r} is not an array ({' '.join(str(error).split())})"
            ) from None
        if dtype.kind not in kinds or dtype.hasobject:
            raise InvalidProblem(f"{origin}: key {key!r} holds {dtype}, expected {WHAT[kinds]}")
        if dtype.kind == "U" and dtype.itemsize > 4 * MAX_TEXT:
            raise InvalidProblem(f"{origin}: key {key!r} holds texts of {dtype.itemsize // 4} characters")
        count = math.prod(int(n) for n in shape)
        if min(shape, default=0) < 0 or stream.tell() + count * dtype.itemsize != member.file_size:
            raise InvalidProblem(
                f"{origin}: key {key!r} declares {shape} of {dtype}, but {member.file_size} bytes are stored"
            )
        data = np.frombuffer(stream.read(), dtype=dtype, count=count)
    return data.reshape(shape, order="F" if fortran else "C")
