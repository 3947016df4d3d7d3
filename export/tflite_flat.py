"""A TFLite flatbuffer from plain tensors and operators (schema version 3, identifier TFL3)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from export.errors import ExportError

#: The schema asks for this alignment of constant data (`force_align: 16`).
DATA_ALIGNMENT = 16
#: What stands at byte 4 of every file.
IDENTIFIER = b"TFL3"
#: Operator codes above this do not fit the schema's old one-byte field.
MAX_OLD_CODE = 127


@dataclass(frozen=True, slots=True)
class FlatTensor:
    """One tensor: `dtype` names a TensorType, `zero` holds for every scale, `data` is empty for activations."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: tuple[float, ...] = ()
    zero: int = 0
    axis: int = 0
    data: bytes = b""


@dataclass(frozen=True, slots=True)
class FlatOp:
    """One operator: names of the schema's enums (`options` may be empty) and option fields; tensors by name."""

    code: str
    version: int
    inputs: tuple[str, ...]
    output: str
    options: str
    fields: tuple[tuple[str, float], ...] = ()


class _AlignedBuffer:
    """Constant data of one tensor; packs itself with the alignment that the generated `BufferT` leaves out."""

    def __init__(self, data: bytes):
        self.data = data

    def Pack(self, builder: Any) -> int:
        """Write a `Buffer` table and return its offset (the name is the one `ModelT.Pack` calls)."""
        from ai_edge_litert import schema_py_generated as schema

        vector = None
        if self.data:
            builder.StartVector(1, len(self.data), DATA_ALIGNMENT)
            builder.head -= len(self.data)
            builder.Bytes[builder.head : builder.head + len(self.data)] = self.data
            vector = builder.EndVector()
        schema.BufferStart(builder)
        if vector is not None:
            schema.BufferAddData(builder, vector)
        return int(schema.BufferEnd(builder))


def pack(
    name: str,
    ends: tuple[str, str],
    tensors: Sequence[FlatTensor],
    operators: Sequence[FlatOp],
    metadata: tuple[str, bytes] | None = None,
) -> bytes:
    """Return the bytes of a `.tflite` file; the same arguments give the same bytes.

    Args:
        name: name of the subgraph.
        ends: names of the input and the output tensor.
        tensors: every tensor, each name once.
        operators: in execution order.
        metadata: name and content of one more buffer.

    Raises:
        ExportError: two tensors have one name, or ai-edge-litert (whose schema classes write the file) is missing.
    """
    try:
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise ExportError(
            f"a .tflite file is written with ai-edge-litert, which is missing here ({error}). "
            "Install the extra: pip install 'edgemill[arm]'."
        ) from error
    model = _model(schema, name, ends, tensors, operators)
    if metadata is not None:
        _add_metadata(schema, model, *metadata)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


def _model(
    schema: Any, name: str, ends: tuple[str, str], tensors: Sequence[FlatTensor], operators: Sequence[FlatOp]
) -> Any:
    places = {tensor.name: place for place, tensor in enumerate(tensors)}
    if len(places) != len(tensors):
        twice = next(t.name for i, t in enumerate(tensors) if places[t.name] != i)
        raise ExportError(f"two tensors would be called '{twice}' in the .tflite file; rename it in the graph.")
    codes = tuple(dict.fromkeys((op.code, op.version) for op in operators))
    graph = schema.SubGraphT()
    graph.name = name.encode()
    graph.inputs, graph.outputs = _ints([places[ends[0]]]), _ints([places[ends[1]]])
    constants = [tensor for tensor in tensors if tensor.data]
    buffers = {tensor.name: place for place, tensor in enumerate(constants, start=1)}
    graph.tensors = [_tensor(schema, tensor, buffers.get(tensor.name, 0)) for tensor in tensors]
    graph.operators = [_operator(schema, op, codes.index((op.code, op.version)), places) for op in operators]
    model = schema.ModelT()
    model.version, model.description = 3, b"edgemill"
    model.operatorCodes = [_code(schema, code, version) for code, version in codes]
    model.buffers = [_AlignedBuffer(data) for data in (b"", *(tensor.data for tensor in constants))]
    model.subgraphs = [graph]
    return model


