"""Numbers in small files of the kernel, under a root that tests and copies of a board's tree replace."""

from __future__ import annotations

import math
from pathlib import Path

from devices.errors import DeviceError
from devices.meters.meter import ReadText


def number(root: Path, path: str, read: ReadText, *, needs: str = "root") -> float:
    """Return the number in a file.

    Args:
        root: where the tree begins.
        path: the file, relative to the root.
        read: reads it.
        needs: who may read it where others may not, for the message.

    Raises:
        DeviceError: there is no such file, it may not be read, or it holds no finite number.
    """
    text = line(root, path, read, needs=needs)
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise DeviceError(f"/{path} holds {text[:40]!r}, which is no number")
    return value


def line(root: Path, path: str, read: ReadText, *, needs: str = "root") -> str:
    """Return the text of a file without the space around it; see `number`."""
    try:
        return read(root / path).strip()
    except PermissionError as error:
        raise DeviceError(f"/{path} cannot be read: permission denied (it needs {needs})") from error
    except OSError as error:
        raise DeviceError(f"/{path} cannot be read: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise DeviceError(f"/{path} holds no text") from error


def optional_number(root: Path, path: str, read: ReadText) -> float | None:
    """Return the number in a file, None where it says none."""
    try:
        return number(root, path, read)
    except DeviceError:
        return None


def optional_line(root: Path, path: str, read: ReadText) -> str | None:
    """Return the text of a file, None where there is none."""
    try:
        return line(root, path, read) or None
    except DeviceError:
        return None


def folders(root: Path, pattern: str) -> tuple[str, ...]:
    """Return the folders that match a pattern, relative to the root and sorted; links are followed."""
    return tuple(sorted(path.relative_to(root).as_posix() for path in root.glob(pattern) if path.is_dir()))


def exists(root: Path, path: str) -> bool:
    """Whether there is such a file."""
    return (root / path).exists()
