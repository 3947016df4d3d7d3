"""TensorRT as a runtime: it executes on a Jetson, so that nothing is verified with it on this machine."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from devices.errors import DeviceError
from export.jetson_profiles import PROFILES
from export.jetson_selftest import DEFAULT_TOOL
from export.runtimes.session import Runtime, Session
from quant.graph import Graph


def missing() -> str | None:
    """Return None when this machine has a trtexec, else the reason and what to do."""
    tool = os.environ.get("TRTEXEC") or shutil.which("trtexec") or DEFAULT_TOOL
    if shutil.which(tool):
        return None
    return "no trtexec here: install edgemill on the board, or add it to boards.toml"


def _open(folder: Path, name: str, graph: Graph) -> Session:
    raise DeviceError(
        f"'{name}': TensorRT is not opened on this machine; the part's selftest.py compares its outputs on the board, "
        "and ONNX Runtime verifies the file here."
    )


#: Not in `devices.runtimes.RUNTIMES`: nothing can be verified with them.
RUNTIMES = tuple(
    Runtime(name=f"trtexec-{profile.target}", target=profile.target, exact=False, missing=missing, open=_open)
    for profile in PROFILES
)
