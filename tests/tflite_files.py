"""`.tflite` files beside the graphs imported from them: every tensor of the file, executed by a runtime, as codes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from export.tflite_flat import IDENTIFIER, _AlignedBuffer
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
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(data)))
    model.subgraphs[0].outputs = np.array(indices, np.int32)
    model.signatureDefs = []
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

    made: Any = Interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
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
