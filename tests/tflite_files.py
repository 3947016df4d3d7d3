"""`.tflite` files beside the graphs imported from them: every tensor of the file, executed by a runtime, as codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from export.tflite_flat import IDENTIFIER, FlatOp, FlatTensor, _AlignedBuffer, pack, read
from quant.formats import Array
from quant.graph import check
from quant.program import lower
from quant.reference import fast_dot, run
from quant.tflite_build import ACTIVATIONS, Build
from quant.tflite_import import walk
from quant.tflite_read import parse

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
#: Runs one input (file layout, batch 1) and returns all outputs.
Invoke = Callable[[Array], list[Array]]


def imported(data: bytes) -> Build:
    return walk(parse(data, "net"))


def computed(build: Build) -> tuple[int, ...]:
    """Indices of the tensors that operators make and the graph has."""
    return tuple(op.output for op in build.file.operators if not build.places[op.output].final)


def showing(data: bytes, indices: tuple[int, ...]) -> bytes:
    """The same file with these tensors as its outputs."""
    model = read(data)
    model.subgraphs[0].outputs = np.array(indices, np.int32)
    model.signatureDefs = []
    return packed(model)


def packed(model: Any) -> bytes:
    """The bytes of a `ModelT`."""
    import flatbuffers

    model.buffers = [_AlignedBuffer(b"" if b.data is None else bytes(b.data)) for b in model.buffers]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def micro(data: bytes, outputs: int, arena_bytes: int) -> Invoke:
    from tflite_micro.python.tflite_micro import runtime

    interpreter = runtime.Interpreter.from_bytes(data, arena_size=arena_bytes)

    def invoke(image: Array) -> list[Array]:
        interpreter.set_input(image, 0)
        interpreter.invoke()
        return [interpreter.get_output(i).copy() for i in range(outputs)]

    return invoke


def reference_kernels(data: bytes) -> Invoke:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    return _interpreted(Interpreter, OpResolverType.BUILTIN_REF, data)


def old_reference_kernels(data: bytes) -> Invoke:
    from tflite_runtime.interpreter import Interpreter, OpResolverType

    return _interpreted(Interpreter, OpResolverType.BUILTIN_REF, data)


def _interpreted(interpreter: Any, resolver: Any, data: bytes) -> Invoke:
    made = interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=resolver)
    made.allocate_tensors()

    def invoke(image: Array) -> list[Array]:
        made.set_tensor(made.get_input_details()[0]["index"], image)
        made.invoke()
        return [made.get_tensor(detail["index"]).copy() for detail in made.get_output_details()]

    return invoke


def graph_values(build: Build, images: Array) -> dict[int, Array]:
    """What the integer reference makes of images (file layout and type), by tensor index, in the file's order."""
    graph = check(build.graph())
    first = build.places[build.file.input]
    shift = ACTIVATIONS[build.tensor(build.file.input).dtype][1]
    codes = (images.astype(np.int64) + shift).transpose(np.argsort(first.order))
    values = run(lower(graph), codes, fast_dot)
    return {index: file_order(build, index, values) for index in computed(build)}


def file_order(build: Build, index: int, values: dict[str, Array]) -> Array:
    place, tensor = build.places[index], build.tensor(index)
    codes = values[place.name].astype(np.int64) - ACTIVATIONS[tensor.dtype][1]
    if place.flat is not None:
        shape, order = place.flat
        return codes.reshape(-1, *shape[1:]).transpose(order).reshape(len(codes), -1)
    return codes.transpose(place.order)


