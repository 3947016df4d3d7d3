"""What of an ONNX graph is known before it runs: constants, and the shape of every tensor for a batch of 1.

Both need each other: torch computes the target of a Reshape from the Shape of an activation, and the shape behind that
Reshape is known only then. So constants are folded and shapes inferred in turn until nothing new comes to light.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from quant.errors import QuantError
from quant.formats import Array

#: Operators evaluated when all their inputs are known: they are exact, repeatable, and what exporters compute shapes
#: and reordered weights with.
FOLDABLE = (
    "Abs",
    "Add",
    "Cast",
    "Ceil",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Div",
    "Equal",
    "Expand",
    "Flatten",
    "Floor",
    "Gather",
    "Identity",
    "Max",
    "Min",
    "Mul",
    "Neg",
    "Reshape",
    "Shape",
    "Slice",
    "Split",
    "Sqrt",
    "Squeeze",
    "Sub",
    "Transpose",
    "Unsqueeze",
    "Where",
)
#: Largest tensor for a batch of 1, in elements; more is a damaged or hostile file.
MAX_ELEMENTS = 1 << 27
#: Attributes that are counts or steps.
_POSITIVE = ("block_size", "blocksize", "dilations", "group", "kernel_shape", "num_outputs", "strides")
#: What numpy and ONNX's reference evaluator raise when attributes and inputs do not fit together.
DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)

Shapes = dict[str, tuple[int, ...]]


def first_line(error: BaseException) -> str:
    """Return what a foreign error says, without its traceback-like tail."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def resolve(
    path: Path, model: Any, name: str, output: str, constants: Mapping[str, Array]
) -> tuple[tuple[Any, ...], dict[str, Array], Shapes]:
    """Fold constants and infer shapes until both are complete.

    Args:
        path: of the file, for messages.
        model: a checked ModelProto.
        name: of the input; its first axis becomes a batch of 1.
        output: of the model; nodes that do not lead to it are left out.
        constants: the initializers.

    Returns:
        The nodes that compute, every constant, and every shape.

    Raises:
        QuantError: shapes do not fit a batch of 1, or a size is unknown.
    """
    fixed = _batch_of_one(path, model, name)
    known, shapes = dict(constants), Shapes()
    nodes = list(_alive(model.graph.node, output))
    _check_attributes(path, nodes)
    while True:
        left = _fold(path, model, nodes, known, shapes)
        if shapes and len(left) == len(nodes):
            break
        nodes = left
        shapes = _infer(path, fixed, nodes, known)
    alive = _alive(nodes, output)
    _check_known(path, alive, name, shapes)
    return alive, known, shapes


def _batch_of_one(path: Path, model: Any, name: str) -> Any:
    """Copy the model without its nodes and stored shapes, and with a batch of 1."""
    import onnx

    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    dims = next(value for value in fixed.graph.input if value.name == name).type.tensor_type.shape.dim
    if not dims:
        raise QuantError(f"{path}: input '{name}' has no shape; export the model with a known input shape.")
    dims[0].dim_value = 1
    for value in fixed.graph.output:
        value.type.tensor_type.ClearField("shape")
    del fixed.graph.value_info[:]
    del fixed.graph.node[:]
    del fixed.graph.initializer[:]
    return fixed


def _fold(
    path: Path, model: Any, nodes: list[Any], constants: dict[str, Array], shapes: Mapping[str, tuple[int, ...]]
) -> list[Any]:
    """Evaluate what is known (adding it to `constants`); return the other nodes."""
    left = []
    for node in nodes:
        values = _known_inputs(node, constants, shapes)
        if values is None:
            left.append(node)
        else:
            constants.update(zip(node.output, _evaluate(path, model, node, values, constants), strict=False))
    return left


def _known_inputs(
    node: Any, constants: Mapping[str, Array], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, Array] | None:
    if node.domain not in ("", "ai.onnx") or node.op_type not in FOLDABLE:
        return None
    if node.op_type == "Shape" and node.input[0] not in constants:
        shape = shapes.get(node.input[0])
        return None if not shape or 0 in shape else {node.input[0]: np.array(shape, np.int64)}
    names = [name for name in node.input if name]
    return {name: constants[name] for name in names} if all(name in constants for name in names) else None


