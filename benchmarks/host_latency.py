"""int8 latency on this machine: our QDQ file against ONNX Runtime's own, in ONNX Runtime and OpenVINO, interleaved.

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
from quant.ptq import quantise
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
        ours, peer = Path(folder) / "ours.onnx", Path(folder) / "peer.onnx"
        save_quantised(quantise(load_onnx(network.path), parse_scheme("w8a8"), calibration), ours)
        quantise_static(network.path, peer, calibration)
        fused = {"ours": fused_convs(ours), "peer": fused_convs(peer)}
        for name, start in (("onnxruntime", _onnxruntime), ("openvino", _openvino)):
            windows = interleaved(*(start(path, network.test[:1]) for path in (ours, peer, network.path)))
            medians = [statistics.median(series) for series in windows]
            ratio = statistics.median(a / b for a, b in zip(windows[0], windows[1], strict=True))
            row = {"network": network.name, "runtime": name, "ours_s": medians[0], "peer_s": medians[1]}
            rows.append({**row, "float_s": medians[2], "median_ratio": ratio, "fused_convs": fused})
            print(rows[-1], flush=True)
    return rows


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
        f"Median of {WINDOWS} windows, files taking turns. Ratio: ours / quantize_static's, median of window pairs.",
        "",
        "| network | runtime | ours us | quantize_static us | float us | ratio | fused convs, ours |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        fused, total = row["fused_convs"]["ours"]
        times = " | ".join(f"{1e6 * row[key]:.1f}" for key in ("ours_s", "peer_s", "float_s"))
        lines.append(
            f"| {row['network']} | {row['runtime']} | {times} | {row['median_ratio']:.3f} | {fused} of {total} |"
        )
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
