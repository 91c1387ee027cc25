"""The pages that follow from the code: the theorems by folder, the reference by module."""

from __future__ import annotations

import inspect
import pkgutil
import re
import shutil
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx
from sphinx.errors import PycodeError
from sphinx.pycode import ModuleAnalyzer

import proofs_check
import tabular_fedrl
from tabular_fedrl.claims import Theorem, theorems
from tabular_fedrl.claims.discovery import in_module
from tabular_fedrl.report.references import named, references_for
from tabular_fedrl.report.words import KINDS, MARKS

LIBRARY = tabular_fedrl.__name__
PROOFS = proofs_check.__name__


def pages() -> dict[str, str]:
    """Text of every generated page, by its name."""
    folders = [m for m in _children(PROOFS) if hasattr(m, "__path__")]
    modules = list(_children(LIBRARY))
    return {
        "theorems": "\n".join(_theorems(folders)),
        **{f"theorems-{_last(m)}": "\n".join(_folder(m)) for m in folders},
        "reference": "\n".join(_reference(modules)),
        **{f"reference-{_last(m)}": "\n".join(_module(m)) for m in modules},
    }


# ---- theorems ----------------------------------------------------------------------------------------
def _theorems(folders: Sequence[ModuleType]) -> Iterator[str]:
    yield from _title("Theorems", "=")
    found = theorems().values()
    yield f"The package carries {len(found)} theorems in ``{PROOFS}``. A mark says where each comes from:"
    yield ""
    yield from (f"* **{mark}**: {meaning}." for mark, meaning in MARKS.items())
    yield from ["", "A claim is of one of these kinds:", ""]
    yield from (f"* *{kind}*: {meaning}." for kind, meaning in KINDS.items())
    yield from [
        "",
        "What was verified on which instances, and how closely, is in the report of ``make verify``.",
        "",
    ]
    yield from [".. toctree::", "   :maxdepth: 1", ""]
    yield from (f"   theorems-{_last(folder)}" for folder in folders)
    yield ""
    for folder in folders:
        inside = [t for t in found if t.__module__.startswith(f"{folder.__name__}.")]
        yield from _title(_last(folder), "-")
        yield from _table(
            ("id", "mark", "statement"),
            [(f":ref:`{t.id} <theorem-{t.id}>`", str(t.mark), _first(t)) for t in inside],
        )


def _folder(folder: ModuleType) -> Iterator[str]:
    yield from _title(_last(folder), "=")
    yield from _automodule(folder)
    for module in _children(folder.__name__):
        found = in_module(module)
        if not found:
            yield from _title(module.__name__, "-")
        for number, theorem in enumerate(found):
            yield from [f".. _theorem-{theorem.id}:", ""]
            yield from _title(theorem.id, "-")
            if not number:
                yield from _automodule(module)
            yield from _theorem(theorem)
        if not found:
            yield from _automodule(module)


def _theorem(theorem: type[Theorem]) -> Iterator[str]:
    yield from [f".. autoclass:: {theorem.__module__}.{theorem.__name__}", "   :no-members:", ""]
    yield from [f"Mark: **{theorem.mark}**.", ""]
    if theorem.claims():
        rows = [(f"``{c.name}``", c.kind.value, f":math:`{c.statement}`") for c in theorem.claims()]
        yield from _table(("claim", "kind", "statement"), rows)
    chains = [f"``{c.of}``" for c in theorem.chains()]
    if chains:
        yield from [f"The proof of {', '.join(chains)} is checked link by link.", ""]
    yield from _listed("Hypotheses", [_plain(h.text) for h in theorem.hypotheses()])
    yield from _listed(
        "Controls, which must fail", [f"``{c.name}``: {_plain(c.shows)}" for c in theorem.controls()]
    )
    cited = named(inspect.getdoc(theorem) or "", references_for(theorem))
    yield from _listed("References", [_plain(str(reference)) for reference in cited])
    yield from [".. code-block:: shell", "", f"   tabular-fedrl verify {theorem.id}", ""]


def _first(theorem: type[Theorem]) -> str:
    """First sentence of a page, as it is written (it may hold mathematics)."""
    return theorem.title()


