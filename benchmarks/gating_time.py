"""A gated network off torch: time of the runner that skips channels, ONNX Runtime, and quantised in C."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from devices.runtimes import RUNTIMES
from edge.dataset import Dataset
from edge.onnx_file import to_onnx
from edge.recipes import gating
from edge.recipes.gating_export import STEEPEST, MaskedNet
from edge.recipes.gating_net import UNITS, GatedNet
from edge.recipes.gating_runner import Runner, run, runner
from edge.recipes.gating_targets import achieved
from edge.train import logits
from export.target import Source
from export.targets import TARGETS
from quant.formats import Array
from quant.graph import Graph
from quant.onnx_import import load_onnx
from quant.program import lower
from quant.ptq import quantise
from quant.reference import fast_dot, quantise_input
from quant.reference import run as run_reference
from quant.scheme import parse_scheme

IMAGES, ROUNDS = 100, 3
#: Networks of random weights whose time is measured too: how many times wider, and how many times the image's sides.
OTHERS = ((4, 1), (4, 2))
CALIBRATION, IN_C = 512, 1000
BATCH = 50


def timed(net: GatedNet, dataset: Dataset) -> list[dict[str, Any]]:
    """Time one image at a time, dense and skipping by turns: the network, and others as wide and as large as OTHERS."""
    images = dataset.preprocess.apply(dataset.x_test[:IMAGES])
    masks = gating.behaviour(net, dataset, dataset.x_test[:IMAGES], 1.0).masks
    kept, rows = [float(mask.mean()) for mask in masks], [{"width": 1, "side": 1, **_times(net, images)}]
    for width, side in OTHERS:
        larger = images.repeat(side, axis=2).repeat(side, axis=3)
        rows.append({"width": width, "side": side, **_times(_other(net, larger, kept, width), larger)})
    return rows


def _other(net: GatedNet, images: Array, kept: list[float], width: int) -> GatedNet:
    """Return a network of random weights whose predictors keep as many channels as those of `net` do."""
    units = tuple(replace(unit, channels=width * unit.channels) for unit in UNITS)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        wide = GatedNet((images.shape[1], images.shape[2], images.shape[3]), net.fc.out_features, units)
        wide.eval().masked, x, shares = True, torch.from_numpy(images), iter(kept)
        for unit in wide.units:
            y = unit(x)
            if unit.predictor is not None:
                scores = unit.logits(x)
                unit.offset.fill_(float(np.quantile(scores.numpy(), 1 - next(shares))))
                y = y * (scores > unit.offset)
            x = y
    return wide


def _times(net: GatedNet, images: Array) -> dict[str, Any]:
    """Return medians of CPU time over images, and the multiply-accumulates of these very images."""
    program = runner(net)
    spent: dict[str, list[float]] = {"dense": [], "skipping": []}
    for _ in range(ROUNDS):
        for image in images:
            for name, skip in (("dense", False), ("skipping", True)):
                spent[name].append(_cpu_s(program, image, skip))
    with torch.inference_mode():
        masks = [seen.mask.numpy() for seen in net.trace(torch.from_numpy(images), predict=True)[1]]
    macs, middle = achieved(net, masks), {name: float(np.median(times)) for name, times in spent.items()}
    return {
        "images": len(images),
        "dense_macs": macs.dense,
        "mac_ratio": 1 - macs.saving,
        "dense_s": middle["dense"],
        "skipping_s": middle["skipping"],
        "time_ratio": middle["skipping"] / middle["dense"],
    }


def _cpu_s(program: Runner, image: Array, skip: bool) -> float:
    """Time by the thread's CPU clock: other programs take turns on this machine."""
    start = time.thread_time_ns()
    run(program, image, skip=skip)
    return (time.thread_time_ns() - start) * 1e-9


def quantised(net: GatedNet, dataset: Dataset, folder: Path) -> dict[str, Any]:
    """Compare torch, the runner, ONNX Runtime, the quantised reference and C on the test images."""
    import onnxruntime

    folder.mkdir(parents=True, exist_ok=True)
    x, wanted = dataset.preprocess.apply(dataset.x_test), logits(net, dataset, dataset.x_test)
    to_onnx(MaskedNet(net, STEEPEST), dataset.preprocess.shape, folder / "masked.onnx")
    session = onnxruntime.InferenceSession(str(folder / "masked.onnx"), providers=["CPUExecutionProvider"])
    by_onnx = session.run(None, {"input": x})[0]
    program = runner(net)
    by_runner = np.stack([run(program, image)[0] for image in x[:IN_C]])
    to_onnx(MaskedNet(net), dataset.preprocess.shape, folder / "steep.onnx")
    samples = dataset.preprocess.apply(dataset.x_train[:CALIBRATION])
    graph = quantise(load_onnx(folder / "steep.onnx"), parse_scheme("w8a8"), samples)
    codes, truth = quantise_input(graph.quant(graph.input), x[:IN_C]), dataset.y_test[:IN_C]
    reference = _reference(graph, codes)
    return {
        "onnx_images": len(x),
        "onnx_largest_difference": float(np.abs(by_onnx - wanted).max()),
        "onnx_labels_that_differ": int((by_onnx.argmax(1) != wanted.argmax(1)).sum()),
        "runner_largest_difference": float(np.abs(by_runner - wanted[:IN_C]).max()),
        "images": IN_C,
        "float_accuracy": float((wanted[:IN_C].argmax(1) == truth).mean()),
        "w8a8_accuracy": float((reference.argmax(1) == truth).mean()),
        "labels_as_in_float": float((reference.argmax(1) == wanted[:IN_C].argmax(1)).mean()),
        "distinct_labels": len(np.unique(reference.argmax(1))),
        **_in_c(graph, codes, reference, folder),
    }


def _reference(graph: Graph, codes: Array) -> Array:
    program = lower(graph)
    starts = range(0, len(codes), BATCH)
    return np.concatenate(
        [run_reference(program, codes[start : start + BATCH], fast_dot)[graph.output] for start in starts]
    )


def _in_c(graph: Graph, codes: Array, expected: Array, folder: Path) -> dict[str, Any]:
    """Run the generated C on the same codes; how many output codes differ, or why it did not run."""
    found = next(runtime for runtime in RUNTIMES if runtime.name == "c-host")
    if why := found.missing():
        return {"c_not_run": why}
    target = next(target for target in TARGETS if target.name == found.target)
    (folder / "part").mkdir(exist_ok=True)
    target.write(Source("gated", graph, codes, expected), folder / "part")
    session = found.open(folder / "part", "gated", graph)
    try:
        got = session.run(codes)
    finally:
        session.close()
    return {"c_codes": int(got.size), "c_codes_that_differ": int((got != expected).sum())}