class Maker:
    """A `.tflite` file in the making: each method adds one operator behind the last tensor and its output."""

    def __init__(self, shape: tuple[int, ...], scale: float = 0.05, zero: int = -3, seed: int = 0):
        self.rng = np.random.default_rng(seed)
        self.operators: list[FlatOp] = []
        self.tensors = [FlatTensor("x", shape, "INT8", (scale,), zero)]

    @property
    def last(self) -> FlatTensor:
        made = self.operators[-1].output if self.operators else "x"
        return next(tensor for tensor in self.tensors if tensor.name == made)

    def constant(self, name: str, values: Array, *, scale: tuple[float, ...] = (), zero: int = 0, axis: int = 0) -> str:
        kinds = {"<i4": "INT32", "|i1": "INT8", "|u1": "UINT8"}
        data = np.ascontiguousarray(values)
        self.tensors.append(FlatTensor(name, data.shape, kinds[data.dtype.str], scale, zero, axis, data=data.tobytes()))
        return name

    def add(
        self,
        code: str,
        shape: tuple[int, ...],
        extra: tuple[str, ...] = (),
        options: str = "",
        *,
        scale: float | None = None,
        zero: int | None = None,
        dtype: str = "",
        **fields: Any,
    ) -> FlatTensor:
        """Add an operator that reads the last tensor and `extra`; scale and zero point stay unless given."""
        x, name = self.last, f"t{len(self.operators)}"
        scales = x.scale if scale is None else (scale,)
        made = FlatTensor(name, shape, dtype or x.dtype, scales, x.zero if zero is None else zero)
        self.tensors.append(made)
        self.operators.append(FlatOp(code, 1, (x.name, *extra), name, options, tuple(fields.items())))
        return made

    def counts(self, *values: int) -> str:
        return self.constant(f"c{len(self.tensors)}", np.array(values, "<i4"))

    def layer(self, shape: tuple[int, ...], axis: int, *, channels: bool = True) -> tuple[str, str]:
        """Add int8 weights (one scale per channel, or one) and a bias; returns their names."""
        out, place = shape[axis], len(self.tensors)
        scales = self.rng.uniform(0.002, 0.02, out if channels else 1).astype(np.float32)
        weight = self.rng.integers(-127, 128, shape).astype("i1")
        bias = self.rng.integers(-2000, 2000, out).astype("<i4")
        products = np.broadcast_to(np.float32(self.last.scale[0]) * scales, (out,))
        return (
            self.constant(f"w{place}", weight, scale=tuple(map(float, scales)), axis=axis),
            self.constant(f"b{place}", bias, scale=tuple(map(float, products))),
        )

    def data(self) -> bytes:
        """The file; its output is what the last operator makes."""
        return pack("made", ("x", self.last.name), self.tensors, self.operators)


def mixture() -> Maker:
    """A small network of most operators."""
    made = Maker((1, 3, 8, 7))
    once = {"strideH": 1, "strideW": 1}
    made.add("TRANSPOSE", (1, 8, 7, 3), (made.counts(0, 2, 3, 1),), "TransposeOptions")
    made.add("QUANTIZE", (1, 8, 7, 3), (), "QuantizeOptions", scale=0.06, zero=3)
    pads = made.constant("pads", np.array([[0, 0], [1, 2], [0, 3], [0, 0]], "<i4"))
    made.add("PAD", (1, 11, 10, 3), (pads,), "PadOptions")
    fields = {**once, "dilationHFactor": 1, "dilationWFactor": 1, "padding": 1, "fusedActivationFunction": 1}
    made.add("CONV_2D", (1, 9, 8, 4), made.layer((4, 3, 3, 3), 0), "Conv2DOptions", scale=0.09, **fields)
    pool = {"strideH": 2, "strideW": 2, "filterHeight": 2, "filterWidth": 2, "fusedActivationFunction": 3}
    pooled = made.add("MAX_POOL_2D", (1, 5, 4, 4), (), "Pool2DOptions", **pool).name
    made.add("LOGISTIC", (1, 5, 4, 4), (), "", scale=1 / 256, zero=-128)
    made.add("MUL", (1, 5, 4, 4), (pooled,), "MulOptions", scale=0.05, zero=1)
    made.add("CONCATENATION", (1, 5, 8, 4), (made.last.name,), "ConcatenationOptions", axis=2)
    parts = made.counts(0, 1, 0, 0), made.counts(1, 5, 8, 4), made.counts(1, 2, 2, 1)
    made.add("STRIDED_SLICE", (1, 2, 4, 4), parts, "StridedSliceOptions")
    made.add("SLICE", (1, 2, 3, 4), (made.counts(0, 0, 1, 0), made.counts(1, 2, 3, 4)), "SliceOptions")
    bound = made.constant("bound", np.array([50], "i1"), scale=made.last.scale, zero=made.last.zero)
    made.add("MINIMUM", (1, 2, 3, 4), (bound,), "MaximumMinimumOptions")
    fields = {**once, "filterHeight": 2, "filterWidth": 2, "padding": 1}
    made.add("AVERAGE_POOL_2D", (1, 1, 2, 4), (), "Pool2DOptions", **fields)
    made.add("RESHAPE", (1, 8), (made.counts(1, 8),), "ReshapeOptions")
    made.add("FULLY_CONNECTED", (1, 5), made.layer((5, 8), 0), "FullyConnectedOptions", scale=0.2, zero=4)
    made.add("SOFTMAX", (1, 5), (), "SoftmaxOptions", scale=1 / 256, zero=-128, beta=1.0)
    return made
