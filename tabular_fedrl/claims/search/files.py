"""What a search leaves on disk: the worst instances as instance files, and all it needs to go on as JSON.

``FILE.npz`` holds the instance with the largest ratio; where several claims are searched, ``FILE.CLAIM.npz``
the worst one of each. ``FILE.json`` says what was searched, the best points, and the state when the restart
under way began. A search goes on from there: it repeats the part of that restart which it had done, then
continues, so that a search that was interrupted ends like one that was not.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from tabular_fedrl import __version__
from tabular_fedrl.atomic import atomic_path
from tabular_fedrl.claims.search.climb import Climb, Point
from tabular_fedrl.claims.search.family import EpisodicShape, Shape
from tabular_fedrl.claims.search.space import Space
from tabular_fedrl.errors import InvalidProblem
from tabular_fedrl.instances import save

FORMAT = "tabular-fedrl search 1"


class SearchFile:
    """The files of one search; ``header``: what is searched, compared when resuming."""

    def __init__(self, path: str | os.PathLike[str], header: Mapping[str, Any]) -> None:
        self.path = Path(path)
        if self.path.suffix.lower() != ".npz":
            raise InvalidProblem(f"cannot write {self.path}: the name must end in .npz")
        # Refuse a place that cannot be written before the work, not after it.
        folder = self.path.resolve().parent
        if not folder.is_dir() or not os.access(folder, os.W_OK):
            raise InvalidProblem(
                f"cannot write {self.path}: the folder {folder} does not exist or is read-only"
            )
        self.state = self.path.with_suffix(".json")
        for target in (self.path, self.state):
            if target.exists() and not target.is_file():
                raise InvalidProblem(f"cannot write {target}: it is not a regular file")
        if self.path.exists() and self.path.stat().st_size and not self.state.exists():
            raise InvalidProblem(f"cannot write {self.path}: what is there is not from a search")
        self.header = {"format": FORMAT, "version": __version__, **header}

    def save(self, climb: Climb) -> None:
        """Write the instances, then the state; each whole or not at all."""
        names = [claim.name for claim in climb.objective.claims]
        worst = max(climb.best, key=lambda name: climb.best[name].ratio, default=None)
        for name, point in climb.best.items():
            problem = point.coding.decode(point.x[None])[0].problem(0)
            save(instance_path(self.path, name, names), problem)
            if name == worst and len(names) > 1:
                save(self.path, problem)
        evaluations, begun = climb.begun
        state = {
            **self.header,
            "restart": climb.restart,
            "evaluations": evaluations,
            "begun": {name: _plain(point) for name, point in begun.items()},
            "best": {name: _plain(point) for name, point in climb.best.items()},
        }
        with atomic_path(self.state) as path:
            path.write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")

    def load(self, climb: Climb) -> dict[str, Point]:
        """Put a search where its file left it, and give the best points of the file; nothing happens if there
        is no file."""
        if not self.state.exists():
            return {}
        try:
            state = json.loads(self.state.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InvalidProblem(f"{self.state} cannot be read: {error}") from None
        if not isinstance(state, dict) or state.get("format") != FORMAT:
            raise InvalidProblem(f"{self.state} is not the state of a search of this version ({FORMAT})")
        for key, mine in json.loads(json.dumps(self.header)).items():
            if state.get(key) != mine:
                raise InvalidProblem(f"{self.state} was searched with {key} = {state.get(key)}, not {mine}")
        try:
            climb.restart, climb.evaluations = int(state["restart"]), int(state["evaluations"])
            climb.best = {name: _point(climb.space, data) for name, data in state["begun"].items()}
            return {name: _point(climb.space, data) for name, data in state["best"].items()}
        except (KeyError, ValueError, TypeError, IndexError, AttributeError) as error:
            raise InvalidProblem(f"{self.state} is damaged: {error}") from None


def instance_path(out: Path, claim: str, claims: Sequence[str]) -> Path:
    """Where the worst instance of one of the claims is kept."""
    return out if len(claims) == 1 else out.with_suffix(f".{claim}.npz")


def _plain(point: Point) -> dict[str, Any]:
    coding = point.coding
    return {
        "ratio": point.ratio if np.isfinite(point.ratio) else None,
        "shape": asdict(coding.shape),
        "fixed": dict(coding.fixed),
        "free": list(coding.reals),
        "x": point.x.tolist(),
        "evaluations": point.evaluations,
    }


def _point(space: Space, data: Mapping[str, Any]) -> Point:
    sizes = {key: int(n) for key, n in data["shape"].items()}
    shape = EpisodicShape(**sizes) if "H" in sizes else Shape(**sizes)
    ranges = {name: r for name, c in space.choices.items() for r in c if isinstance(r, tuple)}
    free = {name: ranges[name] for name in data["free"] if name in ranges}
    coding = space.coding(shape, {**data["fixed"], **free})
    x = np.array(data["x"], dtype=np.float64)
    # Not projected again: that could move the last digit of a coordinate, and with it the instance.
    if x.shape != (coding.size,) or not (np.abs(coding.project(x[None])[0] - x) <= 1e-9).all():
        raise ValueError("the coordinates of a point do not fit its structure")
    ratio = np.inf if data["ratio"] is None else float(data["ratio"])
    return Point(ratio, coding, x, int(data["evaluations"]))
