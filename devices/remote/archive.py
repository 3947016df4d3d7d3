"""The bundle of a job: a USTAR tar.gz with a manifest, named by its content, the same bytes for the same files."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass

from devices.errors import DeviceError

MANIFEST, SUMS = "manifest.json", "SHA256SUMS"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,80}")


@dataclass(frozen=True, eq=False)
class File:
    """One file of a bundle: its name, its bytes, and whether it is a program."""

    name: str
    data: bytes
    program: bool = False


@dataclass(frozen=True, eq=False)
class Archive:
    """A packed bundle.

    Attributes:
        id: first 16 hexadecimal digits of the SHA-256 of the manifest, which holds that of every file.
        sums: SHA-256 of SHA256SUMS, by which the board checks what arrived.
        data: the tar.gz.
    """

    id: str
    sums: str
    data: bytes


def pack(files: Iterable[File]) -> Archive:
    """Pack files.

    Raises:
        DeviceError: a name is no plain file name, is there twice, or is one of our own two.
    """
    ordered = sorted(files, key=lambda file: file.name)
    names = [MANIFEST, SUMS, *(file.name for file in ordered)]
    for name in names:
        if not _NAME.fullmatch(name) or names.count(name) > 1:
            raise DeviceError(f"'{name}' cannot be a file of a job's bundle: it is no plain name, or there twice.")
    manifest = _manifest(ordered)
    sums = "".join(f"{_sha256(file.data)}  {file.name}\n" for file in (*ordered, File(MANIFEST, manifest))).encode()
    data = _tar((*ordered, File(MANIFEST, manifest), File(SUMS, sums)))
    return Archive(_sha256(manifest)[:16], _sha256(sums), data)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _mode(file: File) -> int:
    return 0o755 if file.program else 0o644


def _manifest(files: list[File]) -> bytes:
    records = {
        file.name: {"mode": f"{_mode(file):o}", "sha256": _sha256(file.data), "size_bytes": len(file.data)}
        for file in files
    }
    return json.dumps({"schema": 1, "files": records}, sort_keys=True).encode() + b"\n"


def _tar(files: Iterable[File]) -> bytes:
    """Pack without names of users and without times, which would make every archive another one."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", mtime=0, filename="") as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for file in files:
            entry = tarfile.TarInfo(file.name)
            entry.size, entry.mode = len(file.data), _mode(file)
            tar.addfile(entry, io.BytesIO(file.data))
    return packed.getvalue()
