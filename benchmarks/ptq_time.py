"""Wall time of quantising ResNet-20 with 256 images, beside ONNX Runtime's static quantisation, interleaved.

python -m benchmarks.ptq_time --data FOLDER
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.networks import Network, resnet20
from benchmarks.peer_ort import quantise_static
from benchmarks.results import environment, write_results
from edge.quantizing import save_quantised
from quant.onnx_import import load_onnx
from quant.ptq import quantise
from quant.scheme import parse_scheme

IMAGES = 256
ROUNDS = 7


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    network = resnet20(parser.parse_args().data)
    ours, peer = [], []
    with tempfile.TemporaryDirectory() as folder:
        # The first round of each imports packages and warms caches; it is not counted.
        for index in range(ROUNDS + 1):
            pair = (
                _ours(network, Path(folder) / f"ours{index}.onnx"),
                _peer(network, Path(folder) / f"peer{index}.onnx"),
            )
            print(f"ours {pair[0]:.2f} s, quantize_static {pair[1]:.2f} s", flush=True)
            if index:
                ours.append(pair[0])
                peer.append(pair[1])
    ratio = statistics.median(a / b for a, b in zip(ours, peer, strict=True))
    record = {"environment": environment(), "images": IMAGES, "ours_s": ours, "peer_s": peer, "median_ratio": ratio}
    write_results("ptq_time", record, _table(ours, peer, ratio))


def _ours(network: Network, target: Path) -> float:
    started = time.perf_counter()
    save_quantised(quantise(load_onnx(network.path), parse_scheme("w8a8"), network.calibration[:IMAGES]), target)
    return time.perf_counter() - started


def _peer(network: Network, target: Path) -> float:
    started = time.perf_counter()
    quantise_static(network.path, target, network.calibration[:IMAGES])
    return time.perf_counter() - started


def _table(ours: list[float], peer: list[float], ratio: float) -> str:
    rows = [("edgemill quantize w8a8", ours), ("onnxruntime quantize_static MinMax per-channel", peer)]
    return "\n".join(
        [
            f"# Time to quantise ResNet-20 with {IMAGES} images: float ONNX in, QDQ ONNX out",
            "",
            "| | median s | min s | max s |",
            "|---|---|---|---|",
            *(f"| {name} | {statistics.median(t):.2f} | {min(t):.2f} | {max(t):.2f} |" for name, t in rows),
            "",
            f"Interleaved, {ROUNDS} rounds; median ratio {ratio:.2f}.",
            "",
        ]
    )


if __name__ == "__main__":
    main()
