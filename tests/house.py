"""The project's own files, for tests that look at the house as a whole."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
#: From left to right: each may import itself and what stands before it.
PACKAGES = ("quant", "export", "devices", "edge")
SOURCES = (".py", ".c", ".h", ".v", ".in", ".txt", ".html", ".css", ".js")


def files(*folders: str, endings: tuple[str, ...] = (".py",)) -> list[Path]:
    """Return the project's files with these endings below these folders, sorted."""
    found = (path for folder in folders for path in (ROOT / folder).rglob("*"))
    return sorted(p for p in found if p.suffix in endings and p.is_file() and "__pycache__" not in p.parts)


def label(path: object) -> str:
    """Name a parametrised case after its file."""
    return path.relative_to(ROOT).as_posix() if isinstance(path, Path) else str(path)


def imported(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Return the full names that a module imports, wherever in it, with the line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"a relative import at line {node.lineno}"
            yield node.module or "", node.lineno
