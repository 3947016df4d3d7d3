"""The golden energy traces of MLPerf Tiny and what was published of them; absent data skip the test with the reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from devices.meters.trace import Trace
from devices.meters.trace_file import read_trace

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "energy"
NAMES = ("ic", "kws")
INFERENCES = {"ic": 100, "kws": 300}


def folder(name: str) -> Path:
    """Return the folder of one network's trace, or skip."""
    if not (FOLDER / name / "trace1-energy.bin").exists():
        pytest.skip(f"the golden energy trace of {name} is not here")
    return FOLDER / name


def golden(name: str) -> Trace:
    """Return one trace with its marks."""
    return read_trace(folder(name) / "trace1-energy.bin")


def published(name: str) -> tuple[float, ...]:
    """Return the published J of every window."""
    text = (folder(name) / "results.txt").read_text()
    return tuple(float(found) * 1e-6 for found in re.findall(r"Energy +: +([\d.]+) uJ", text))
