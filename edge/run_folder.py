"""The folder of a run, held by one process at a time: made when it is not there, cleared of what a killed run left."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.errors import EdgeError

#: Temporary names of `export.atomic`; only a killed process leaves one behind.
_LEFTOVER = re.compile(r"\..+\.[0-9a-f]{8}\.part")
RUN_PARTS = ("stages", "bundles")


@contextmanager
def hold(folder: Path, parts: tuple[str, ...] = RUN_PARTS) -> Iterator[Path]:
    """Give a run folder with its sub-folders to this process; what is still empty at the end goes again.

    Raises:
        EdgeError: the folder cannot be made or written, or another process works in it.
    """
    made = _make(folder)
    places = (folder, *(folder / part for part in parts))
    handle = None
    try:
        handle = _locked(folder)
        _prepare(places, folder)
        yield folder
    finally:
        if handle is not None:
            os.close(handle)
        _remove_empty((*places[1:], *made))


def _make(folder: Path) -> list[Path]:
    """Make a folder and the parents it needs; returns the new ones, deepest first."""
    absolute = folder.absolute()
    new = [place for place in (absolute, *absolute.parents) if not place.exists()]
    there = new[-1].parent if new else absolute
    if there.is_dir() and not there.stat().st_mode & 0o222:
        raise EdgeError(f"the folder {there} is read-only, so no run can work in {folder}; choose another one with -o.")
    try:
        absolute.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _remove_empty(new)
        raise _refusal(folder, error) from error
    return new


def _locked(folder: Path) -> int:
    """Return a handle that locks the folder until it is closed; the kernel closes it however the process ends."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if isinstance(error, BlockingIOError):
            raise EdgeError(f"another edgemill works in {folder}; wait, or choose another folder with -o.") from error
        raise _refusal(folder, error) from error
    return handle


def _prepare(parts: tuple[Path, ...], folder: Path) -> None:
    try:
        for part in parts:
            part.mkdir(exist_ok=True)
            for path in part.iterdir():
                if _LEFTOVER.fullmatch(path.name):
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
    except OSError as error:
        raise _refusal(folder, error) from error


def _remove_empty(folders: tuple[Path, ...] | list[Path]) -> None:
    for place in folders:
        if place.is_dir() and not any(place.iterdir()):
            place.rmdir()


def _refusal(folder: Path, error: OSError) -> EdgeError:
    return EdgeError(f"the run folder {folder} cannot be used: {error.strerror or error}. Choose another one with -o.")
