"""Where benchmarks write: JSON with the machine and versions beside the figures, and a table to read."""

from __future__ import annotations

import datetime
import json
import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = Path(__file__).parent / "results"
PACKAGES = (
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "torch",
    "nncf",
    "brevitas",
    "ai-edge-litert",
    "tflite-runtime",
    "tflite-micro",
)


def environment() -> dict[str, object]:
    """Return machine, versions, load and date: what a figure depends on, and nothing that names a place."""
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average_1min": round(os.getloadavg()[0], 2),
        "packages": {name: found for name in PACKAGES if (found := _version(name)) is not None},
    }


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def write_results(name: str, record: Mapping[str, object], table: str) -> None:
    """Write `results/<name>.json` and `results/<name>.md`."""
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.json").write_text(json.dumps(record, indent=1, sort_keys=True) + "\n")
    (FOLDER / f"{name}.md").write_text(table)
    print(f"written: {name}.json, {name}.md")
