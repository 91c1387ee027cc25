"""Finding theorems: installed packages announce them through entry points (group ``tabular_fedrl.theorems``);
a file given on the command line is read as a module."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import pkgutil
import re
import sys
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from tabular_fedrl.claims.places import OWN_PAGES, line_of
from tabular_fedrl.claims.theorem import Theorem
from tabular_fedrl.errors import InvalidProblem

GROUP = "tabular_fedrl.theorems"


def theorems() -> dict[str, type[Theorem]]:
    """All announced theorems by id, in the order of their packages' modules."""
    found: dict[str, type[Theorem]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name):
        package = importlib.import_module(entry.value)
        for module in _modules(package):
            for theorem in in_module(module):
                if theorem.id in found and found[theorem.id] is not theorem:
                    raise InvalidProblem(f"two theorems share the id {theorem.id!r}")
                found[theorem.id] = theorem
    return found


def find(name: str) -> type[Theorem]:
    """The theorem with this id."""
    known = theorems()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else "; `tabular-fedrl list` shows them all"
        raise InvalidProblem(f"no theorem is called {name!r}{hint}")
    return known[name]


def select(name: str) -> list[type[Theorem]]:
    """What an argument names: an id, a prefix such as ``fednpg``, or a Python file of the user's own."""
    if name.endswith(".py"):
        return load_file(Path(name))
    known = theorems()
    if name in known:
        return [known[name]]
    below = [t for i, t in known.items() if i.startswith(name + ".")]
    return below or [find(name)]


def load_file(path: Path) -> list[type[Theorem]]:
    """The theorems defined in a Python file (it is executed, as any Python file one runs)."""
    if not path.is_file():
        what = "not a regular file" if path.exists() else "no such file"
        raise InvalidProblem(f"{path}: {what}")
    name = OWN_PAGES + re.sub(r"\W", "_", str(path.resolve()))
    module = sys.modules.get(name)
    if module is None:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise InvalidProblem(f"{path} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except (Exception, SystemExit) as error:
            del sys.modules[name]
            place = line_of(error, module.__file__)
            what = f"{type(error).__name__}: {error}{f' ({place})' if place else ''}"
            raise InvalidProblem(f"{path} cannot be loaded: {what}") from error
    found = in_module(module)
    if not found:
        raise InvalidProblem(f"{path} defines no subclass of Theorem with an id")
    return found


def in_module(module: ModuleType) -> list[type[Theorem]]:
    """Theorems defined (not merely imported) in a module, in the order they are written."""
    return [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and issubclass(value, Theorem)
        and "id" in vars(value)
        and value.__module__ == module.__name__
    ]


def _modules(package: ModuleType) -> list[ModuleType]:
    modules = [package]
    for info in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if info.name.rsplit(".", 1)[-1] != "template":
            modules.append(importlib.import_module(info.name))
    return modules
