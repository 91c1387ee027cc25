"""Everything a SOURCE can name: families, textbook examples, Gymnasium's tables, files.

:func:`load` reads the source of a discounted problem, :func:`load_episodic` that of a finite-horizon one,
:func:`load_exact` a discounted one in exact rationals and :func:`load_any` whatever it is; :func:`notes` says
what was chosen on the way, :func:`save` writes a file.
"""

from __future__ import annotations

import os

from tabular_fedrl.episodic import FederatedEpisodicMDP
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances.drn_writer import write_drn
from tabular_fedrl.instances.episodic_families import episodic_families
from tabular_fedrl.instances.episodic_suites import SUITES
from tabular_fedrl.instances.families import Family, families, garnet, random_mdp, windy_cliff
from tabular_fedrl.instances.files import write_npz
from tabular_fedrl.instances.gym import GYM
from tabular_fedrl.instances.loading import Problem, load, load_any, load_episodic, load_exact
from tabular_fedrl.instances.neighbours import grid, ring
from tabular_fedrl.instances.source import read_source
from tabular_fedrl.instances.textbook import TEXTBOOK, Answer, Textbook


def notes(source: str | os.PathLike[str]) -> list[str]:
    """Sentences on the choices made for a source: where thresholds come from, what was made absorbing or
    rescaled."""
    return read_source(source)[1]


def save(path: str | os.PathLike[str], problem: Problem) -> None:
    """Write a problem to ``.npz`` or, a discounted one, to ``.drn``, by the name's ending; the file appears
    whole or not at all.

    Raises
    ------
    InvalidProblem: unknown ending, a place that cannot be written, or a problem the format cannot hold.
    """
    name = os.fspath(path)
    ending = os.path.splitext(name)[1].lower()
    if ending not in (".npz", ".drn"):
        raise InvalidProblem(f"cannot write {name}: the name must end in .npz or .drn")
    whole = load_any(problem)
    try:
        if ending == ".npz":
            write_npz(name, whole)
        elif isinstance(whole, FederatedEpisodicMDP):
            raise InvalidProblem(f"cannot write {name}: a finite-horizon problem goes into an .npz file")
        else:
            write_drn(name, whole)
    except OSError as error:
        raise InvalidProblem(f"cannot write {name}: {error.strerror or error}") from None


__all__ = [
    "load", "load_any", "load_episodic", "load_exact", "notes", "save", "Problem",
    "families", "episodic_families", "SUITES", "Family",
    "random_mdp", "windy_cliff", "garnet", "ring", "grid",
    "TEXTBOOK", "Textbook", "Answer", "GYM",
]  # fmt: skip
