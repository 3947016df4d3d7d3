"""The check that `quant`, `export` and `devices` are ours: their names are common, so another package may hide them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

NEIGHBOURS = ("quant", "export", "devices")


def check_neighbours() -> None:
    """Find the three packages without importing them.

    Raises:
        ImportError: one of them is missing beside `edge`, or another package of that name comes first.
    """
    home = Path(__file__).resolve().parent.parent
    for name in NEIGHBOURS:
        spec = find_spec(name)
        found = Path(spec.origin).resolve() if spec is not None and spec.origin else None
        wanted = home / name / "__init__.py"
        if found is None:
            raise ImportError(f"edgemill needs its package '{name}' at {wanted.parent}, but Python finds none there.")
        if found != wanted:
            raise ImportError(
                f"another package named '{name}' ({found.parent}) hides the one edgemill needs ({wanted.parent}). "
                "Start Python from another folder, rename that package, or install edgemill in its own environment."
            )
