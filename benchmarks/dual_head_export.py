"""What becomes of two trained heads as files: float ONNX, integers, and C."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.dual_head_nets import Job, parameters
from devices.runtimes import find_runtime
from edge.calibration import calibration_inputs
from edge.exporting import scheme_for, whole
from edge.onnx_file import INPUT, OUTPUT, to_onnx
from edge.recipes.dual_fold import Mix, answer, arithmetic_module, geometric_module, joint_module
from edge.recipes.dual_head import DualHead
from export.bundle import BundleSpec, write_bundle
from export.parity import check_bundle
from export.targets import find_target
from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph
from quant.onnx_import import load_onnx
from quant.program import lower
from quant.ptq import prepare, quantise
from quant.reference import dequantise, fast_dot, quantise_input, run
from quant.scheme import parse_scheme

CALIBRATION, VECTORS = 256, 1000
#: Images executed at once.
BATCH = 256


def exported(work: Job, dual: DualHead, mixes: dict[str, Mix], seed: int) -> dict[str, Any]:
    """Fold two heads in every way, quantise what can be, and test all of them.

    Args:
        work: images, and the folder for ONNX files.
        dual: trained.
        mixes: by rule.
        seed: of the run, for names.
    """
    arithmetic, geometric = mixes["arithmetic"], mixes["geometric"]
    found = _float_file(work, dual, arithmetic, seed)
    joint, small = joint_module(dual, arithmetic), geometric_module(dual, geometric)
    graph = _quantised(work, joint, f"joint-{seed}")
    right = answer(_reals(work, graph), arithmetic).argmax(axis=1) == work.dataset.y_test
    found["joint"] = {"parameters": parameters(joint), "w8a8_accuracy": float(right.mean())}
    found["joint"]["c_host"] = _parity(work, graph)
    graph = _quantised(work, small, f"geometric-{seed}")
    right = _reals(work, graph).argmax(axis=1) == work.dataset.y_test
    found["geometric"] = {"parameters": parameters(small), "w8a8_accuracy": float(right.mean())}
    found["geometric"]["c_host"] = _parity(work, graph)
    print("exported", seed, found, flush=True)
    return found


def _float_file(work: Job, dual: DualHead, mix: Mix, seed: int) -> dict[str, Any]:
    """Run the arithmetic rule as one ONNX file, compare with torch, and ask the quantiser for it."""
    import onnxruntime
    import torch

    module, path = arithmetic_module(dual, mix), work.folder / f"arithmetic-{seed}.onnx"
    to_onnx(module, work.dataset.preprocess.shape, path)
    x = work.dataset.preprocess.apply(work.dataset.x_test)
    got = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run([OUTPUT], {INPUT: x})[0]
    with torch.inference_mode():
        wanted = np.concatenate([module(torch.from_numpy(x[i : i + 500])).numpy() for i in range(0, len(x), 500)])
    try:
        quantise(load_onnx(path), parse_scheme("w8a8"), x[:8])
        refusal = None
    except QuantError as error:
        refusal = str(error)
    labels = int((got.argmax(axis=1) != wanted.argmax(axis=1)).sum())
    largest = float(np.abs(got - wanted).max())
    return {"onnx": {"largest_difference": largest, "labels_that_differ": labels, "quantiser": refusal}}


def _quantised(work: Job, module: Any, name: str) -> Graph:
    path = work.folder / f"{name}.onnx"
    to_onnx(module, work.dataset.preprocess.shape, path)
    graph, scheme = prepare(load_onnx(path)), scheme_for(find_target("arm-m"), parse_scheme("w8a8"))
    return quantise(graph, scheme, calibration_inputs(graph, work.dataset, CALIBRATION, 0))


def _reals(work: Job, graph: Graph) -> Array:
    """Return the integer reference's outputs for all test images as real values, float32 [N, outputs]."""
    x, program, parts = work.dataset.preprocess.apply(work.dataset.x_test), lower(graph), []
    for start in range(0, len(x), BATCH):
        codes = quantise_input(graph.quant(graph.input), x[start : start + BATCH])
        parts.append(dequantise(graph.quant(graph.output), run(program, codes, fast_dot)[graph.output]))
    return np.concatenate(parts).reshape(len(x), -1)


def _parity(work: Job, graph: Graph) -> dict[str, Any]:
    """Compare the compiled C with the integer reference on VECTORS test images."""
    data, runtime = work.dataset, find_runtime("c-host")
    if (why := runtime.missing()) is not None:
        return {"status": "skipped", "reason": why}
    outputs = int(np.prod(graph.shape(graph.output)[1:]))
    parts = whole(graph, data.preprocess.apply(data.x_test[:VECTORS]))
    labels = tuple(f"{k}" for k in range(outputs))
    with tempfile.TemporaryDirectory() as place:
        spec = BundleSpec("dual", "w8a8", data.preprocess, labels, parts)
        bundle = write_bundle(Path(place) / "bundle", spec, find_target("arm-m"))
        [result] = check_bundle(bundle, (runtime,))
    return {"status": result.status, "vectors": result.vectors, "labels": result.labels, "steps": result.max_steps}
