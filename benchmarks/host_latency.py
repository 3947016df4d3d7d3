"""int8 latency on this machine: our QDQ file against ONNX Runtime's own, in ONNX Runtime and OpenVINO, interleaved.

The peer appears twice: on the network as published, and on our prepared float graph, whose padding is folded into the
convolutions. The second comparison is of the two QDQ dialects alone; the first holds the gain of the folding too.

python -m benchmarks.host_latency --data FOLDER
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.networks import Network, efficientnet, keyword_spotting, resnet8
from benchmarks.peer_ort import quantise_static
from benchmarks.results import environment, write_results
from edge.quantizing import save_quantised
from export.runtimes.ort_fusion import fused_convs
from quant.formats import Array
from quant.onnx_import import load_onnx
from quant.onnx_write import to_float_onnx
from quant.ptq import prepare, quantise
from quant.scheme import parse_scheme

IMAGES = 64
WINDOWS = 40
WINDOW_S = 0.05
Infer = Callable[[], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    rows = [row for make in (resnet8, keyword_spotting, efficientnet) for row in _measure(make(data))]
    write_results("host_latency", {"environment": environment(), "results": rows}, _table(rows))


def _measure(network: Network) -> list[dict[str, Any]]:
    rows = []
    calibration = network.calibration[:IMAGES]
    with tempfile.TemporaryDirectory() as folder:
        files = _files(network, calibration, Path(folder))
        fused = {name: fused_convs(path) for name, path in files.items() if name != "float"}
        for name, start in (("onnxruntime", _onnxruntime), ("openvino", _openvino)):
            windows = interleaved(*(start(path, network.test[:1]) for path in files.values()))
            times = {f"{file}_s": statistics.median(series) for file, series in zip(files, windows, strict=True)}
            row = {"network": network.name, "runtime": name, **times, "fused_convs": fused}
            rows.append({**row, "median_ratio": _ratio(windows, 1), "median_ratio_folded": _ratio(windows, 2)})
            print(rows[-1], flush=True)
    return rows


def _files(network: Network, calibration: Array, folder: Path) -> dict[str, Path]:
    """Write our file and the peer's two; the float network comes last."""
    files = {name: folder / f"{name}.onnx" for name in ("ours", "peer", "peer_folded", "folded")}
    floating = prepare(load_onnx(network.path))
    save_quantised(quantise(floating, parse_scheme("w8a8"), calibration), files["ours"])
    quantise_static(network.path, files["peer"], calibration)
    folded = files.pop("folded")
    folded.write_bytes(to_float_onnx(floating).SerializeToString())
    quantise_static(folded, files["peer_folded"], calibration)
    return {**files, "float": network.path}


def _ratio(windows: list[list[float]], other: int) -> float:
    return statistics.median(a / b for a, b in zip(windows[0], windows[other], strict=True))


def interleaved(*calls: Infer) -> list[list[float]]:
    """Return seconds per inference of each call, by window, the calls taking turns window by window."""
    counts = []
    for call in calls:
        started = time.perf_counter()
        for _ in range(10):
            call()
        counts.append(max(1, round(WINDOW_S / ((time.perf_counter() - started) / 10))))
    series: list[list[float]] = [[] for _ in calls]
    for _ in range(WINDOWS):
        for found, call, count in zip(series, calls, counts, strict=True):
            started = time.perf_counter()
            for _ in range(count):
                call()
            found.append((time.perf_counter() - started) / count)
    return series


def _onnxruntime(path: Path, x: Array) -> Infer:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"input": x})


def _openvino(path: Path, x: Array) -> Infer:
    import openvino as ov

    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1}
    model = ov.Core().read_model(str(path))
    model.reshape([1, *x.shape[1:]])
    request = ov.compile_model(model, "CPU", settings).create_infer_request()
    return lambda: request.infer({0: x})


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "# int8 latency on this machine, one thread, batch 1",
        "",
        f"Median of {WINDOWS} windows, the files taking turns. A ratio is ours / quantize_static's, the median of",
        "window pairs. Folded: quantize_static on our prepared float graph, whose padding is part of the convolutions;",
        "its ratio compares the two QDQ dialects alone, while the other one holds the gain of folding too.",
        "",
        "| network | runtime | ours us | quantize_static us | folded us | float us | ratio | ratio, folded | fused |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        fused, total = row["fused_convs"]["ours"]
        times = " | ".join(f"{1e6 * row[key]:.1f}" for key in ("ours_s", "peer_s", "peer_folded_s", "float_s"))
        ratios = f"{row['median_ratio']:.3f} | {row['median_ratio_folded']:.3f}"
        lines.append(f"| {row['network']} | {row['runtime']} | {times} | {ratios} | {fused} of {total} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
