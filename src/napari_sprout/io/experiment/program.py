"""Which state of the program measures: results of another state must not pass for its own."""

from __future__ import annotations

import ast
import hashlib
from functools import cache
from importlib.resources import files
from typing import Final

from ..._version import __version__

_PACKAGE: Final = "napari_sprout"
# What reads an image, labels it and scores it rests on these.
_ROOTS: Final = (
    *("core.session", "core.metrics", "core.baseline", "core.alterations"),
    *("core.prompt_quality", "models.weights", "io.images", "io.labels"),
    "io.experiment.measure",
)
# The values of all settings are part of a cell's key, whatever code makes or names them; and
# how cells are listed, stored and reported changes none.
_APART: Final = (
    *("_version", "errors", "core.settings", "core.settings_fields", "core.settings_groups"),
    *("core.presets", "core.provenance", "io.atomic", "io.failures", "io.experiment.cells"),
    "io.experiment.plan",
)


@cache
def program_state() -> str:
    """Return the version, and a hash of the code on which measurements rest.

    The version alone would not do while the program is being developed. Comments,
    docstrings and layout do not count, nor does code that changes no measurement.
    """
    sources: dict[str, str] = {}
    waiting = list(_ROOTS)
    while waiting:
        module = waiting.pop()
        if module not in sources and module not in _APART:
            tree = ast.parse(_source(module))
            waiting += _imported(tree, module)
            sources[module] = _bare(tree)
    text = "\n".join(f"{module} {sources[module]}" for module in sorted(sources))
    return f"{__version__} {hashlib.sha256(text.encode()).hexdigest()[:16]}"


def _source(module: str) -> str:
    *folders, name = module.split(".")
    place = files(_PACKAGE).joinpath(*folders)
    file, folder = place.joinpath(f"{name}.py"), place.joinpath(name, "__init__.py")
    return (file if file.is_file() else folder).read_text(encoding="utf-8")


def _exists(module: str) -> bool:
    *folders, name = module.split(".")
    place = files(_PACKAGE).joinpath(*folders)
    candidates = (place.joinpath(f"{name}.py"), place.joinpath(name, "__init__.py"))
    return any(path.is_file() for path in candidates)


def _imported(tree: ast.Module, module: str) -> list[str]:
    """Return the modules of this package that a module imports, by relative imports."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = module.split(".")[: -node.level]
            names = [*base, *(node.module.split(".") if node.module else [])]
            found += [".".join([*names, alias.name]) for alias in node.names]
            found.append(".".join(names))
    return [name for name in found if name and _exists(name)]


def _bare(tree: ast.Module) -> str:
    """Return the code without docstrings, comments and places."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            documented = ast.get_docstring(node, clean=False) is not None
            node.body = node.body[documented:]
    return ast.dump(tree)
