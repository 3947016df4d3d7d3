"""Minimal ONNX models with QuantizeLinear and DequantizeLinear, for tests of the Jetson linter."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

NODE = helper.make_node
SHAPE = (1, 4, 6, 6)
INT8, SCALE, RELU = np.int8(0), np.float32(0.1), NODE("Relu", ["c"], ["y"])
Node = Any


def model(
    *nodes: Node,
    opset: int = 13,
    shape: tuple[int | str, ...] | None = SHAPE,
    kind: int = TensorProto.FLOAT,
    **more: Any,
) -> Any:
    """A model from `x` to `y`; other keyword arguments are constants, as arrays or as TensorProto."""
    ports = [helper.make_tensor_value_info("x", kind, shape), helper.make_tensor_value_info("y", 1, None)]
    values = [v if isinstance(v, TensorProto) else numpy_helper.from_array(np.asarray(v), k) for k, v in more.items()]
    graph = helper.make_graph(list(nodes), "minimal", ports[:1], ports[1:], values)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=7)


def pair(zero: Any = INT8, scale: Any = SCALE, inputs: int = 3, **more: Any) -> Any:
    """A model that is one Q/DQ pair on an activation, then Relu."""
    names = ["s", "z"][: inputs - 1]
    nodes = (
        NODE("QuantizeLinear", ["x", *names], ["q"], "quantise"),
        NODE("DequantizeLinear", ["q", *names], ["d"], "dequantise"),
        NODE("Relu", ["d"], ["y"]),
    )
    constants = {"s": scale, "z": zero} if inputs == 3 else {"s": scale}
    return model(*nodes, **constants, **more)


def weight(codes: Any, scale: Any, zero: Any, **attributes: Any) -> Any:
    """A model that adds one dequantised constant."""
    nodes = (NODE("DequantizeLinear", ["w", "s", "z"], ["d"], "weights", **attributes), NODE("Add", ["x", "d"], ["y"]))
    return model(*nodes, w=codes, s=scale, z=zero)


def packed(name: str, kind: int, shape: tuple[int, ...]) -> Any:
    """A constant of zeros of a type that numpy lacks."""
    return helper.make_tensor(name, kind, shape, [0] * int(np.prod(shape)))


def channels(axis: int | None, count: int = 4) -> Any:
    """Weights [4, 4, 3, 3] with `count` scales."""
    attributes = {} if axis is None else {"axis": axis}
    codes = np.ones((4, 4, 3, 3), np.int8)
    return weight(codes, np.full(count, 0.1, np.float32), np.zeros(count, np.int8), **attributes)


def blocked(shape: tuple[int, ...], codes: tuple[int, ...] = (4, 8)) -> Any:
    """Weights with one scale for each block."""
    return weight(np.ones(codes, np.int8), np.full(shape, 0.1, np.float32), np.zeros(shape, np.int8), axis=1)


def typed(kind: int, shape: tuple[int, ...] = (4, 8)) -> Any:
    """Weights of a type that numpy lacks."""
    return weight(packed("w", kind, shape), np.float32(0.1), packed("z", kind, ()))


def converted(zero: Any, output_dtype: int) -> Any:
    """One QuantizeLinear that states its output type."""
    node = NODE("QuantizeLinear", ["x", "s", "z"], ["y"], "quantise", output_dtype=output_dtype)
    return model(node, s=np.float32(0.1), z=zero, opset=20)


def read_codes(kind: int) -> Any:
    """A DequantizeLinear of the model's input, with two inputs."""
    return model(NODE("DequantizeLinear", ["x", "s"], ["y"], "dequantise"), kind=kind, s=np.float32(0.1))


def one(op: str, domain: str = "") -> Any:
    """One node without constants."""
    return model(NODE(op, ["x"], ["y"], "node", domain=domain))


def integers(kind: type[Any]) -> Any:
    """A bias of some type behind DequantizeLinear."""
    return weight(np.ones((1, 4, 1, 1), kind), np.float32(0.1), kind(0))


def qdq(source: str, output: str) -> tuple[Node, Node]:
    """A Q/DQ pair on a tensor."""
    codes = f"{output}_codes"
    return NODE("QuantizeLinear", [source, "s", "z"], [codes]), NODE("DequantizeLinear", [codes, "s", "z"], [output])


def layers(*nodes: Node) -> Any:
    """Nodes that may use int8 weights `wd`, scale `s`, zero point `z`."""
    stored = NODE("DequantizeLinear", ["w", "s", "z"], ["wd"])
    constants = {"w": np.ones((4, 4, 1, 1), np.int8), "s": np.float32(0.1), "z": INT8, "one": np.ones(4, np.float32)}
    return model(stored, *nodes, f=np.ones((4, 4, 1, 1), np.float32), **constants)


def conv(data: str, output: str, weights: str = "wd") -> Node:
    """A pointwise convolution."""
    return NODE("Conv", [data, weights], [output], f"conv_{output}")


def norm(data: str, output: str) -> Node:
    """A batch norm of four channels, all its parameters `one`."""
    return NODE("BatchNormalization", [data, "one", "one", "one", "one"], [output])


def residual(*, skip: bool, made: bool) -> Any:
    """Conv + Add + Relu; `skip` and `made` say whether the skip input and the convolution's output are quantised."""
    nodes = [*qdq("x", "a"), conv("a", "c"), *(qdq("c", "cd") if made else ()), *(qdq("x", "b") if skip else ())]
    total = NODE("Add", ["cd" if made else "c", "b" if skip else "x"], ["t"], "sum")
    return layers(*nodes, total, NODE("Relu", ["t"], ["y"]))


def computed(name: str) -> tuple[Node, ...]:
    """A Q/DQ pair whose scale `s` or zero point `z` is computed."""
    source = NODE("Identity", ["x"], [name])
    return (source, *qdq("x", "y"))
