"""Small files of the kernel, under a root that may be a device's tree fetched elsewhere: a value, or None."""

from __future__ import annotations

import re
from pathlib import Path


def text(path: Path) -> str | None:
    """Return the first line of a file without blanks and NULs; None when it is absent, unreadable or empty."""
    try:
        lines = path.read_bytes().decode("utf-8", "replace").replace("\0", "").splitlines()
    except OSError:
        return None
    return (lines[0].strip() or None) if lines else None


def raw(path: Path) -> str | None:
    """Return a whole file as text, its NULs included; None when it is absent or unreadable."""
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError:
        return None


def integer(path: Path) -> int | None:
    """Return the integer in a file; None when there is none. Hexadecimal only with 0x in front."""
    found = text(path)
    try:
        return None if found is None else int(found, 0)
    except ValueError:
        return None


def in_order(path: Path) -> tuple[object, ...]:
    """Key that sorts paths as people do: policy2 before policy10."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", str(path)))
