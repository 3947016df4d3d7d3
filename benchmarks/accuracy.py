"""What quantisation costs real networks, beside ONNX Runtime's static quantisation on the same images.

python -m benchmarks.accuracy --data FOLDER
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.networks import Network, efficientnet, keyword_spotting, keyword_spotting_all, resnet8, resnet20
from benchmarks.peer_ort import quantise_static
from benchmarks.results import environment, write_results
from devices.run_record import Accuracy
from edge.evaluate import compare_labels, float_labels, quantised_labels
from quant.formats import Array
from quant.graph import Graph
from quant.onnx_import import load_onnx
from quant.ptq import prepare, quantise
from quant.scheme import parse_scheme

SCHEMES = ("w8a8", "w8a8-sym", "w8a8-p99.99", "we4m3-ae4m3")
PEER = "onnxruntime quantize_static"
CALIBRATION = 256
SEEDS = range(5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    data = parser.parse_args().data
    rows = []
    for make, seeds in (
        (resnet20, SEEDS),
        (resnet8, SEEDS),
        (keyword_spotting, SEEDS),
        (keyword_spotting_all, SEEDS),
        (efficientnet, range(1)),
    ):
        rows += _measure(make(data), list(seeds))
    write_results("accuracy", {"environment": environment(), "results": rows}, _table(rows))


def _measure(network: Network, seeds: list[int]) -> list[dict[str, object]]:
    graph = prepare(load_onnx(network.path))
    truth = float_labels(graph, network.test)
    rows = []
    for seed in seeds:
        calibration = network.calibration[_drawn(network, seed, len(seeds))]
        for name in (*SCHEMES, PEER):
            guess = _peer(network, calibration) if name == PEER else _ours(graph, name, calibration, network.test)
            found = compare_labels(network.labels, truth, guess)
            row = {"network": network.name, "note": network.note, "scheme": name, "seed": seed}
            rows.append({**row, "calibration_images": len(calibration), **asdict(found)})
            print(network.name, name, seed, _drop(found), found.agreement, flush=True)
    return rows


def _drawn(network: Network, seed: int, seeds: int) -> Array:
    """Indices of the calibration images of one seed; of a small set four fifths, or every seed would draw the same."""
    available = len(network.calibration)
    count = min(CALIBRATION, available if seeds == 1 else available * 4 // 5)
    return np.random.default_rng(seed).permutation(available)[:count]


def _ours(graph: Graph, scheme: str, calibration: Array, test: Array) -> Array:
    return quantised_labels(quantise(graph, parse_scheme(scheme), calibration), test)


def _peer(network: Network, calibration: Array) -> Array:
    import onnxruntime as ort

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "peer.onnx"
        quantise_static(network.path, target, calibration)
        session = ort.InferenceSession(str(target), providers=["CPUExecutionProvider"])
        parts = [session.run(None, {"input": network.test[i : i + 16]})[0] for i in range(0, len(network.test), 16)]
    labels: Array = np.concatenate(parts).argmax(axis=1)
    return labels


def _drop(found: Accuracy) -> float:
    return round(100 * (found.float_accuracy - found.quantised_accuracy), 2)


def _table(rows: list[dict[str, object]]) -> str:
    lines = [
        "# Accuracy after quantisation, 8 bits",
        "",
        f"{CALIBRATION} calibration images drawn by seeds 0 to 4 (kws: 200 of 250; EfficientNet: 64, one seed). "
        "Ours: run",
        "by the integer reference. Drop in points against float on the same images: mean over the seeds, "
        "and every seed.",
        "Lost and gained: images right before and wrong after, and the reverse, mean over the seeds.",
        "",
        "| network | images | float | scheme | mean drop | drop by seed | agreement with float | lost / gained |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for key in dict.fromkeys((row["network"], row["scheme"]) for row in rows):
        group = [row for row in rows if (row["network"], row["scheme"]) == key]
        drops = [100 * (float(str(r["float_accuracy"])) - float(str(r["quantised_accuracy"]))) for r in group]
        agreement = np.mean([float(str(r["agreement"])) for r in group])
        by_seed = " ".join(f"{d:+.2f}" for d in drops)
        lines.append(
            f"| {key[0]} | {group[0]['images']} | {100 * float(str(group[0]['float_accuracy'])):.2f} % | {key[1]} | "
            f"{np.mean(drops):+.2f} | {by_seed} | {100 * agreement:.1f} % | "
            f"{_mean(group, 'lost')} / {_mean(group, 'gained')} |"
        )
    notes = dict.fromkeys(f"- {row['network']}: {row['note']}." for row in rows)
    return "\n".join([*lines, "", *notes, ""])


def _mean(group: list[dict[str, object]], key: str) -> str:
    return f"{np.mean([int(str(row[key])) for row in group]):.1f}"


if __name__ == "__main__":
    main()
