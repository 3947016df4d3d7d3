"""What finetuning brings back: ResNet-8 at few bits, before and after quantisation-aware training.

python -m benchmarks.qat --data FOLDER [--work FOLDER]
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from benchmarks.networks import resnet8
from benchmarks.results import environment, write_results
from devices.run_record import Accuracy
from edge.data import load, with_preprocess
from edge.dataset import Dataset
from edge.evaluate import compare_labels, float_labels, quantised_labels
from edge.finetune import Finetuned, Finetuning, finetune
from edge.train import Schedule
from quant.graph import Graph
from quant.onnx_import import load_onnx
from quant.presets import find_preset, quantise_by
from quant.ptq import prepare, quantise
from quant.scheme import parse_scheme

ROUNDING = "rounding"
#: Scheme, what the training starts from (plain rounding, or a preset of `edgemill quantize`), and whether scales learn.
CASES = (
    ("w4a8", ROUNDING, False),
    ("w4a8", ROUNDING, True),
    ("w4a4", ROUNDING, False),
    ("w4a4", ROUNDING, True),
    ("we2m1-aint8", ROUNDING, False),
    ("we2m1-aint8", ROUNDING, True),
    ("w4a4-ends8", "default", True),
)
CALIBRATION = 256
SCHEDULE = Schedule(epochs=12, batch=32, rate=0.01)
Case = tuple[str, str, bool]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="folder for finished rows and checkpoints, to go on from")
    arguments = parser.parse_args()
    network = resnet8(arguments.data)
    dataset = with_preprocess(load(f"cifar10:{arguments.data / 'cifar10'}"), 1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    graph = prepare(load_onnx(network.path))
    rows = [_kept(graph, dataset, case, arguments.work) for case in CASES]
    write_results("qat", {"environment": environment(), "results": rows}, _table(rows, dataset))


def _kept(graph: Graph, dataset: Dataset, case: Case, work: Path | None) -> dict[str, object]:
    """Return the row of a case: the one a run before has finished, or a new one."""
    if work is None:
        return _row(graph, dataset, case, None)
    name = f"{case[0]}-{case[1]}-{'learned' if case[2] else 'fixed'}"
    finished = work / f"{name}.json"
    if not finished.exists():
        row = _row(graph, dataset, case, work / f"{name}.npz")
        finished.write_text(json.dumps(row))
    found: dict[str, object] = json.loads(finished.read_text())
    return found


def _row(graph: Graph, dataset: Dataset, case: Case, checkpoint: Path | None) -> dict[str, object]:
    scheme, start_from, learn = case
    start = _start(graph, dataset, scheme, start_from)
    begin, cpu = time.perf_counter(), time.process_time()
    made = finetune(graph, start, dataset, SCHEDULE, Finetuning(learn_scales=learn), checkpoint, show=False)
    spent = {"wall_s": time.perf_counter() - begin, "cpu_s": time.process_time() - cpu}
    row = {"scheme": scheme, "start": start_from, "learn_scales": learn, **spent}
    row |= _figures(graph, start, made, dataset)
    print(case, row["before"], row["after"], flush=True)
    return row


def _start(graph: Graph, dataset: Dataset, scheme: str, start_from: str) -> Graph:
    drawn = np.random.default_rng(0).permutation(len(dataset.x_train))[:CALIBRATION]
    inputs = dataset.preprocess.apply(dataset.x_train[drawn])
    if start_from == ROUNDING:
        return quantise(graph, parse_scheme(scheme), inputs)
    return quantise_by(graph, parse_scheme(scheme), find_preset(start_from), inputs).graph


def _figures(graph: Graph, start: Graph, made: Finetuned, dataset: Dataset) -> dict[str, object]:
    x = dataset.preprocess.apply(dataset.x_test)
    truth = float_labels(graph, x)
    found = [compare_labels(dataset.y_test, truth, quantised_labels(g, x)) for g in (start, made.graph)]
    return {
        "before": asdict(found[0]),
        "after": asdict(found[1]),
        "best_epoch": made.best,
        "held_out_losses": list(made.losses),
        "schedule": asdict(SCHEDULE),
    }


def _table(rows: list[dict[str, object]], dataset: Dataset) -> str:
    lines = [
        "# Quantisation-aware training of ResNet-8",
        "",
        f"`edgemill finetune` ({SCHEDULE.epochs} epochs of batches of {SCHEDULE.batch}, Adam, rate {SCHEDULE.rate}, "
        f"distillation without labels) on the {len(dataset.x_train)} exact CIFAR-10",
        "training images, one in ten of them held out to choose the epoch. No JPEG images, no augmentation.",
        f"Start: `rounding` is plain rounding to nearest with minimum and maximum ranges of {CALIBRATION} training "
        "images, the other names are",
        "presets of `edgemill quantize`. Weights per channel; every layer has the same format, with `ends8` the first "
        "and last one 8 bits.",
        f"Tested on the {len(dataset.x_test)} exact test images by the integer reference; points below float on the "
        "same images. One seed; the standard error of",
        "an accuracy is about 1.5 points. Lost and gained: images that float gets right and the trained graph wrong, "
        "and the reverse. Best epoch 0: no epoch",
        "was better than the start on the images held out, so the start is what was written.",
        "",
        "| scheme | start | scales | float | drop before | drop after | agreement with float | lost / gained | "
        "best epoch | CPU time |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        before, after = (Accuracy(**row[key]) for key in ("before", "after"))  # type: ignore[arg-type]
        lines.append(
            f"| {row['scheme']} | {row['start']} | {'learned' if row['learn_scales'] else 'fixed'} | "
            f"{after.float_accuracy:.2%} | {_drop(before)} | {_drop(after)} | {after.agreement:.1%} | "
            f"{after.lost} / {after.gained} | {row['best_epoch']} | {float(str(row['cpu_s'])):.0f} s |"
        )
    return "\n".join([*lines, ""])


def _drop(found: Accuracy) -> str:
    return f"{100 * (found.float_accuracy - found.quantised_accuracy):+.2f}"


if __name__ == "__main__":
    main()
