"""MLPerf Tiny's ResNet-8 through every target: which runtime gives the reference's codes, and how far the others are.

    python -m benchmarks.parity --data FOLDER

FOLDER holds `cifar10/mlperf_tiny_resnet8.onnx` and the exact CIFAR-10 subset as .npz. Writes
`benchmarks/results/parity.json` and `.md`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.results import environment, write_results
from devices.runtimes import runtimes_for
from edge.calibration import calibration_inputs
from edge.data import load, with_preprocess
from edge.evaluate import inputs_of, quantised_labels
from edge.exporting import choose_vectors, scheme_for, whole
from export.bundle import BundleSpec, write_bundle
from export.errors import ExportError
from export.parity import Parity, check_bundle
from export.target import check_capability
from export.targets import find_target
from quant.onnx_import import load_onnx
from quant.ptq import prepare, quantise
from quant.scheme import parse_scheme

TARGETS = ("host", "jetson", "arm-a", "arm-m", "fpga")
SCHEMES = ("w8a8", "we4m3-ae4m3")
VECTORS = 16
#: The simulated circuit needs some ten seconds an image.
SIMULATED_VECTORS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    folder = parser.parse_args().data / "cifar10"
    dataset = with_preprocess(load(f"cifar10:{folder}"), 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    graph = prepare(load_onnx(folder / "mlperf_tiny_resnet8.onnx"))
    rows = []
    for name in SCHEMES:
        for target_name in TARGETS:
            target = find_target(target_name)
            scheme = scheme_for(target, parse_scheme(name))
            made = quantise(graph, scheme, calibration_inputs(graph, dataset, 256, 0))
            try:
                check_capability(target, made)
            except ExportError as error:
                rows.append({"target": target_name, "scheme": str(scheme), "refused": str(error)})
                print(f"{target_name} {scheme}: refused: {error}", flush=True)
                continue
            x = inputs_of(made, dataset, dataset.x_test[:64])
            picked = x[choose_vectors(quantised_labels(made, x), VECTORS)]
            spec = BundleSpec("resnet8", str(scheme), dataset.preprocess, dataset.labels, whole(made, picked, graph))
            with tempfile.TemporaryDirectory() as place:
                bundle = write_bundle(Path(place) / "bundle", spec, target)
                for runtime in runtimes_for(target_name):
                    count = SIMULATED_VECTORS if runtime.name == "verilator" else None
                    started = time.perf_counter()
                    for result in check_bundle(bundle, (runtime,), count):
                        seconds = time.perf_counter() - started
                        rows.append({"target": target_name, "scheme": str(scheme), **asdict(result), "wall_s": seconds})
                        print(f"{target_name} {scheme} {_line(result)} {seconds:.1f} s", flush=True)
    record = {"environment": environment(), "network": "mlperf_tiny_resnet8", "results": rows}
    write_results("parity", record, _table(rows))


def _line(result: Parity) -> str:
    return f"{result.runtime}: {result.status}, {result.vectors} vectors, {result.labels} labels, {result.reason}"


def _table(rows: list[dict[str, object]]) -> str:
    lines = [
        "# Parity of ResNet-8 (MLPerf Tiny) over all targets",
        "",
        "Codes of the written files, executed, against the integer reference. 'steps' is the largest difference of an",
        "output in steps of its grid; 'first' the first layer that differs at all.",
        "",
        "| target | scheme | runtime | status | vectors | labels | steps | top-1 | first |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        if "refused" in row:
            lines.append(f"| {row['target']} | {row['scheme']} | - | refused: {row['refused']} | | | | | |")
            continue
        first = row["first"]
        where = f"{first['node']} by {first['max_steps']}" if isinstance(first, dict) else "-"
        agreement = row["top1_agreement"] if row["vectors"] else "-"
        lines.append(
            f"| {row['target']} | {row['scheme']} | {row['runtime']} | {row['status']} | {row['vectors']} | "
            f"{row['labels']} | {row['max_steps']} | {agreement} | {where} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
