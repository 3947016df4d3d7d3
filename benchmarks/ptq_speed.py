"""Wall time and peak memory of quantising EfficientNet-Lite0 with 256 images: our presets beside ONNX Runtime's MinMax.

Run by `python -m benchmarks.ptq --timing`: every measurement in a new process, interleaved.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.networks import Network, efficientnet_calibration
from benchmarks.results import environment, write_results

IMAGES, ROUNDS = 256, 3
PEER = "ort minmax"
#: Largest ratio to the peer's wall time each preset may take.
LIMITS = {"edgemill fast": 1.2, "edgemill default": 3.0}
MEMORY_LIMIT_BYTES = 4 * 10**9


def time_presets(data: Path, work: Path) -> None:
    """Measure, print and write `results/ptq_speed.*`."""
    environment_before = environment()
    rows = []
    for index in range(ROUNDS):
        for tool in (PEER, *LIMITS):
            row = {"round": index, "tool": tool, "load_average": os.getloadavg()[0], **_child(data, work, tool)}
            rows.append(row)
            print(f"round {index}, {tool}: {row['wall_s']:.1f} s, {row['peak_bytes'] / 1e9:.2f} GB", flush=True)
    ratios = {tool: _ratios(rows, tool) for tool in LIMITS}
    record = {"environment": environment_before, "images": IMAGES, "results": rows, "ratios": ratios}
    write_results("ptq_speed", record, _table(rows, ratios))


def _child(data: Path, work: Path, tool: str) -> dict[str, Any]:
    target = work / "timing.json"
    command = [sys.executable, "-m", "benchmarks.ptq_speed", "--data", str(data), "--out", str(target), tool]
    subprocess.run(command, check=True)
    found: dict[str, Any] = json.loads(target.read_text())
    return found


def _ratios(rows: list[dict[str, Any]], tool: str) -> list[float]:
    """Return the tool's time over the peer's, round by round."""
    times = {name: [row["wall_s"] for row in rows if row["tool"] == name] for name in (tool, PEER)}
    return [ours / peer for ours, peer in zip(times[tool], times[PEER], strict=True)]


def _table(rows: list[dict[str, Any]], ratios: dict[str, list[float]]) -> str:
    load = max(row["load_average"] for row in rows)
    lines = [
        f"# Time to quantise EfficientNet-Lite0 to w8a8 with {IMAGES} images",
        "",
        f"{ROUNDS} rounds, interleaved, every measurement in a new process; imports and reading of images not counted. "
        f"Largest load average before a measurement: {load:.1f} on {os.cpu_count()} cores.",
        "",
        "| tool | median wall | min | max | median CPU | peak memory | wall over MinMax, by round | limit |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for tool in (PEER, *LIMITS):
        group = [row for row in rows if row["tool"] == tool]
        wall, cpu = [row["wall_s"] for row in group], [row["cpu_s"] for row in group]
        peak = max(row["peak_bytes"] for row in group) / 1e9
        by_round = " ".join(f"{ratio:.2f}" for ratio in ratios.get(tool, []))
        lines.append(
            f"| {tool} | {statistics.median(wall):.1f} s | {min(wall):.1f} s | {max(wall):.1f} s | "
            f"{statistics.median(cpu):.1f} s | {peak:.2f} GB | {by_round} | {LIMITS.get(tool, '')} |"
        )
    lines += ["", f"Memory limit for ours: {MEMORY_LIMIT_BYTES / 1e9:.0f} GB, inputs included.", ""]
    return "\n".join(lines)


def main() -> None:
    """Time one tool once, and write what it took."""
    import onnxruntime  # noqa: F401 imports are not timed
    import torch  # noqa: F401

    from benchmarks.ptq_case import quantise_case
    from benchmarks.ptq_plan import Case

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("tool")
    options = parser.parse_args()
    path, inputs = efficientnet_calibration(options.data, IMAGES)
    network = Network("efficientnet_lite0", path, inputs, inputs[:0], inputs[:0], "")
    with tempfile.TemporaryDirectory() as folder:
        begin, cpu = time.perf_counter(), time.process_time()
        quantise_case(Case("efficientnet_lite0", "w8a8", options.tool, 0), network, Path(folder))
        record = {
            "wall_s": time.perf_counter() - begin,
            "cpu_s": time.process_time() - cpu,
            "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        }
    options.out.write_text(json.dumps(record))


if __name__ == "__main__":
    main()
