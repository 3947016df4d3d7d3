"""Small files of a device, fetched over a link and laid out here as they lie there, for whatever reads a root."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from devices.errors import DeviceError


def unpack(answer: bytes, folder: Path) -> tuple[str, ...]:
    """Write the files of an answer under a folder.

    Args:
        answer: `file /NAME` and the file's lines, each behind a `=`, or `denied /NAME`: what `remote.scripts.READ`
            writes.
        folder: where they go; a file /sys/x becomes folder/sys/x.

    Returns:
        The files that the device did not let us read.

    Raises:
        DeviceError: a name is not absolute or leads out of the folder, or a line is of none of these forms.
    """
    denied: list[str] = []
    found: dict[str, list[bytes]] = {}
    current: list[bytes] | None = None
    for line in answer.splitlines():
        if line.startswith(b"=") and current is not None:
            current.append(line[1:])
            continue
        kind, _, name = line.decode(errors="replace").partition(" ")
        if kind not in ("file", "denied") or not _plain(name):
            raise DeviceError(f"the device answered '{line[:80].decode(errors='replace')}' when asked for its files.")
        current = found.setdefault(name, []) if kind == "file" else None
        denied += [name] if kind == "denied" else []
    for name, lines in found.items():
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"".join(line + b"\n" for line in lines))
    return tuple(denied)


def _plain(name: str) -> bool:
    parts = PurePosixPath(name).parts
    return name.startswith("/") and ".." not in parts and "\0" not in name and len(parts) > 1
