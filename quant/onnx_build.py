"""What the ONNX importer collects while it walks the nodes of a file in order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from quant import operators as ops
from quant.formats import Array
from quant.graph import Graph, Node, Quant, Tensor
from quant.onnx_nodes import refuse
from quant.onnx_quant import Stored
from quant.onnx_read import OnnxModel
from quant.rounding import quantise

#: ONNX operators that keep every channel to itself.
CHANNEL_MOVES = ("MaxPool", "Pad")
#: ONNX operators that put real values on a grid.
ROUNDINGS = ("FloatQuant", "IntQuant", "Quant", "QuantizeLinear")


@dataclass(eq=False)
class Build:
    """The nodes, tensors and weights of one graph in the making.

    `alias` leads from an ONNX name to the graph tensor or constant with its values. `quants` holds number formats of
    graph tensors, `constants` those of ONNX names that stand for a quantised constant. `codes` are the ONNX names
    that hold codes (behind a QuantizeLinear, before its DequantizeLinear), `clips` the limits of clipped constants,
    `turned` the order of axes of transposed ones. `ratios` are the scales per channel of graph tensors that had such
    ones, relative to the one scale they have got (quant.onnx_channels).
    """

    model: OnnxModel
    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    quants: dict[str, Quant] = field(default_factory=dict)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    alias: dict[str, str] = field(default_factory=dict)
    constants: dict[str, Stored] = field(default_factory=dict)
    codes: dict[str, Stored] = field(default_factory=dict)
    clips: dict[str, tuple[int, int]] = field(default_factory=dict)
    turned: dict[str, tuple[int, ...]] = field(default_factory=dict)
    ratios: dict[str, Array] = field(default_factory=dict)
    readers: Counter[str] = field(default_factory=Counter)
    labels: set[str] = field(default_factory=set)

    def source(self, name: str) -> str:
        """Return the graph tensor or constant behind an ONNX name."""
        return self.alias.get(name, name)

    def is_constant(self, name: str) -> bool:
        """Whether an ONNX name stands for a constant, quantised or not."""
        return self.source(name) in self.model.constants

    def label(self, node: Any) -> str:
        """Return a node's name; ONNX files may leave it out or use it twice, graphs may not."""
        label = node.name or node.output[0]
        while label in self.labels:
            label = f"{label}_{node.output[0]}"
        self.labels.add(label)
        return str(label)

    def emit(self, node: Any, op: ops.Operator, inputs: tuple[str, ...], label: str | None = None) -> None:
        """Add one graph node that makes the ONNX node's first output."""
        output = node.output[0]
        self.nodes.append(Node(label or self.label(node), op, inputs, output))
        self.shapes[output] = self.model.shapes[output]

    def activation(self, node: Any, index: int) -> str:
        """Return the graph tensor a node reads; a constant is refused."""
        name = self.source(node.input[index])
        if name not in self.shapes:
            raise refuse(self.model, node, f"input {index} ('{name}') must be computed, not a constant.")
        if name in self.ratios and node.op_type not in ("Conv", *CHANNEL_MOVES):
            why = "which only a depthwise convolution can read; use one scale for activations."
            raise refuse(self.model, node, f"its input '{name}' has one scale per channel, {why}")
        if name == self.model.input and self.model.input_dtype.kind in "iu" and name not in self.quants:
            raise refuse(self.model, node, f"input '{name}' holds integers; put a DequantizeLinear behind it.")
        return name

    def parameter(self, name: str, value: Array) -> str:
        """Store a weight under a name that no tensor of the file has; return that name."""
        while name in self.shapes or (name in self.model.shapes and name not in self.model.constants):
            name += "_"
        self.weights[name], self.shapes[name] = np.ascontiguousarray(value), value.shape
        return name

    def quantised(self, node: Any, source: str, stored: Stored) -> None:
        """Add the node that puts a tensor on a grid; real values and other grids alike, `complete` tells them apart."""
        clip = stored.clip()
        self.emit(node, ops.Requantize() if clip is None else ops.Clip(low=clip[0], high=clip[1]), (source,))
        self.quants[node.output[0]] = stored.quant

    def pass_grid(self) -> None:
        """Give what the last node made its inputs' grid where every value of it lies on that, and someone reads those.

        Where only roundings read it, it may take their grid (`quant.onnx_complete`).
        """
        node = self.nodes[-1]
        if node.inputs[0] in self.ratios:
            self.ratios[node.output] = self.ratios[node.inputs[0]]
        readers = [other.op_type for other in self.model.nodes if node.output in other.input]
        if readers and all(kind in ROUNDINGS for kind in readers) and node.output != self.model.output:
            return
        grids = {self.quants.get(name) for name in node.inputs}
        (quant, *others) = grids
        if quant is not None and not others and keeps_grid(node.op, quant):
            self.quants[node.output] = quant

    def graph(self) -> Graph:
        """Return what was collected."""
        tensors = {name: Tensor(shape, self.quants.get(name)) for name, shape in self.shapes.items()}
        output = self.source(self.model.output)
        return Graph(self.model.name, self.model.input, output, tuple(self.nodes), tensors, self.weights)


def keeps_grid(op: ops.Operator, quant: Quant) -> bool:
    """Whether an operator makes values of its inputs' grid only: it moves or picks them, or clips at grid points."""
    if not isinstance(op, ops.Clip):
        return isinstance(op, ops.MOVES) and not isinstance(op, ops.AveragePool)
    steps = np.array([op.low, op.high]) / quant.scale[0] + quant.zero
    fmt = quant.format
    if steps[0] > fmt.max or steps[1] < fmt.min:
        return False
    inside = np.clip(steps, fmt.min, fmt.max)
    # Scales are float32: 255 * float32(6 / 255) is 6 up to its last bits.
    return bool(np.allclose(quantise(fmt, inside), inside, rtol=0, atol=1e-4 * fmt.unit))


def start(model: OnnxModel) -> Build:
    """Return an empty build: only the input exists."""
    readers = Counter(name for node in model.nodes for name in node.input)
    readers[model.output] += 1
    return Build(model, shapes={model.input: model.shapes[model.input]}, readers=readers)