def _add_metadata(schema: Any, model: Any, name: str, content: bytes) -> None:
    entry = schema.MetadataT()
    entry.name, entry.buffer = name.encode(), len(model.buffers)
    model.metadata = [entry]
    model.buffers.append(_AlignedBuffer(content))


def _ints(values: Sequence[int]) -> Any:
    return np.array(values, dtype=np.int32)


def _code(schema: Any, code: str, version: int) -> Any:
    entry = schema.OperatorCodeT()
    entry.builtinCode = getattr(schema.BuiltinOperator, code)
    entry.deprecatedBuiltinCode = min(entry.builtinCode, MAX_OLD_CODE)
    entry.version = version
    return entry


def _tensor(schema: Any, tensor: FlatTensor, buffer: int) -> Any:
    entry = schema.TensorT()
    entry.name, entry.shape, entry.buffer = tensor.name.encode(), _ints(tensor.shape), buffer
    entry.type = getattr(schema.TensorType, tensor.dtype)
    if tensor.scale:
        entry.quantization = schema.QuantizationParametersT()
        entry.quantization.scale = np.array(tensor.scale, dtype=np.float32)
        entry.quantization.zeroPoint = np.full(len(tensor.scale), tensor.zero, dtype=np.int64)
        entry.quantization.quantizedDimension = tensor.axis
    return entry


def _operator(schema: Any, op: FlatOp, code: int, places: dict[str, int]) -> Any:
    entry = schema.OperatorT()
    entry.opcodeIndex = code
    entry.inputs, entry.outputs = _ints([places[name] for name in op.inputs]), _ints([places[op.output]])
    if op.options:
        entry.builtinOptionsType = getattr(schema.BuiltinOptions, op.options)
        entry.builtinOptions = getattr(schema, f"{op.options}T")()
    for field, value in op.fields:
        setattr(entry.builtinOptions, field, value)
    return entry


def read(data: bytes) -> Any:
    """Return the `ModelT` of a file.

    Raises:
        ExportError: the bytes are not a whole `.tflite` file. Runtimes do not check: a cut file ends the process.
    """
    from ai_edge_litert import schema_py_generated as schema

    if data[4:8] != IDENTIFIER:
        raise ExportError("this is not a .tflite file: the identifier TFL3 is missing. Export the part again.")
    try:
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(data)))
    except (struct.error, ValueError, TypeError, IndexError) as error:
        raise ExportError(f"the .tflite file is damaged ({error}). Export the part again.") from error


def with_outputs(data: bytes, names: Sequence[str]) -> bytes:
    """Return the same file with other subgraph outputs, so that a runtime keeps and shows those tensors.

    Kernels, constants and order stay as they are. Runtimes overwrite tensors that are not outputs, even with their
    option to preserve all (tflite-runtime 2.14 adds in place).

    Raises:
        ExportError: a tensor is not in the file.
    """
    model = read(data)
    graph = model.subgraphs[0]
    graph.outputs = _ints([_place(graph, name) for name in names])
    return _packed(model)


def ending_at(data: bytes, name: str) -> bytes:
    """Return the same file without the operators behind a tensor, which becomes the output.

    Raises:
        ExportError: the tensor is not in the file, or no operator makes it.
    """
    model = read(data)
    graph = model.subgraphs[0]
    place = _place(graph, name)
    makers = [number for number, operator in enumerate(graph.operators) if place in operator.outputs]
    if not makers:
        raise ExportError(f"no operator of the .tflite file makes the tensor '{name}'; choose another.")
    graph.operators = graph.operators[: makers[0] + 1]
    graph.outputs = _ints([place])
    return _packed(model)


def _place(graph: Any, name: str) -> int:
    places = {tensor.name.decode(): place for place, tensor in enumerate(graph.tensors)}
    if name not in places:
        raise ExportError(f"the .tflite file has no tensor '{name}'; it was not written from this graph.")
    return places[name]


def _packed(model: Any) -> bytes:
    import flatbuffers

    model.buffers = [_AlignedBuffer(b"" if buffer.data is None else bytes(buffer.data)) for buffer in model.buffers]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())
