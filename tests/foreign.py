"""What another tool's executor makes of its own quantised file, tensor by tensor, beside the imported graph.

Every layer of the imported graph is compared on the executor's own inputs of that layer, so that a difference counts
where it arises: its executor sums and rounds in float, the reference rounds in fixed point (docs/numerics.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import torch

from quant.formats import Array
from quant.graph import Quant
from quant.onnx_import import load_onnx
from quant.program import clip_ordinals, lower
from quant.reference import dequantise, execute, fast_dot, quantise_input, run
from quant.simulate import apply, simulator
from tests.float_biases import float_biases

ROUNDINGS = ("BipolarQuant", "FloatQuant", "IntQuant", "Quant", "QuantizeLinear")


@dataclass(frozen=True)
class Agreement:
    """How an imported graph and the file's own executor agree.

    Layer by layer, on the executor's inputs: the largest difference in codes and the share of codes that differ, of the
    reference and of the float emulation, which rounds once as the executor does and has float biases where the file
    has (the graph rounds them to its accumulator's grid). And of a whole run of the reference: the largest difference
    at the output, and the share of equal labels.
    """

    steps: int
    share: float
    emulated_steps: int
    emulated_share: float
    final_steps: int
    labels: float


def run_ort(path: Path, x: Array) -> dict[str, Array]:
    """Run a file in ONNX Runtime without optimisation, every tensor an output."""
    model = onnx.load(path)
    shown = [name for node in model.graph.node for name in node.output if name]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in shown)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    given = session.get_inputs()[0]
    # Some tools fix the batch at 1.
    batches = [x] if given.shape[0] != 1 else np.split(x, len(x))
    runs = [session.run(shown, {given.name: batch}) for batch in batches]
    return {given.name: x, **{name: _join([one[i] for one in runs]) for i, name in enumerate(shown)}}


def _join(values: list[Array]) -> Array:
    return np.concatenate(values) if values[0].ndim else values[0]


def run_qonnx(path: Path, x: Array) -> dict[str, Array]:
    """Run a file in qonnx's own executor, image by image (its files have a batch of 1)."""
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.core.onnx_exec import execute_onnx
    from qonnx.transformation.infer_shapes import InferShapes

    model = ModelWrapper(str(path)).transform(InferShapes())
    name = model.graph.input[0].name
    runs = [execute_onnx(model, {name: image[None]}, return_full_exec_context=True) for image in x]
    made = [out for node in model.graph.node for out in node.output]
    return {key: np.concatenate([one[key] for one in runs]) for key in (name, *made) if np.ndim(runs[0][key])}


def agreement(path: Path, x: Array, values: Mapping[str, Array]) -> Agreement:
    """Import a file, and compare it layer by layer and at the output with what its own executor made of `x`."""
    graph, model = load_onnx(path), onnx.load(path)
    theirs = {
        name: foreign_codes(model, graph.quant(name), name, values)
        for name in graph.activations()
        if name.removesuffix(".real") in values and not _moves_channels(model, name)
    }
    for node in graph.nodes:
        if node.output in theirs and node.clip is not None:
            # A clip behind the rounding may be fused: the tensor then bears the name it has before the clip.
            fmt, limits = graph.quant(node.output).format, clip_ordinals(graph.quant(node.output), node.clip)
            theirs[node.output] = fmt.from_ordinals(np.clip(fmt.to_ordinals(theirs[node.output]), *limits))
    program, sim = lower(graph), simulator(graph)
    sim = replace(sim, parameters={**sim.parameters, **float_biases(model)})
    real = {name: torch.from_numpy(dequantise(graph.quant(name), codes)) for name, codes in theirs.items()}
    gaps: list[Array] = []
    emulated: list[Array] = []
    for step, node in zip(program.steps, graph.nodes, strict=True):
        quant = graph.quant(step.y)
        codes = execute(program, step, theirs, fast_dot)
        single = apply(sim, node, [real.get(name) for name in node.inputs])
        if step.y not in theirs:
            # A Requantize before a Concat has no tensor in the file; scales per channel no codes behind a Pad.
            theirs[step.y], real[step.y] = codes, single
            continue
        gaps.append(_gap(quant, codes, theirs[step.y]))
        emulated.append(_gap(quant, quantise_input(quant, single.numpy()), theirs[step.y]))
    quant = graph.quant(graph.output)
    ours = run(program, quantise_input(graph.quant(graph.input), x), fast_dot)[graph.output]
    final = theirs[graph.output]
    labels = [quant.format.to_ordinals(codes).argmax(axis=1) for codes in (ours, final)]
    assert all(len(set(found.tolist())) > 1 for found in labels), "one label for every input proves nothing"
    assert (final != final[0]).any()
    same = float((labels[0] == labels[1]).mean())
    return Agreement(*_sum_up(gaps), *_sum_up(emulated), int(_gap(quant, ours, final).max()), same)


def _sum_up(gaps: list[Array]) -> tuple[int, float]:
    every = np.concatenate([gap.reshape(-1) for gap in gaps])
    return int(every.max()), float((every > 0).mean())


def _gap(quant: Quant, ours: Array, theirs: Array) -> Array:
    first, second = (quant.format.to_ordinals(codes) for codes in (ours, theirs))
    gap: Array = np.abs(first - second)
    return gap


def foreign_codes(model: Any, quant: Quant, name: str, values: Mapping[str, Array]) -> Array:
    """Return the codes that an executor gave a tensor of the graph (named before or behind its rounding)."""
    name = name.removesuffix(".real")
    makers = {node.output[0]: node.op_type for node in model.graph.node}
    if makers.get(name) not in ROUNDINGS:
        name = _behind(model, name, ROUNDINGS)
    if values[name].dtype.kind not in "iu":
        return quantise_input(quant, values[name])
    stored = values[_behind(model, name, ("Clip",))]
    shift = 0 if stored.dtype.kind == "i" else 1 << (quant.format.bits - 1)
    return quant.format.from_ordinals(stored.astype(np.int64) - shift)


def _moves_channels(model: Any, name: str) -> bool:
    """Whether a tensor is a padded one with a scale per channel: the graph has one scale there."""
    makers = {node.output[0]: node for node in model.graph.node}
    scalar = {item.name for item in model.graph.initializer if not item.dims or list(item.dims) == [1]}
    if name not in makers or makers[name].op_type != "Pad" or makers[name].input[0] not in makers:
        return False
    before = makers[makers[name].input[0]]
    return before.op_type == "DequantizeLinear" and before.input[1] not in scalar


def _behind(model: Any, name: str, kinds: tuple[str, ...]) -> str:
    """Return what the readers of a tensor make of it when all are of these kinds, else the tensor."""
    readers = [node for node in model.graph.node if name in node.input]
    return str(readers[0].output[0]) if readers and all(node.op_type in kinds for node in readers) else name
