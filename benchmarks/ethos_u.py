"""What Vela expects of Ethos-U for the real networks: cycles, memory, and what stays on the CPU.

    python -m benchmarks.ethos_u --data FOLDER

Estimates by Arm's compiler at its reference systems, not measurements. Writes `benchmarks/results/ethos_u.json` and
`.md`.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.networks import Network, efficientnet, keyword_spotting, resnet8, resnet20
from benchmarks.results import environment, write_results
from export import ethos_u
from export.target import Source
from export.vela import NPUS
from quant.onnx_import import load_onnx
from quant.program import lower
from quant.ptq import quantise
from quant.reference import quantise_input, run
from quant.scheme import parse_scheme

NETWORKS: tuple[Callable[[Path], Network], ...] = (resnet8, keyword_spotting, resnet20, efficientnet)
SCHEME, CALIBRATION = "w8a8", 64
Row = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    rows: list[Row] = []
    for load in NETWORKS:
        rows += _network(load(data))
    record = {"environment": environment(), "scheme": SCHEME, "npus": [asdict(npu) for npu in NPUS], "rows": rows}
    write_results("ethos_u", record, _table(rows))


def _network(network: Network) -> list[Row]:
    graph = quantise(load_onnx(network.path), parse_scheme(SCHEME), network.calibration[:CALIBRATION])
    codes = quantise_input(graph.quant(graph.input), network.test[:1])
    with tempfile.TemporaryDirectory() as work:
        source = Source("net", graph, codes, run(lower(graph), codes)[graph.output])
        facts: Any = ethos_u.TARGET.write(source, Path(work))
    rows = [{"network": network.name, "npu": name, "vela": facts["vela"], **npu} for name, npu in facts["npus"].items()]
    rows += [{"network": network.name, "npu": name, "refused": why} for name, why in facts["refused"].items()]
    for row in rows:
        print(row, flush=True)
    return rows


def _table(rows: list[Row]) -> str:
    lines = [
        "# What Vela expects of Ethos-U",
        "",
        "Estimates of Arm's compiler for its reference systems; nothing was executed. Operations that stay on the CPU",
        "are in no figure.",
        "",
        "| network | NPU | cycles | clock of the reference | SRAM | flash | DRAM | on the CPU |",
        "|---|---|---:|---:|---:|---:|---:|---|",
    ]
    return "\n".join([*lines, *map(_line, rows)]) + "\n"


def _line(row: Row) -> str:
    if "refused" in row:
        return f"| {row['network']} | {row['npu']} | refused: {row['refused']} | | | | | |"
    memory = " | ".join(_kib(row[f"{name}_bytes"]) for name in ("sram", "flash", "dram"))
    cpu = ", ".join(row["on_cpu"]) or "nothing"
    clock = f"{row['clock_hz'] / 1e6:.0f} MHz"
    return f"| {row['network']} | {row['npu']} | {row['cycles']:,} | {clock} | {memory} | {cpu} |"


def _kib(size: int) -> str:
    return f"{size / 1024:.1f} KiB" if size else "none"


if __name__ == "__main__":
    main()
