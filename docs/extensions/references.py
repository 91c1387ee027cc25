"""References to names that the site documents under another path, or not at all.

A name that a package exports is documented there, whatever module defines it; what only the inside of a
package uses is named without a link. A reference to something that does not exist stays a warning.
"""

from __future__ import annotations

import builtins
import sys
import types
import typing
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util.nodes import make_refnode

MISSING = object()
OWN = ("tabular_fedrl", "proofs_check")


@cache
def lookup(path: str) -> Any:
    """The object at a dotted path, :data:`MISSING` if there is none."""
    parts = path.split(".")
    for split in range(len(parts), 0, -1):
        try:
            found: Any = import_module(".".join(parts[:split]))
        except (ImportError, ValueError):
            continue
        for name in parts[split:]:
            annotations = getattr(found, "__annotations__", {})
            found = getattr(found, name, annotations.get(name, MISSING))
            if found is MISSING:
                break
        else:
            return found
    return MISSING


def candidates(node: pending_xref) -> Iterator[Any]:
    """What a reference may mean where it stands, nearest first."""
    target = node["reftarget"].removeprefix("~").removeprefix(".")
    module, inside = node.get("py:module"), node.get("py:class")
    if module and inside:
        yield lookup(f"{module}.{inside}.{target}")
    if module:
        yield lookup(f"{module}.{target}")
    yield lookup(target)
    if module:
        # A name of the module in which a re-exported object is defined.
        for name in sorted(sys.modules):
            if name.startswith(f"{module}."):
                yield lookup(f"{name}.{target}")
        if inside:
            home = getattr(lookup(f"{module}.{inside.split('.')[0]}"), "__module__", None)
            yield lookup(f"{home}.{target}") if home else MISSING
    for standard in (builtins, typing, types):
        yield getattr(standard, target, MISSING)


def resolve(
    app: Sphinx, env: BuildEnvironment, node: pending_xref, content: nodes.TextElement
) -> nodes.Node | None:
    if node.get("refdomain") != "py":
        return None
    found = next((x for x in candidates(node) if x is not MISSING), MISSING)
    if found is MISSING:
        return None
    place = _documented(env).get(id(found))
    if place is None:
        return content
    document, anchor, name = place
    return make_refnode(app.builder, node["refdoc"], document, anchor, content, name)


def _documented(env: BuildEnvironment) -> dict[int, tuple[str, str, str]]:
    """Where an object is documented, by its identity."""
    objects = env.domains.python_domain.objects
    return _by_identity(tuple((name, entry.docname, entry.node_id) for name, entry in objects.items()))


@cache
def _by_identity(entries: tuple[tuple[str, str, str], ...]) -> dict[int, tuple[str, str, str]]:
    places: dict[int, tuple[str, str, str]] = {}
    for name, document, anchor in entries:
        found = lookup(name)
        # A type alias may be anybody's object: only what is the project's own has its place here.
        own = getattr(found, "__module__", None) or getattr(found, "__name__", "")
        if isinstance(found, type | types.FunctionType | types.ModuleType) and own.startswith(OWN):
            places[id(found)] = (document, anchor, name)
    return places


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
