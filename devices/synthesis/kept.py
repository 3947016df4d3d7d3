"""Results of synthesis, kept by a digest of everything they depend on, with reports and bitstream."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from devices import strict
from devices.circuit import Circuit, circuit_from_record
from devices.errors import DeviceError
from devices.synthesis.core import Core
from devices.synthesis.device import Fpga
from devices.synthesis.family import find_family
from export.atomic import new_folder, write_text
from export.errors import ExportError

#: Goes up when the flow finds something else in the same files.
SCHEMA = 1
RESULT = "circuit.json"


def key(core: Core, fpga: Fpga, seed: int, versions: Mapping[str, str]) -> str:
    """Return a digest of what a result depends on: files, device, options, versions of the tools, seed."""
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in core.files}
    parts = (SCHEMA, core.top, files, asdict(fpga), asdict(find_family(fpga.family)), dict(versions), seed)
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:32]


def read(folder: Path) -> Circuit | None:
    """Return a result that is kept, None where there is none or it is damaged."""
    try:
        return circuit_from_record(strict.parse_object((folder / RESULT).read_bytes(), RESULT), RESULT)
    except (OSError, DeviceError):
        return None


def write(circuit: Circuit, work: Path, folder: Path) -> None:
    """Keep a result, with the tools' reports and the bitstream of the work folder.

    Raises:
        DeviceError: the folder cannot be written.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with new_folder(folder, overwrite=True) as made:
            write_text(made / RESULT, json.dumps(asdict(circuit), indent=1, sort_keys=True) + "\n")
            for path in sorted(work.iterdir()):
                if path.name in ("flat.json", "layers.json", "report.json") or path.suffix == ".bit":
                    shutil.copyfile(path, made / path.name)
    except (OSError, ExportError) as error:
        raise DeviceError(f"the result cannot be kept in {folder}: {error}. Set XDG_CACHE_HOME to another.") from error