def _evaluate(
    path: Path, model: Any, node: Any, values: dict[str, Array], constants: Mapping[str, Array]
) -> list[Array]:
    """Return a node's outputs; of the Shape of an activation `values` holds the sizes."""
    from onnx.reference import ReferenceEvaluator

    sizes = {"ConstantOfShape": 0, "Expand": 1}
    try:
        if node.op_type in sizes:
            elements = int(np.prod(values[node.input[sizes[node.op_type]]].astype(object)))
            if elements > MAX_ELEMENTS:
                raise ValueError(f"a constant of {elements} elements; at most {MAX_ELEMENTS}")
        axes = [list(item.ints) for item in node.attribute if item.name == "axes"]
        if node.op_type == "Unsqueeze" and axes:
            # ONNX's own evaluator fails on the form of opset 11.
            return [np.expand_dims(values[node.input[0]], tuple(axes[0]))]
        if node.op_type == "Shape" and node.input[0] not in constants:
            bounds = {item.name: item.i for item in node.attribute}
            return [values[node.input[0]][bounds.get("start", 0) : bounds.get("end")]]
        evaluator = ReferenceEvaluator(node, opsets={entry.domain: entry.version for entry in model.opset_import})
        with np.errstate(all="ignore"):
            return [np.asarray(value) for value in evaluator.run(None, values)]
    except DAMAGED as error:
        label = node.name or (node.output[0] if node.output else "?")
        raise QuantError(
            f"{path}: node '{label}' (op {node.op_type}) cannot be computed from its constants: {first_line(error)}"
        ) from error


def _infer(path: Path, fixed: Any, nodes: list[Any], constants: Mapping[str, Array]) -> Shapes:
    """Infer shapes of the folded graph: pads that torch computes from constants are known only there."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(fixed)
    # Behind an operator that will be refused nothing needs a shape.
    unknown = next((i for i, node in enumerate(nodes) if not _is_known(node)), len(nodes))
    model.graph.node.extend(_plain(node) for node in nodes[:unknown])
    read = {name for node in nodes for name in node.input}
    try:
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(np.asarray(value, order="C"), name)
            for name, value in constants.items()
            if name in read
        )
        inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, *DAMAGED) as error:
        raise QuantError(
            f"{path}: shapes do not fit a batch of 1 ({first_line(error)}); export with a free batch axis."
        ) from error
    shapes = {name: tuple(value.shape) for name, value in constants.items()}
    for value in (*inferred.graph.input, *inferred.graph.value_info, *inferred.graph.output):
        if value.type.tensor_type.HasField("shape") and value.name not in constants:
            # Negative sizes come from damaged files; 0 stands for unknown.
            shapes[value.name] = tuple(max(dim.dim_value, 0) for dim in value.type.tensor_type.shape.dim)
    return shapes


def _alive(nodes: Sequence[Any], output: str) -> tuple[Any, ...]:
    """Return the nodes that lead to the output."""
    wanted, kept = {output}, []
    for node in reversed(nodes):
        if wanted.intersection(node.output):
            wanted.update(node.input)
            kept.append(node)
    return tuple(reversed(kept))


def _plain(node: Any) -> Any:
    """Return a node with the same shapes that ONNX knows: quantisers of QONNX keep the shape."""
    import onnx

    from quant.onnx_nodes import is_qonnx

    return onnx.helper.make_node("Identity", node.input[:1], node.output[:1]) if is_qonnx(node) else node


def _is_known(node: Any) -> bool:
    from quant.onnx_nodes import SUPPORTED, is_qonnx

    return is_qonnx(node) or (node.domain in ("", "ai.onnx") and node.op_type in (*SUPPORTED, *FOLDABLE))


def _check_attributes(path: Path, nodes: list[Any]) -> None:
    """Refuse steps and sizes below 1: ONNX's shape inference divides by them, and the process would die."""
    for node in nodes:
        for item in node.attribute:
            values = [*item.ints, item.i] if item.type == item.INT else list(item.ints)
            if item.name in _POSITIVE and values and not 1 <= min(values) <= max(values) < 1 << 31:
                label = node.name or (node.output[0] if node.output else "?")
                raise QuantError(
                    f"{path}: node '{label}' (op {node.op_type}): {item.name} must be at least 1, not {values}."
                )


def _check_known(path: Path, nodes: tuple[Any, ...], name: str, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse unknown sizes; behind an operator that is not supported anyway, that operator is the better complaint."""
    if not all(_is_known(node) for node in nodes):
        return
    makers = {node.output[0]: node for node in nodes}
    for tensor in (name, *makers):
        if tensor not in shapes or 0 in shapes[tensor]:
            known = list(shapes.get(tensor, ())) or "none"
            made = makers.get(tensor)
            where = f", made by node '{made.name or tensor}' (op {made.op_type})," if made else ""
            raise QuantError(
                f"{path}: tensor '{tensor}'{where} has an unknown or zero size (known: {known}, 0 is unknown); "
                "export with fixed height and width."
            )
        if np.prod(shapes[tensor], dtype=object) > MAX_ELEMENTS:
            raise QuantError(f"{path}: tensor '{tensor}' of shape {list(shapes[tensor])} is too large.")