# ---- reference ---------------------------------------------------------------------------------------
def _reference(modules: Sequence[ModuleType]) -> Iterator[str]:
    yield from _title("Reference", "=")
    yield (
        "What a package exports is documented where it is imported from; below it stand the modules inside, "
        "with what they are for. Imports run only downwards in the list of ``pyproject.toml``."
    )
    yield from ["", ".. toctree::", "   :hidden:", ""]
    yield from (f"   reference-{_last(module)}" for module in modules)
    yield ""
    rows = [(f":doc:`{m.__name__} <reference-{_last(m)}>`", _summary(m)) for m in modules]
    yield from _table(("module", "what"), rows)


def _module(module: ModuleType) -> Iterator[str]:
    yield from _title(module.__name__, "=")
    exported = getattr(module, "__all__", None)
    if exported is None and not hasattr(module, "__path__"):
        yield from [f".. automodule:: {module.__name__}", "   :members:", ""]
        return
    yield from _automodule(module)
    for name in exported or ():
        yield from _exported(module, name)
    inside = list(_below(module))
    if inside:
        yield from _title("Modules inside", "-")
    for child in inside:
        yield from _title(child.__name__.removeprefix(f"{module.__name__}."), "~")
        # A function may have the name of the module that defines it; a reference then means the function.
        yield from _automodule(child, index=_last(child) not in (exported or ()))


def _exported(module: ModuleType, name: str) -> Iterator[str]:
    """One name of ``__all__``."""
    thing = getattr(module, name)
    if inspect.isclass(thing):
        yield from [f".. autoclass:: {module.__name__}.{name}", "   :members:", ""]
    elif inspect.isroutine(thing):
        yield from [f".. autofunction:: {module.__name__}.{name}", ""]
    elif not inspect.ismodule(thing):
        # The sentence below a constant stands only where it is assigned.
        home = next((m for m in (module, *_below(module)) if name in _constants(m.__name__)), module)
        yield from [f".. autodata:: {home.__name__}.{name}", "   :no-value:", ""]


@cache
def _constants(module: str) -> frozenset[str]:
    """Constants that have a sentence below them."""
    try:
        documented = ModuleAnalyzer.for_module(module).find_attr_docs()
    except PycodeError:
        return frozenset()
    return frozenset(name for owner, name in documented if not owner)


# ---- pieces ------------------------------------------------------------------------------------------
def _children(package: str) -> Iterator[ModuleType]:
    parent = import_module(package)
    for info in pkgutil.iter_modules(parent.__path__, f"{package}."):
        if not info.name.endswith(".__main__"):
            yield import_module(info.name)


def _below(module: ModuleType) -> Iterator[ModuleType]:
    if hasattr(module, "__path__"):
        for child in _children(module.__name__):
            yield child
            yield from _below(child)


def _last(module: ModuleType) -> str:
    return module.__name__.rsplit(".", 1)[-1]


def _automodule(module: ModuleType, index: bool = True) -> list[str]:
    return [
        f".. automodule:: {module.__name__}",
        "   :no-members:",
        *([] if index else ["   :no-index:"]),
        "",
    ]


def _summary(module: ModuleType) -> str:
    """First sentence of a module, in one line; a role means nothing outside its module."""
    first = " ".join((inspect.getdoc(module) or "").split("\n\n")[0].split())
    return re.sub(r":(?!math)\w+:`~?([^`]+)`", r"``\1``", first)


def _title(text: str, line: str) -> list[str]:
    return [text, line * len(text), ""]


def _plain(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([\\*`|_])", r"\\\1", " ".join(text.split()))


def _listed(title: str, items: Sequence[str]) -> list[str]:
    return [f"{title}:", "", *(f"* {item}" for item in items), ""] if items else []


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield from [".. list-table::", "   :header-rows: 1", ""]
    for row in (head, *rows):
        for position, cell in enumerate(row):
            yield f"   {'*' if not position else ' '} - {cell}"
    yield ""


def write(app: Sphinx) -> None:
    folder = Path(app.srcdir, "_generated")
    texts = {folder / f"{name}.rst": text for name, text in pages().items()}
    if folder.is_dir():
        for path in folder.iterdir():
            if path not in texts:
                path.unlink() if path.is_file() else shutil.rmtree(path)
    folder.mkdir(exist_ok=True)
    for path, text in texts.items():
        # An unchanged page keeps its time, so that a second build is short.
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("builder-inited", write)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
