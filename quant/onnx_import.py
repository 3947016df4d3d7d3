"""Import ONNX into a `Graph`: float models, and models quantised elsewhere in QDQ form.

QDQ: each QuantizeLinear -> DequantizeLinear pair names the number format of the tensor it reads; both vanish. uint8
codes become int8 (zero point - 128), which is the same function. A tensor quantised twice with different parameters
gets a Requantize node. Scales that are missing are an error, never guessed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from quant import onnx_nodes as convert
from quant import operators as ops
from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph, Node, Quant, Tensor, check
from quant.onnx_quant import bias_fits, complete, quantise_bias, quantise_constant, read_quant
from quant.onnx_read import OnnxModel, read_onnx


def load_onnx(path: Path) -> Graph:
    """Import a float or QDQ ONNX model.

    Raises:
        QuantError: the file cannot be read, or holds something that is not understood; the message names the node,
            its op, input shapes and opset, and lists what is supported.
    """
    model = read_onnx(path)
    importer = _Importer(model)
    for node in model.nodes:
        importer.add(node)
    return importer.finish()


class _Importer:
    """Collects the nodes, tensors and weights of one graph while walking ONNX nodes in order."""

    def __init__(self, model: OnnxModel) -> None:
        self.model = model
        self.nodes: list[Node] = []
        self.weights: dict[str, Array] = {}
        self.quants: dict[str, Quant] = {}
        self.shapes: dict[str, tuple[int, ...]] = {model.input: model.shapes[model.input]}
        #: ONNX tensor -> graph tensor that holds its values (pass-through and Q/DQ outputs).
        self.alias: dict[str, str] = {}

    def add(self, node: Any) -> None:
        """Import one ONNX node."""
        plain = node.domain in ("", "ai.onnx")
        if not plain or node.op_type not in convert.SUPPORTED:
            raise convert.refuse(
                self.model,
                node,
                f"this operator is not supported{'' if plain else f' (domain {node.domain})'}. "
                f"Supported: {', '.join(convert.SUPPORTED)}. Rewrite it with these, or cut the model before it.",
            )
        match node.op_type:
            case "QuantizeLinear":
                self._quantize(node)
            case "Identity" | "Dropout" | "DequantizeLinear":
                if node.input[0] not in self.model.constants:
                    self.alias[node.output[0]] = self._source(node.input[0])
                elif node.op_type == "DequantizeLinear":
                    self.quants[node.output[0]] = read_quant(self.model, node)
                    self.alias[node.output[0]] = node.input[0]
            case "Conv":
                self._conv(node)
            case "Gemm" | "MatMul":
                self._gemm(node)
            case "Add":
                self._add(node)
            case "BatchNormalization":
                self._batch_norm(node)
            case _:
                self._simple(node)

    def _source(self, name: str) -> str:
        return self.alias.get(name, name)

    def _emit(self, node: Any, op: ops.Operator, inputs: tuple[str, ...]) -> None:
        output = node.output[0]
        self.nodes.append(Node(node.name or output, op, inputs, output))
        self.shapes[output] = self.model.shapes[output]

    def _simple(self, node: Any) -> None:
        makers: dict[str, Any] = {
            "Relu": convert.clip,
            "Clip": convert.clip,
            "MaxPool": convert.max_pool,
            "AveragePool": convert.average_pool,
            "GlobalAveragePool": convert.mean,
            "ReduceMean": convert.mean,
            "Pad": convert.pad,
            "Slice": convert.slice_,
            "Concat": convert.concat,
            "Reshape": convert.reshape,
            "Flatten": convert.reshape,
            "Softmax": convert.softmax,
        }
        op = makers[node.op_type](self.model, node)
        count = len(node.input) if node.op_type == "Concat" else 1
        self._emit(node, op, tuple(self._activation(node, i) for i in range(count)))

    def _activation(self, node: Any, index: int) -> str:
        name = self._source(node.input[index])
        if name not in self.shapes:
            raise convert.refuse(self.model, node, f"input {index} ('{name}') must be computed, not a constant.")
        return name

    def _quantize(self, node: Any) -> None:
        name, quant = self._source(node.input[0]), read_quant(self.model, node)
        if name in self.model.constants:
            self.alias[node.output[0]] = name
            return
        known = self.quants.get(name)
        if known is not None and known != quant:
            self._emit(node, ops.Requantize(), (name,))
            name = node.output[0]
        self.quants[name] = quant
        self.alias[node.output[0]] = name

    def _parameter(self, node: Any, index: int) -> tuple[Array, Quant | None]:
        """Return a weight as float values, or as codes with their format."""
        name = node.input[index]
        source = self._source(name)
        if source not in self.model.constants:
            raise convert.refuse(self.model, node, f"weight input {index} ('{name}') must be a constant.")
        value, quant = self.model.constants[source], self.quants.get(name)
        return quantise_constant(self.model, node, value, quant)

    def _bias(self, node: Any, index: int, out: int) -> tuple[Array, Quant | None]:
        if index >= len(node.input) or not node.input[index]:
            return np.zeros(out, dtype=np.float32), None
        source = self._source(node.input[index])
        if source not in self.model.constants:
            raise convert.refuse(self.model, node, f"bias input {index} ('{source}') must be a constant.")
        return self.model.constants[source].reshape(-1), self.quants.get(node.input[index])

    def _layer(self, node: Any, op: ops.Operator, weight: Array, quant: Quant | None, bias: Array) -> None:
        label = node.name or node.output[0]
        names = (f"{label}.weight", f"{label}.bias")
        self.weights[names[0]], self.weights[names[1]] = weight, bias
        if quant is not None:
            self.quants[names[0]] = quant
        self.shapes[names[0]], self.shapes[names[1]] = weight.shape, bias.shape
        self._emit(node, op, (self._activation(node, 0), *names))

    def _finish_bias(self, node: Any, weight: Quant | None, bias: Array, quant: Quant | None) -> Array:
        if weight is None:
            return bias.astype(np.float32)
        x = self.quants.get(self._source(node.input[0]))
        if x is None:
            raise convert.refuse(self.model, node, f"its input '{node.input[0]}' has no QuantizeLinear before it.")
        if quant is None:
            return quantise_bias(bias, x, weight)
        if not bias_fits(quant, x, weight, bias.size):
            raise convert.refuse(self.model, node, "its bias scale is not input scale times weight scale.")
        return bias.astype(np.int32)

    def _conv(self, node: Any) -> None:
        weight, quant = self._parameter(node, 1)
        if weight.ndim != 4:
            raise convert.refuse(self.model, node, "only 2-D convolutions are supported.")
        strides, pads, dilations = convert.window(self.model, node, (weight.shape[2], weight.shape[3]))
        groups = int(convert.attributes(node).get("group", 1))
        bias, bias_quant = self._bias(node, 2, weight.shape[0])
        op = ops.Conv(strides=strides, pads=pads, dilations=dilations, groups=groups)
        self._layer(node, op, weight, quant, self._finish_bias(node, quant, bias, bias_quant))

    def _gemm(self, node: Any) -> None:
        attrs = convert.attributes(node)
        if attrs.get("alpha", 1.0) != 1.0 or attrs.get("beta", 1.0) != 1.0 or attrs.get("transA", 0):
            raise convert.refuse(self.model, node, "only alpha = beta = 1 and transA = 0 are supported.")
        if len(self.model.shapes[node.input[0]]) != 2:
            raise convert.refuse(self.model, node, "only [batch, features] inputs are supported; put a Flatten before.")
        weight, quant = self._parameter(node, 1)
        if not attrs.get("transB", 0):
            weight = np.ascontiguousarray(weight.T)
            if quant is not None and len(quant.scale) > 1:
                quant = Quant(quant.format, quant.scale, quant.zero, 1 - (quant.axis or 0))
        if quant is not None and quant.axis not in (None, 0):
            raise convert.refuse(self.model, node, "weight scales must run along the output channels.")
        bias, bias_quant = self._bias(node, 2, weight.shape[0])
        if bias.shape != (weight.shape[0],):
            bias = np.broadcast_to(bias, (weight.shape[0],)).copy()
        self._layer(node, ops.Gemm(), weight, quant, self._finish_bias(node, quant, bias, bias_quant))

    def _add(self, node: Any) -> None:
        fixed = [i for i in (0, 1) if self._source(node.input[i]) in self.model.constants]
        if not fixed:
            names = (self._activation(node, 0), self._activation(node, 1))
            if self.shapes[names[0]] != self.shapes[names[1]]:
                raise convert.refuse(self.model, node, "broadcasting is not supported.")
            self._emit(node, ops.Add(), names)
            return
        self._add_bias(node, fixed[0])

    def _add_bias(self, node: Any, index: int) -> None:
        """Fold an added constant into the bias of the Gemm or Conv before it (MatMul + Add)."""
        source = self._source(node.input[1 - index])
        last = self.nodes[-1] if self.nodes else None
        value = self.model.constants[self._source(node.input[index])].reshape(-1)
        if last is None or last.output != source or not isinstance(last.op, ops.Gemm | ops.Conv):
            raise convert.refuse(self.model, node, "adding a constant is supported right behind MatMul, Gemm or Conv.")
        bias = self.weights[last.inputs[2]]
        if bias.dtype.kind != "f" or node.input[index] in self.quants or value.size not in (1, bias.size):
            raise convert.refuse(self.model, node, "only one float constant per output channel can be added.")
        self.weights[last.inputs[2]] = bias + value.astype(np.float32)
        self.alias[node.output[0]] = source

    def _batch_norm(self, node: Any) -> None:
        label = node.name or node.output[0]
        names = tuple(f"{label}.{part}" for part in ("gamma", "beta", "mean", "variance"))
        for index, name in enumerate(names, start=1):
            value = convert.constant(self.model, node, index)
            assert value is not None
            self.weights[name], self.shapes[name] = value.astype(np.float32), value.shape
        epsilon = float(convert.attributes(node).get("epsilon", 1e-5))
        self._emit(node, ops.BatchNorm(epsilon=epsilon), (self._activation(node, 0), *names))

    def finish(self) -> Graph:
        """Return the checked graph."""
        output = self._source(self.model.output)
        tensors = {name: Tensor(shape, self.quants.get(name)) for name, shape in self.shapes.items()}
        graph = Graph(self.model.name, self.model.input, output, tuple(self.nodes), tensors, self.weights)
        if not self.nodes:
            raise QuantError(f"{self.model.name}: the model computes nothing.")
        return check(complete(graph) if self.quants else graph)
