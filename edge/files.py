"""Files that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edge.errors import EdgeError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` when the block ends, remove it when the block fails.

    Raises:
        EdgeError: the folder is missing or cannot be written to.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    except OSError as error:
        raise EdgeError(f"cannot write {path}: {error.strerror or error}.") from error
    finally:
        with suppress(OSError):  # the part is gone after the rename, and cannot exist where the folder is unusable
            part.unlink()
