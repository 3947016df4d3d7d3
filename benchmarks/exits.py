"""Early exits on all of Fashion-MNIST: accuracy over multiply-accumulates, shares after quantisation, time saved.

    python -m benchmarks.exits [--work FOLDER] [--seeds 0 1 2] [--epochs 8]

Trains what `benchmarks.exits_train` has not trained yet. Thresholds come from the last 5,000 training images, which
train nothing; test images are only measured on. Writes `benchmarks/results/exits.json` and `.md`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.exits_attention_train import attention_row
from benchmarks.exits_device import HOST_IMAGES, host_times, m4_instructions, parity
from benchmarks.exits_table import table
from benchmarks.exits_train import BATCH, EPOCHS, RATE, SEEDS, VALIDATION, WIDTH, trained
from benchmarks.results import environment, write_results
from edge.data import load
from edge.dataset import Dataset, with_held_out
from edge.evaluate import inputs_of
from edge.exits_bundle import (
    ExitJob,
    ExitNetwork,
    Wish,
    exit_outputs,
    exit_spec,
    quantise_exits,
)
from edge.gates.exits import exit_thresholds
from edge.gates.shares import (
    ExitOutputs,
    Setting,
    cheapest,
    exits_taken,
    figures,
    most_accurate,
    settings,
    temperatures,
)
from edge.gates.temperature import fit_temperature, probabilities
from edge.models.exit_net import Joined
from edge.onnx_file import to_onnx
from edge.quantizing import How
from export.atomic import write_file
from export.bundle import write_bundle
from export.rule import Rule, rule
from export.targets import find_target
from quant.formats import Array, FloatArray
from quant.onnx_import import load_onnx
from quant.reference import quantise_input
from quant.scheme import parse_scheme

Row = dict[str, Any]
SCORE = "max_probability"
#: The first one becomes C.
SCHEMES = ("w8a8", "w4a4")
#: Expected MACs asked for on validation images, below the half that must hold on test images.
ASKED = 0.48
#: Points that the answer may lose against the last exit.
LOSS = 0.005


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("runs/exits"))
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    options = parser.parse_args()
    dataset = load("fashion-mnist")
    rows = [_row(options.work, dataset, seed, options.epochs) for seed in options.seeds]
    chosen = {"width": WIDTH, "batch": BATCH, "rate": RATE, "epochs": options.epochs, "validation": VALIDATION}
    ablation = attention_row(options.work)
    record = {"environment": environment(), "settings": chosen, "rows": rows, "attention": ablation}
    write_results("exits", record, table(record))


def _row(work: Path, dataset: Dataset, seed: int, epochs: int) -> Row:
    """Measure one seed; what an earlier call measured with the same training is read."""
    module, record = trained(work, dataset, seed, epochs)
    path = work / f"exits-{seed}.onnx"
    row = _kept(work / f"accuracy-{seed}.json", record, lambda: _accuracy(module, path, dataset))
    rules = row["quantised"][SCHEMES[0]]["half"]["rules"]
    more = _kept(work / f"device-{seed}.json", record, lambda: _device(work / f"bundle-{seed}", path, dataset, rules))
    return {"seed": seed, **row, "device": more}


def _kept(place: Path, training: Row, work: Callable[[], Row]) -> Row:
    """Do the work, or read what it gave before for the same training."""
    if place.exists() and (found := json.loads(place.read_text()))["training"] == training:
        return dict(found)
    row = {"training": training, **work()}
    write_file(place, json.dumps(row, indent=1).encode())
    print(f"{place.name}: measured", flush=True)
    return row


def _accuracy(module: Any, path: Path, dataset: Dataset) -> Row:
    to_onnx(Joined(module), dataset.preprocess.shape, path)
    sure = _float_scores(module, dataset)
    found = {scheme: _quantised(sure, path, dataset, scheme) for scheme in SCHEMES}
    return {"float": _float(module, dataset), "quantised": found}


def _float_logits(module: Any, images: Array, dataset: Dataset) -> tuple[FloatArray, ...]:
    import torch

    found = []
    with torch.inference_mode():
        for start in range(0, len(images), 500):
            x = torch.from_numpy(dataset.preprocess.apply(images[start : start + 500]))
            found.append([one.numpy() for one in module.logits(x)])
    return tuple(np.concatenate(exit_) for exit_ in zip(*found, strict=True))


def _float(module: Any, dataset: Dataset) -> Row:
    held = with_held_out(dataset, VALIDATION)[1]
    both = {"validation": (held.x_test, held.y_test), "test": (dataset.x_test, dataset.y_test)}
    return {
        name: [float((one.argmax(axis=1) == truth).mean()) for one in _float_logits(module, images, dataset)]
        for name, (images, truth) in both.items()
    }


@dataclass(frozen=True, eq=False)
class FloatScores:
    """The float network's exits on validation images: fitted temperatures, and scores [N]."""

    heat: tuple[float, ...]
    sure: tuple[FloatArray, ...]

    def rules(self, shares: tuple[float, ...]) -> tuple[Rule, ...]:
        """Return the rules that the float network would have for these shares."""
        pairs = zip(exit_thresholds(self.sure, shares), self.heat, strict=True)
        return tuple(rule(SCORE, at, temperature=t) for at, t in pairs)


