"""Write files and folders so that a reader sees the old state or the new one, never a half."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from export.errors import ExportError


def write_file(path: Path, data: bytes) -> None:
    """Write `data` to `path` through a temporary sibling, fsync and rename; an existing file is replaced.

    Raises:
        ExportError: the folder is missing, read-only or full; `path` is then as it was.
    """
    temporary = _temporary(path)
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`; see `write_file`."""
    write_file(path, text.encode())


@contextmanager
def new_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary sibling folder to fill; on success it becomes `path`, on any failure it is removed.

    Args:
        path: the folder to make.
        overwrite: replace an existing `path`. The caller decides whether what is there may go. The old folder is
            moved aside, and moved back when the new one cannot take its place.

    Raises:
        ExportError: `path` exists and `overwrite` is false, or the parent cannot be written.
    """
    if os.path.lexists(path) and not overwrite:
        raise ExportError(f"{path} exists already. Choose another name, or ask to overwrite it.")
    temporary = _temporary(path)
    try:
        temporary.mkdir()
        yield temporary
        _sync_tree(temporary)
        _take_place(temporary, path)
    except OSError as error:
        raise _refusal(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _temporary(path: Path) -> Path:
    """Return an unused name beside `path`, after checking that its folder may be written.

    A folder without any write bit is refused here because the superuser could write it all the same.
    """
    parent = path.absolute().parent
    if not parent.is_dir():
        raise ExportError(f"{parent} is not a folder; make it first, or choose another place for {path.name}.")
    if not stat.S_IMODE(parent.stat().st_mode) & 0o222:
        raise ExportError(f"the folder {parent} is read-only, so {path.name} cannot be written there.")
    return parent / f".{path.name}.{secrets.token_hex(4)}.part"


def _take_place(temporary: Path, path: Path) -> None:
    if not os.path.lexists(path):
        temporary.rename(path)
    else:
        aside = _temporary(path)
        path.rename(aside)
        try:
            temporary.rename(path)
        except BaseException:
            aside.rename(path)
            raise
        shutil.rmtree(aside)
    _sync_folder(path.absolute().parent)


def _sync_tree(folder: Path) -> None:
    for base, _, files in os.walk(folder):
        for name in files:
            with (Path(base) / name).open("rb") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(base))


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _refusal(path: Path, error: OSError) -> ExportError:
    return ExportError(f"cannot write {path}: {error}.")
