"""Write float graphs as ONNX, and run them: the engine of calibration is ONNX Runtime, not our own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from quant import operators as ops
from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph, Node

OPSET = 17
IR_VERSION = 8
#: ONNX Runtime's fusion of Pad into the pool behind it loses the zeros: maxima of negative values come out wrong.
WRONG_OPTIMIZERS = ["Pad_Fusion"]
#: Images per ONNX Runtime call during calibration: enough to amortise the call, small enough for caches.
BATCH = 16


def _int64(name: str, values: Sequence[int]) -> Any:
    import onnx

    return onnx.numpy_helper.from_array(np.array(values, dtype=np.int64), name)


def write_operator(node: Node, output: str, rank: int) -> tuple[list[Any], list[Any]]:  # noqa: PLR0912 one case an operator
    """Return the ONNX nodes and initializers of one graph node without its fused clip.

    Inputs keep their graph names; the result is called `output` and has `rank` axes. Conv and Gemm take weight
    and bias as given.
    """
    from onnx import helper, numpy_helper

    def make(kind: str, inputs: Sequence[str], **attributes: Any) -> Any:
        return helper.make_node(kind, list(inputs), [output], name=node.name, **attributes)

    x = node.inputs
    match node.op:
        case ops.Conv(strides=strides, pads=pads, dilations=dilations, groups=groups):
            return [make("Conv", x, strides=strides, pads=pads, dilations=dilations, group=groups)], []
        case ops.Gemm():
            return [make("Gemm", x, transB=1)], []
        case ops.Add():
            return [make("Add", x)], []
        case ops.Mul():
            return [make("Mul", x)], []
        case ops.Function():
            return _write_function(node, node.op, output), []
        case ops.Clip(low=low, high=high):
            return write_clip(node.name, x[0], output, (low, high))
        case ops.Minimum(limits=limits):
            values = np.array(limits, dtype=np.float32).reshape(1, -1, *(1,) * (rank - 2))
            return [make("Min", [*x, f"{node.name}.limits"])], [numpy_helper.from_array(values, f"{node.name}.limits")]
        case ops.BatchNorm(epsilon=epsilon):
            return [make("BatchNormalization", x, epsilon=epsilon)], []
        case ops.Pad(before=before, after=after):
            return [make("Pad", [*x, f"{node.name}.pads"])], [_int64(f"{node.name}.pads", (*before, *after))]
        case ops.Slice(starts=starts, ends=ends, steps=steps):
            return _write_slice(node, output, starts, ends, steps)
        case ops.Concat(axis=axis):
            return [make("Concat", x, axis=axis)], []
        case ops.MaxPool(kernel=kernel, strides=strides, pads=pads):
            return [make("MaxPool", x, kernel_shape=kernel, strides=strides, pads=pads)], []
        case ops.AveragePool(kernel=kernel, strides=strides, pads=pads):
            return [make("AveragePool", x, kernel_shape=kernel, strides=strides, pads=pads)], []
        case ops.Mean(keep_dims=keep):
            if keep:
                return [make("GlobalAveragePool", x)], []
            return [make("ReduceMean", x, axes=[2, 3], keepdims=0)], []
        case ops.Reshape(shape=shape):
            sizes = _int64(f"{node.name}.shape", (0, *shape[1:]))
            return [make("Reshape", [*x, f"{node.name}.shape"])], [sizes]
        case ops.Softmax():
            return [make("Softmax", x, axis=-1)], []
        case ops.Requantize():
            raise QuantError(f"node '{node.name}': a Requantize has no float form.")


def _write_function(node: Node, op: ops.Function, output: str) -> list[Any]:
    from onnx import helper

    x = node.inputs[0]
    if op.name == "swish":
        gate = f"{output}.gate"
        made = helper.make_node("Sigmoid", [x], [gate], name=f"{node.name}.gate")
        return [made, helper.make_node("Mul", [x, gate], [output], name=node.name)]
    kinds = {"hard_sigmoid": "HardSigmoid", "hard_swish": "HardSwish", "leaky_relu": "LeakyRelu", "sigmoid": "Sigmoid"}
    names = {"hard_sigmoid": {"alpha": op.alpha, "beta": op.beta}, "leaky_relu": {"alpha": op.alpha}}
    kind = kinds.get(op.name, "Tanh")
    return [helper.make_node(kind, [x], [output], name=node.name, **names.get(op.name, {}))]


def _write_slice(
    node: Node, output: str, starts: Sequence[int], ends: Sequence[int], steps: Sequence[int]
) -> tuple[list[Any], list[Any]]:
    from onnx import helper

    axes = range(1, len(starts))
    values = {"starts": starts[1:], "ends": ends[1:], "axes": list(axes), "steps": steps[1:]}
    names = [f"{node.name}.{key}" for key in values]
    made = helper.make_node("Slice", [node.inputs[0], *names], [output], name=node.name)
    return [made], [_int64(name, value) for name, value in zip(names, values.values(), strict=True)]


def write_clip(name: str, source: str, output: str, clip: tuple[float, float]) -> tuple[list[Any], list[Any]]:
    """Return the Relu or Clip node (with its limits) that clamps `source` to `clip`."""
    from onnx import helper, numpy_helper

    low, high = clip
    if low == 0.0 and high == float("inf"):
        return [helper.make_node("Relu", [source], [output], name=f"{name}.relu")], []
    limits = {f"{name}.low": low, f"{name}.high": high}
    inputs = [key if np.isfinite(value) else "" for key, value in limits.items()]
    made = [numpy_helper.from_array(np.array(v, np.float32), k) for k, v in limits.items() if np.isfinite(v)]
    return [helper.make_node("Clip", [source, *inputs], [output], name=f"{name}.clip")], made


def to_float_onnx(graph: Graph, extra: Callable[[str], list[Any]] | None = None, outputs: Sequence[str] = ()) -> Any:
    """Build the float ModelProto of a float graph, with a free batch axis.

    Args:
        graph: a float graph.
        extra: called with every activation's name; returns further nodes to put behind it (range estimators).
        outputs: names to return instead of the graph's output.
    """
    from onnx import TensorProto, helper, numpy_helper

    if graph.is_quantised:
        raise QuantError(f"graph '{graph.name}' is quantised; only float graphs have a float form.")
    nodes: list[Any] = list(extra(graph.input)) if extra else []
    constants = [numpy_helper.from_array(np.ascontiguousarray(w), name) for name, w in graph.weights.items()]
    for node in graph.nodes:
        inner = node.output if node.clip is None else f"{node.output}.unclipped"
        made, fixed = write_operator(node, inner, len(graph.shape(node.output)))
        if node.clip is not None:
            clipped, limits = write_clip(node.name, inner, node.output, node.clip)
            made, fixed = [*made, *clipped], [*fixed, *limits]
        nodes += made + (extra(node.output) if extra else [])
        constants += fixed
    shape = ["N", *graph.shape(graph.input)[1:]]
    names = list(outputs) or [graph.output]
    proto = helper.make_graph(
        nodes,
        graph.name,
        [helper.make_tensor_value_info(graph.input, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names],
        constants,
    )
    opsets = [helper.make_opsetid("", OPSET)]
    return helper.make_model(proto, opset_imports=opsets, ir_version=IR_VERSION, producer_name="edgemill")


def open_session(model: Any, threads: int = 0) -> Any:
    """Open a ModelProto in ONNX Runtime on the CPU (`threads` 0: all cores)."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"], disabled_optimizers=WRONG_OPTIMIZERS
    )


def run_batches(session: Any, name: str, inputs: Array, batch: int = BATCH) -> Iterator[list[Array]]:
    """Yield the outputs of a session for consecutive slices of `inputs`."""
    for start in range(0, len(inputs), batch):
        yield session.run(None, {name: inputs[start : start + batch]})


def run_float(graph: Graph, inputs: Array) -> Array:
    """Run a float graph.

    Args:
        graph: a float graph.
        inputs: float32 [N, ...].

    Returns:
        float32 outputs [N, ...].

    Raises:
        QuantError: the graph is quantised, or the inputs are of another shape or none.
    """
    want = graph.shape(graph.input)[1:]
    if inputs.shape[1:] != want or len(inputs) == 0:
        raise QuantError(
            f"input '{graph.input}' has shape {list(inputs.shape)}; graph '{graph.name}' takes "
            f"[N, {', '.join(map(str, want))}]; give at least one."
        )
    session = open_session(to_float_onnx(graph))
    return np.concatenate([out[0] for out in run_batches(session, graph.input, inputs.astype(np.float32))])
