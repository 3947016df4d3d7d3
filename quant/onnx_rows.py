"""1-D networks (audio, sensors) as images of one row: [N, C, L] becomes [N, C, 1, L] between input and output.

Convolutions, pools and pads get a window of one row, axes behind the channels move by one, and constants that meet
such tensors get the axis too. A Reshape behind the input, and one before an output with three axes, keep the file's
own shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from quant.formats import Array
from quant.onnx_read import OnnxModel

#: Operators with windows; a file with one over [N, C, L] is a 1-D network.
WINDOWED = ("AveragePool", "Conv", "GlobalAveragePool", "MaxPool")
#: The row's axis.
ROW = 2
_BETWEEN = ("DequantizeLinear", "QuantizeLinear", "Identity", "Clip", "Quant", "IntQuant", "FloatQuant", "BipolarQuant")


def with_rows(model: OnnxModel) -> OnnxModel:
    """Return a model whose activations of three axes have four; the same model if no window runs over three axes."""
    if not any(n.op_type in WINDOWED and len(model.shapes.get(n.input[0], ())) == 3 for n in model.nodes):
        return model
    rows = _Rows(model, dict(model.constants), dict(model.shapes))
    for node in model.nodes:
        rows.add(node)
    return rows.finished()


@dataclass(eq=False)
class _Rows:
    """The model in the making; `renamed` leads from the file's input to what stands behind its Reshape."""

    model: OnnxModel
    constants: dict[str, Array]
    shapes: dict[str, tuple[int, ...]]
    nodes: list[Any] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        source = self.model.input
        if self.is_flat(source):
            self.renamed[source] = self.reshaped(source, f"{source}.row", _with_row(self.model.shapes[source]))

    def is_flat(self, name: str) -> bool:
        """Whether a name is an activation of three axes in the file."""
        return name not in self.model.constants and len(self.model.shapes.get(name, ())) == 3

    def reshaped(self, source: str, wanted: str, shape: tuple[int, ...]) -> str:
        """Put a Reshape behind a tensor; return the name of the result."""
        import onnx

        name, sizes = self.fresh(wanted), self.fresh(f"{wanted}.shape")
        self.constants[sizes], self.shapes[sizes] = np.array(shape, np.int64), (len(shape),)
        self.shapes[name] = shape
        self.nodes.append(onnx.helper.make_node("Reshape", [source, sizes], [name], name=name))
        return name

    def fresh(self, name: str) -> str:
        """Return a name that nothing has yet."""
        while name in self.shapes or name in self.constants:
            name += "_"
        return name

    def add(self, node: Any) -> None:
        """Add a node of the file, in its form for images where it reads three axes."""
        import onnx

        made = onnx.NodeProto()
        made.CopyFrom(node)
        for name in node.output:
            if self.is_flat(name):
                self.shapes[name] = _with_row(self.model.shapes[name])
        if any(self.is_flat(name) for name in node.input):
            self._widen(node, made)
        made.input[:] = [self.renamed.get(name, name) for name in made.input]
        self.nodes.append(made)

    def _widen(self, node: Any, made: Any) -> None:
        attributes = {item.name: onnx_value(item) for item in node.attribute}
        match node.op_type:
            case "Conv" | "MaxPool" | "AveragePool":
                _set(made, attributes, _window(attributes))
                if node.op_type == "Conv":
                    self._weight(node.input[1])
            case "Concat":
                _set(made, attributes, {"axis": _axis(int(attributes["axis"]))})
            case "ReduceMean" | "Squeeze" | "Unsqueeze" | "Slice" | "Pad":
                self._axes(node, made, attributes)
            case "Add" | "Mul" | "Min" | "Div":
                for index, name in enumerate(node.input):
                    value = self.model.constants.get(name)
                    if value is not None and value.ndim in (2, 3):
                        made.input[index] = self.constant(name, np.expand_dims(value, value.ndim - 1))
            case _:
                pass

    def constant(self, like: str, value: Array) -> str:
        """Store a constant beside the one it comes from; return its name."""
        name = self.fresh(f"{like}.row")
        self.constants[name], self.shapes[name] = value, value.shape
        return name

    def _weight(self, name: str) -> None:
        """Give a weight [O, I, k] its row, wherever its values or codes are stored."""
        makers = {output: node for node in self.model.nodes for output in node.output}
        while name not in self.model.constants and name in makers and makers[name].op_type in _BETWEEN:
            name = makers[name].input[0]
        value = self.constants.get(name)
        if value is not None and value.ndim == 3:
            self.constants[name] = np.expand_dims(value, ROW)
            self.shapes[name] = self.constants[name].shape

    def _axes(self, node: Any, made: Any, attributes: Mapping[str, Any]) -> None:
        """Move axes, which are an attribute or an input, and give Pad and Slice without axes the row's."""
        if node.op_type in ("Squeeze", "Unsqueeze"):
            # Only their result's shape counts, as in a Reshape.
            return
        place = {"ReduceMean": 1, "Slice": 3, "Pad": 3}[node.op_type]
        name = node.input[place] if len(node.input) > place else ""
        axes = self.model.constants.get(name)
        if axes is not None:
            made.input[place] = self.constant(name, self._moved(node, axes))
        elif "axes" in attributes:
            moved = self._moved(node, np.array(attributes["axes"]))
            _set(made, attributes, {"axes": [int(axis) for axis in moved]})
        elif node.op_type == "Pad":
            self._pads(node, made, attributes)

    def _moved(self, node: Any, axes: Array) -> Array:
        moved = [_axis(int(axis)) for axis in axes.reshape(-1)]
        # A mean over the length is one over height and width.
        return np.array([ROW, *moved] if node.op_type == "ReduceMean" and ROW + 1 in moved else moved, axes.dtype)

    def _pads(self, node: Any, made: Any, attributes: Mapping[str, Any]) -> None:
        """Add a row's counts, none, to pads of all three axes."""
        name = node.input[1] if len(node.input) > 1 else ""
        counts = self.model.constants.get(name)
        if counts is not None and counts.size == 6:
            made.input[1] = self.constant(name, np.insert(counts, [2, 5], 0))
        elif len(attributes.get("pads", ())) == 6:
            _set(made, attributes, {"pads": [int(n) for n in np.insert(np.array(attributes["pads"]), [2, 5], 0)]})

    def finished(self) -> OnnxModel:
        """Return the model, its output in the file's own shape."""
        output = self.model.output
        if self.is_flat(output):
            shape = self.model.shapes[output]
            output = self.reshaped(self.renamed.get(output, output), f"{output}.flat", shape)
        return replace(self.model, output=output, nodes=tuple(self.nodes), constants=self.constants, shapes=self.shapes)


def onnx_value(item: Any) -> Any:
    """Return an attribute as a Python value."""
    import onnx

    return onnx.helper.get_attribute_value(item)


def _with_row(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*shape[:ROW], 1, *shape[ROW:])


def _axis(axis: int) -> int:
    """Return where an axis of three, perhaps counted from behind, is among four."""
    axis %= 3
    return axis + (axis >= ROW)


def _window(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of a window of one row; those of another length stay, to be refused."""
    single = {key: [1, *attributes[key]] for key in ("kernel_shape", "strides", "dilations") if key in attributes}
    pads = list(attributes.get("pads", ()))
    return single | ({"pads": [0, pads[0], 0, pads[1]]} if len(pads) == 2 else {})


def _set(made: Any, attributes: Mapping[str, Any], changes: Mapping[str, Any]) -> None:
    import onnx

    del made.attribute[:]
    made.attribute.extend(onnx.helper.make_attribute(key, value) for key, value in {**attributes, **changes}.items())
