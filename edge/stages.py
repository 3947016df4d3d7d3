"""Stages that remember: one whose inputs did not change gives its stored result, so a run resumes where it stopped."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.errors import EdgeError
from export import strict_json
from export.atomic import write_text
from export.errors import ExportError

#: What the project itself is made of: its packages, and the endings of files that decide what a stage computes.
PACKAGES = ("quant", "export", "devices", "edge")
SOURCES = frozenset({".py", ".c", ".h", ".v", ".cpp", ".S", ".ld", ".mk"})
ROOT = Path(__file__).resolve().parents[1]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        EdgeError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise EdgeError(f"cannot read {path}: {error.strerror}.") from error


def code_digest(root: Path = ROOT, packages: tuple[str, ...] = PACKAGES) -> str:
    """Return the SHA-256 of the project's own sources in some packages, names included.

    Results of a stage depend on the code that made them, and a version number does not change with every commit.
    """
    digest = hashlib.sha256()
    for package in packages:
        for path in sorted((root / package).rglob("*")):
            if path.suffix in SOURCES and path.is_file():
                data = path.read_bytes()
                digest.update(f"{path.relative_to(root).as_posix()} {len(data)}\n".encode() + data)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Stages:
    """The stage results of one run folder. `say` tells the person what happens; `code` is `code_digest()`."""

    folder: Path
    say: Callable[[str], None]
    code: str

    def run(
        self,
        name: str,
        inputs: Mapping[str, object],
        compute: Callable[[], dict[str, Any]],
        outputs: Callable[[], Iterable[Path]] = tuple,
    ) -> dict[str, Any]:
        """Return the result of a stage, computed now or read back.

        Args:
            name: of the stage; also its file's.
            inputs: everything the result depends on besides the code, JSON-able (settings, digests of files read).
            compute: does the work and returns a JSON-able result; writes its files atomically.
            outputs: the files below the run folder that the stage leaves; they must be there, unchanged, for the
                stored result to count.
        """
        path = self.folder / "stages" / f"{name}.json"
        key = hashlib.sha256(json.dumps([self.code, inputs], sort_keys=True).encode()).hexdigest()
        stored = _stored(path)
        if stored is not None and stored["key"] == key and stored["files"] == self._digests(outputs()):
            self.say(f"{name}: unchanged, kept")
            result: dict[str, Any] = stored["result"]
            return result
        self.say(f"{name} ...")
        # Through JSON, so that a fresh result is what a later run reads back.
        fresh: dict[str, Any] = json.loads(strict_json.canonical(compute()))
        record = {"key": key, "files": self._digests(outputs()), "result": fresh}
        write_text(path, strict_json.canonical(record).decode())
        return fresh

    def _digests(self, paths: Iterable[Path]) -> dict[str, str]:
        return {
            path.relative_to(self.folder).as_posix(): file_digest(path) if path.is_file() else "missing"
            for path in paths
        }


def _stored(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        return strict_json.fields(strict_json.read(path), ("key", "files", "result"), str(path))
    except ExportError:
        # A damaged note is no reason to stop: the stage runs again.
        return None
