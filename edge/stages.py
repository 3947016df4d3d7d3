"""Stages that remember: one whose inputs did not change gives its stored result, so a run resumes where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export import strict_json
from export.atomic import write_text
from export.errors import ExportError
from export.manifest import VERSION


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@dataclass(frozen=True, slots=True)
class Stages:
    """The stage results of one run folder. `say` tells the person what happens."""

    folder: Path
    say: Callable[[str], None]

    def run(
        self,
        name: str,
        inputs: Mapping[str, object],
        compute: Callable[[], dict[str, Any]],
        outputs: Callable[[], tuple[Path, ...]] = tuple,
    ) -> dict[str, Any]:
        """Return the result of a stage, computed now or read back.

        Args:
            name: of the stage; also its file's.
            inputs: everything the result depends on, JSON-able (settings, digests of files read).
            compute: does the work and returns a JSON-able result; writes its files atomically.
            outputs: the files the stage leaves; they must be there, unchanged, for the stored result to count.
        """
        path = self.folder / "stages" / f"{name}.json"
        key = hashlib.sha256(json.dumps([VERSION, inputs], sort_keys=True).encode()).hexdigest()
        stored = _stored(path)
        if stored is not None and stored.get("key") == key and stored.get("files") == _digests(outputs()):
            self.say(f"{name}: unchanged, kept")
            result: dict[str, Any] = stored["result"]
            return result
        self.say(f"{name} ...")
        # Through JSON, so that a fresh result is what a later run reads back.
        fresh: dict[str, Any] = json.loads(strict_json.canonical(compute()))
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"key": key, "files": _digests(outputs()), "result": fresh}
        write_text(path, strict_json.canonical(record).decode())
        return fresh


def _digests(paths: tuple[Path, ...]) -> dict[str, str]:
    return {path.name: file_digest(path) if path.is_file() else "missing" for path in paths}


def _stored(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return strict_json.read(path)
    except ExportError:
        # A damaged note is no reason to stop: the stage runs again.
        return None
