"""An ONNX model at an older operator set, where that changes nothing but the number: checked op by op, then by numbers.

`onnx.version_converter` has no way back for many operators (Relu from 14 to 13), although their schemas differ in lists
of types only. So the label is changed when, for every node, the schema of the older set takes what the node is: as many
inputs and outputs, no attribute that it lacks, and the types that it has. The checker then looks at the whole, and ONNX
Runtime computes both models on random inputs. Import lazily: this module needs the onnx package.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import defs, helper

from export.errors import ExportError
from export.runtimes.ort import open_ort
from quant.formats import Array

_OWN_DOMAINS = ("", "ai.onnx")
#: Attributes that newer sets added, with values that mean what nodes did before: (operator, attribute, value).
_NEUTRAL = (
    ("Reshape", "allowzero", 0),
    ("Cast", "saturate", 1),  # of FP8 only
    ("QuantizeLinear", "saturate", 1),  # of FP8 only
    ("QuantizeLinear", "block_size", 0),
    ("QuantizeLinear", "output_dtype", 0),
    ("DequantizeLinear", "block_size", 0),
    ("BatchNormalization", "training_mode", 0),
    ("AveragePool", "dilations", None),  # refused when a node states any; 1 otherwise
)
#: How many random inputs both models compute.
SAMPLES = 4


def relabel(model: Any, opset: int, *, seed: int = 0) -> Any:
    """Return a model at an older operator set, or itself when it already is at or below it.

    Args:
        model: ModelProto of the default domain.
        opset: the operator set wanted.
        seed: of the random inputs on which both are computed.

    Raises:
        ExportError: naming the node and what the older set cannot say, or the first output that differs.
    """
    old = operator_set(model)
    if old <= opset:
        return model
    problems = list(differences(model, old, opset))
    if problems:
        shown = "; ".join(problems[:3]) + (f"; and {len(problems) - 3} more" if len(problems) > 3 else "")
        raise ExportError(
            f"the model cannot be relabelled from operator set {old} to {opset}: {shown}. Export it at {opset} instead."
        )
    made = onnx.ModelProto()
    made.CopyFrom(model)
    del made.opset_import[:]
    made.opset_import.append(helper.make_opsetid("", opset))
    made.ir_version = min(model.ir_version, helper.find_min_ir_version_for(list(made.opset_import)))
    _check(made, opset)
    _compare(model, made, seed)
    return made


def operator_set(model: Any) -> int:
    """Return the version of the default domain.

    Raises:
        ExportError: the model states none.
    """
    found = [entry.version for entry in model.opset_import if entry.domain in _OWN_DOMAINS]
    if not found:
        raise ExportError("the model states no operator set of the default domain. Export it again.")
    return int(max(found))


def differences(model: Any, old: int, new: int) -> Iterator[str]:
    """Yield what a model holds that the operator set `new` cannot say, node by node."""
    named = [(node, f"{node.op_type} '{node.name or node.output[0]}'") for node in model.graph.node]
    opaque = [problem for node, name in named for problem in _opaque(node, name)]
    yield from opaque
    if opaque:
        return
    types = _types(model)
    for node, name in named:
        yield from (f"{name} {problem}" for problem in _of_node(node, old, new, types))


def _opaque(node: Any, name: str) -> Iterator[str]:
    """Yield why a node cannot be looked into."""
    if node.domain not in _OWN_DOMAINS:
        yield f"{name} is of the domain {node.domain}"
    elif any(a.type in (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS) for a in node.attribute):
        yield f"{name} holds a graph of its own, which is not looked into"


def _of_node(node: Any, old: int, new: int, types: Mapping[str, str]) -> Iterator[str]:
    try:
        before, after = (defs.get_schema(node.op_type, version, "") for version in (old, new))
    except defs.SchemaError:
        yield f"does not exist in operator set {new}"
        return
    if before.since_version == after.since_version:
        return
    yield from _counts(node, before, after)
    yield from _attributes(node, before, after)
    for kind, names, formals in (("input", node.input, after.inputs), ("output", node.output, after.outputs)):
        for index, name in enumerate(names):
            formal = formals[min(index, len(formals) - 1)]
            if name and types.get(name, "unknown") not in formal.types:
                yield f"has {kind} '{name}' of type {types.get(name, 'unknown')}, which set {new} does not take"


def _counts(node: Any, before: Any, after: Any) -> Iterator[str]:
    if not after.min_input <= len(node.input) <= after.max_input:
        yield f"has {len(node.input)} inputs"
    if not after.min_output <= len(node.output) <= after.max_output:
        yield f"has {len(node.output)} outputs"
    shared = min(len(before.inputs), len(after.inputs))
    for index in range(shared):
        if before.inputs[index].name != after.inputs[index].name:
            yield f"calls its input {index} '{before.inputs[index].name}', the older one '{after.inputs[index].name}'"


def _attributes(node: Any, before: Any, after: Any) -> Iterator[str]:
    stated = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    neutral = {(op, name): value for op, name, value in _NEUTRAL}
    for name in before.attributes.keys() - after.attributes.keys():
        if (node.op_type, name) not in neutral:
            yield f"has the attribute {name}, which came later and may change what it does"
        elif name in stated and stated[name] != neutral[node.op_type, name]:
            yield f"has {name} = {stated[name]}, which the older set does not know"
    for name in before.attributes.keys() & after.attributes.keys():
        if name not in stated and _default(before, name) != _default(after, name):
            yield f"leaves {name} to its default, which changed"
    for name in after.attributes.keys() - before.attributes.keys():
        yield f"had the attribute {name} then, and what replaced it is not known here"


def _default(schema: Any, name: str) -> bytes:
    return bytes(schema.attributes[name].default_value.SerializeToString())


def _types(model: Any) -> dict[str, str]:
    """Return the type of every tensor as schemas spell it."""
    try:
        graph = onnx.shape_inference.infer_shapes(model).graph
    except onnx.shape_inference.InferenceError as error:
        raise ExportError(f"the types of the model cannot be inferred: {error}. Export it again.") from error
    values = [*graph.input, *graph.output, *graph.value_info]
    kinds = {value.name: value.type.tensor_type.elem_type for value in values}
    kinds |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    names = {number: name for name, number in onnx.TensorProto.DataType.items()}
    return {tensor: f"tensor({names[kind].lower()})" for tensor, kind in kinds.items() if kind}


def _check(made: Any, opset: int) -> None:
    try:
        onnx.checker.check_model(made, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ExportError(f"the model is not valid at operator set {opset}: {error}") from error


def _compare(model: Any, made: Any, seed: int) -> None:
    """Compute both on the same inputs; every value of every output has to be the very same."""
    sessions = [open_ort(bytes(each.SerializeToString()), as_written=True) for each in (model, made)]
    rng = np.random.default_rng(seed)
    outputs = [output.name for output in model.graph.output]
    for _ in range(SAMPLES):
        feed = _inputs(model, rng)
        before, after = (session.run(outputs, feed) for session in sessions)
        for name, old, new in zip(outputs, before, after, strict=True):
            if not np.array_equal(old, new, equal_nan=True):
                raise ExportError(f"output '{name}' differs in ONNX Runtime after the relabelling. Export it anew.")


def _inputs(model: Any, rng: np.random.Generator) -> dict[str, Array]:
    """Return random inputs; dynamic dimensions are 1."""
    constants = {tensor.name for tensor in model.graph.initializer}
    feed = {}
    for port in model.graph.input:
        if port.name in constants:
            continue
        kind = helper.tensor_dtype_to_np_dtype(port.type.tensor_type.elem_type)
        shape = [dim.dim_value or 1 for dim in port.type.tensor_type.shape.dim]
        real = rng.normal(0.0, 1.0, shape)
        feed[port.name] = (real if np.issubdtype(kind, np.floating) else np.abs(real) * 50).astype(kind)
    return feed
