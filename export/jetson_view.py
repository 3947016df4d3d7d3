"""An ONNX model as the Jetson linter reads it: nodes, constants, who makes and who reads each tensor.

Import lazily: this module needs the onnx package.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

QUANTISE, DEQUANTISE = "QuantizeLinear", "DequantizeLinear"


@dataclass(frozen=True, eq=False)
class View:
    """One model. `makers` maps a tensor to its node, `readers` to the nodes that read it.

    `types` holds the ONNX types of tensors that are not constant, as far as the model states them.
    """

    model: Any
    nodes: tuple[Any, ...]
    constants: Mapping[str, Any]
    makers: Mapping[str, Any]
    readers: Mapping[str, tuple[Any, ...]]
    outputs: frozenset[str]
    types: Mapping[str, int]

    def qdq(self) -> tuple[Any, ...]:
        """Return every QuantizeLinear and DequantizeLinear."""
        return tuple(node for node in self.nodes if node.op_type in (QUANTISE, DEQUANTISE))

    def input(self, node: Any, index: int) -> str:
        """Return the name of an input, empty when it is left out."""
        return str(node.input[index]) if len(node.input) > index else ""

    def type_of(self, name: str) -> str:
        """Return the ONNX type name of a tensor (`INT8`, ...); empty when the model does not state it."""
        tensor = self.constants.get(name)
        kind = self.types.get(name, 0) if tensor is None else tensor.data_type
        return str(onnx.TensorProto.DataType.Name(kind)) if kind else ""

    def values(self, name: str) -> Any:
        """Return a constant as an array, or None."""
        tensor = self.constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def is_weight(self, node: Any) -> bool:
        """Whether a Q or DQ works on a constant, directly or behind a Q of a constant."""
        source = self.input(node, 0)
        maker = self.makers.get(source)
        if maker is not None and node.op_type == DEQUANTISE and maker.op_type == QUANTISE:
            source = self.input(maker, 0)
        return source in self.constants

    def weight_shape(self, node: Any) -> tuple[int, ...] | None:
        """Return the shape of the constant a Q or DQ works on, or None for activations."""
        if not self.is_weight(node):
            return None
        source = self.input(node, 0)
        if source not in self.constants:
            source = self.input(self.makers[source], 0)
        return tuple(self.constants[source].dims)

    def made_by(self, name: str, *kinds: str) -> bool:
        """Whether a tensor is made by a node of one of these kinds."""
        maker = self.makers.get(name)
        return maker is not None and maker.op_type in kinds


def attribute(node: Any, name: str) -> Any:
    """Return an attribute's value, or None."""
    found = next((a for a in node.attribute if a.name == name), None)
    return None if found is None else helper.get_attribute_value(found)


def view(model: Any) -> View:
    """Index a ModelProto. Outputs of Constant nodes count as constants."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    nodes = tuple(model.graph.node)
    for node in nodes:
        value = _constant(node) if node.op_type == "Constant" else None
        if value is not None:
            constants[node.output[0]] = value
    readers: dict[str, list[Any]] = {}
    for node in nodes:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    return View(
        model=model,
        nodes=nodes,
        constants=constants,
        makers={name: node for node in nodes for name in node.output if name not in constants},
        readers={name: tuple(found) for name, found in readers.items()},
        outputs=frozenset(output.name for output in model.graph.output),
        types={v.name: v.type.tensor_type.elem_type for v in (*model.graph.input, *model.graph.value_info)},
    )


def _constant(node: Any) -> Any:
    """Return the value of a Constant node as a TensorProto; None for strings and sparse values."""
    for name, kind in (("value_float", np.float32), ("value_floats", np.float32), ("value_int", np.int64)):
        found = attribute(node, name)
        if found is not None:
            return numpy_helper.from_array(np.array(found, dtype=kind), node.output[0])
    return attribute(node, "value")