def _float_scores(module: Any, dataset: Dataset) -> FloatScores:
    held = with_held_out(dataset, VALIDATION)[1]
    logits = _float_logits(module, held.x_test, dataset)
    heat = tuple(fit_temperature(one, held.y_test) for one in logits)
    return FloatScores(heat, tuple(probabilities(one, t).max(axis=1) for one, t in zip(logits, heat, strict=True)))


def _quantised(floats: FloatScores, path: Path, dataset: Dataset, scheme: str) -> Row:
    training, held = with_held_out(dataset, VALIDATION)
    x, y = held.x_test, held.y_test
    network = quantise_exits(load_onnx(path), training, How(parse_scheme(scheme)))
    validation, test = (
        exit_outputs(network, inputs_of(network.graph, dataset, images)) for images in (x, dataset.x_test)
    )
    heat, truth = temperatures(validation, y), dataset.y_test
    family = settings(validation, y, SCORE, heat)
    last = float((validation.labels()[-1] == y).mean())
    half = most_accurate(family, ASKED * validation.macs[-1])
    near = cheapest(family, last - LOSS)
    return {
        "accuracy": [float((labels == truth).mean()) for labels in test.labels()],
        "macs": list(validation.macs),
        "temperatures": list(heat),
        "curve": [_point(one, test, truth, floats.rules(one.shares)) for one in family],
        "half": _point(half, test, truth, None),
        "near": _point(near, test, truth, None),
    }


def _point(one: Setting, test: ExitOutputs, truth: Array, reused: tuple[Rule, ...] | None) -> Row:
    found = figures(test, one.rules, truth)
    point = {"wanted": one.shares, "validation": asdict(one.validation), "test": asdict(found)}
    point["rules"] = [asdict(each) for each in one.rules]
    if reused is not None:
        point["reused"] = asdict(figures(test, reused, truth))
    return point


def _device(place: Path, path: Path, dataset: Dataset, rules: list[Row]) -> Row:
    """Write the bundle of the setting at half the MACs and run its C."""
    how = How(parse_scheme(SCHEMES[0]))
    network = quantise_exits(load_onnx(path), with_held_out(dataset, VALIDATION)[0], how)
    chosen = tuple(Rule(**one) for one in rules)
    spec = exit_spec(network, chosen, dataset, ExitJob(how=how, wish=Wish(most_macs=ASKED), name="early"))
    bundle = write_bundle(place, spec, find_target("arm-m"), overwrite=True)
    x = inputs_of(network.graph, dataset, dataset.x_test)
    codes, taken = quantise_input(network.graph.quant(network.graph.input), x), _taken(network, chosen, x)
    return {
        "parity": parity(bundle, codes[:HOST_IMAGES]),
        "host": host_times(bundle, network, codes[:HOST_IMAGES]),
        "m4": m4_instructions(bundle, network, codes, taken),
    }


def _taken(network: ExitNetwork, rules: tuple[Rule, ...], x: Array) -> Any:
    return exits_taken(exit_outputs(network, x), rules)


if __name__ == "__main__":
    main()
