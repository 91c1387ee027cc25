"""Everything a SOURCE can name: families, textbook examples, Gymnasium's tables, files.

:func:`load` reads a source, :func:`load_exact` does so in exact rationals, :func:`notes` says what was
chosen on the way, :func:`save` writes a file.
"""

from __future__ import annotations

import os

from tabular_fedrl.cmdp import CMDP, FederatedCMDP, federated
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.drn_writer import write_drn
from tabular_fedrl.instances.families import Family, families, garnet, random_mdp, windy_cliff
from tabular_fedrl.instances.files import write_npz
from tabular_fedrl.instances.gym import GYM
from tabular_fedrl.instances.neighbours import grid, ring
from tabular_fedrl.instances.rational import load_exact
from tabular_fedrl.instances.source import read_source
from tabular_fedrl.instances.textbook import TEXTBOOK, Answer, Textbook


def load(source: str | os.PathLike[str]) -> FederatedCMDP:
    """The problem that a SOURCE names (see :mod:`tabular_fedrl.instances.source` for the syntax).

    Raises
    ------
    InvalidProblem: one line that names the place.
    """
    return read_source(source)[0]


def notes(source: str | os.PathLike[str]) -> list[str]:
    """Sentences on the choices made for a source: where thresholds come from, what was made absorbing or
    rescaled."""
    return read_source(source)[1]


def save(path: str | os.PathLike[str], problem: CMDP | FederatedCMDP) -> None:
    """Write a problem to ``.npz`` or ``.drn``, by the name's ending; the file appears whole or not at all.

    Raises
    ------
    InvalidProblem: unknown ending, a place that cannot be written, or a problem the format cannot hold.
    """
    name = os.fspath(path)
    writers = {".npz": write_npz, ".drn": write_drn}
    ending = os.path.splitext(name)[1].lower()
    if ending not in writers:
        raise InvalidProblem(f"cannot write {name}: the name must end in .npz or .drn")
    try:
        writers[ending](name, federated(problem))
    except OSError as error:
        raise InvalidProblem(f"cannot write {name}: {error.strerror or error}") from None


__all__ = [
    "load", "load_exact", "notes", "save",
    "families", "Family", "random_mdp", "windy_cliff", "garnet", "ring", "grid",
    "TEXTBOOK", "Textbook", "Answer", "GYM",
]  # fmt: skip
