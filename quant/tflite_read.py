"""Read a `.tflite` file strictly: tensors, constants and operators as plain data, every number checked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from quant.errors import QuantError
from quant.flatbuffer import Table, root
from quant.formats import Array
from quant.tflite_schema import CUSTOM, OPTIONS, TYPES, operator_name

#: What stands at byte 4 of every file, and the one version of the schema in use.
IDENTIFIER = b"TFL3"
VERSION = 3
#: No tensor has as many values; runtimes count them in int32.
MAX_VALUES = 1 << 31
MAX_RANK = 5


@dataclass(frozen=True, slots=True, eq=False)
class FileTensor:
    """One tensor as the file has it.

    `shape` is in file order, `scale` and `zero` are empty without quantisation, `data` is None for activations.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: Array
    zero: Array
    axis: int
    data: Array | None

    @property
    def what(self) -> str:
        """How messages call it."""
        return f"tensor {self.index} '{self.name}' ({self.dtype} {list(self.shape)})"


@dataclass(frozen=True, slots=True, eq=False)
class FileOp:
    """One operator: its name, tensor indices (-1: left out), and its options table (None where it has none)."""

    index: int
    code: str
    inputs: tuple[int, ...]
    output: int
    options: Table | None

    @property
    def what(self) -> str:
        """How messages call it."""
        return f"operator {self.index} ({self.code})"


@dataclass(frozen=True, slots=True, eq=False)
class TfliteFile:
    """One network: its tensors, operators in execution order, and the indices of its input and output."""

    name: str
    tensors: tuple[FileTensor, ...]
    operators: tuple[FileOp, ...]
    input: int
    output: int


def read_tflite(path: Path) -> TfliteFile:
    """Read a file with one network, one input and one output.

    Raises:
        QuantError: the file cannot be read, an offset or number in it is wrong, or it holds what has no plain form
            here (several networks, dynamic shapes, sparse or huge tensors); the message names the file and the place.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise QuantError(f"{path} cannot be read: {error.strerror}.") from error
    try:
        return parse(data, path.stem)
    except QuantError as error:
        raise QuantError(f"{path}: {error}") from error


def parse(data: bytes, name: str) -> TfliteFile:
    """Read the bytes of a file; `name` is what the network is called.

    Raises:
        QuantError: as for `read_tflite`.
    """
    model = root(data, IDENTIFIER, ".tflite file")
    if model.integer(0, "I") != VERSION:
        raise QuantError(f"its schema version is {model.integer(0, 'I')}; {VERSION} is read.")
    graphs = model.tables(2, "subgraph")
    if len(graphs) != 1:
        raise QuantError(f"it holds {len(graphs)} networks (subgraphs); 1 is read.")
    codes = tuple(_code(table) for table in model.tables(1, "operator code"))
    buffers = model.tables(4, "buffer")
    tensors = tuple(_tensor(i, table, buffers) for i, table in enumerate(graphs[0].tables(0, "tensor")))
    operators = tuple(
        _operator(i, table, codes, len(tensors)) for i, table in enumerate(graphs[0].tables(3, "operator"))
    )
    ends = tuple(_end(graphs[0], field, what, len(tensors)) for field, what in ((1, "input"), (2, "output")))
    return TfliteFile(name, tensors, operators, *ends)


def _code(table: Table) -> str:
    # The first field has one byte; codes above 127 stand in the fourth. Readers take the larger one.
    code = max(table.integer(0, "b"), table.integer(3, "i"))
    return f"custom operator '{table.text(1)}'" if code == CUSTOM else operator_name(code)


def _end(graph: Table, field: int, what: str, count: int) -> int:
    indices = graph.array(field, "i4").tolist()
    if len(indices) != 1:
        raise QuantError(f"the network has {len(indices)} {what}s; 1 is read. Cut the model to one {what}.")
    if not 0 <= indices[0] < count:
        raise QuantError(f"the network's {what} is tensor {indices[0]}; the file has {count}.")
    return int(indices[0])


def _operator(index: int, table: Table, codes: tuple[str, ...], count: int) -> FileOp:
    place = table.integer(0, "I")
    if place >= len(codes):
        raise QuantError(f"operator {index} has code {place}; the file lists {len(codes)}.")
    code = codes[place]
    inputs, outputs = (tuple(table.array(field, "i4").tolist()) for field in (1, 2))
    what = f"operator {index} ({code})"
    if any(not -1 <= i < count for i in inputs) or any(not 0 <= i < count for i in outputs):
        raise QuantError(f"{what} names tensors {[*inputs, *outputs]}; the file has {count}.")
    if len(outputs) != 1:
        raise QuantError(f"{what} has {len(outputs)} outputs; operators with 1 are imported.")
    wanted, found = OPTIONS.get(code), table.integer(3, "B")
    options = table.table(4, f"the options of {what}")
    if wanted is not None and (found != wanted or options is None):
        raise QuantError(f"{what} lacks its own options (type {wanted}; the file has type {found}).")
    return FileOp(index, code, inputs, outputs[0], options if wanted is not None else None)


def _tensor(index: int, table: Table, buffers: tuple[Table, ...]) -> FileTensor:
    name, number = table.text(3) or f"tensor_{index}", table.integer(1, "b")
    dtype, kind = TYPES.get(number, (f"type {number}", ""))
    shape = tuple(table.array(0, "i4").tolist())
    what = f"tensor {index} '{name}' ({dtype} {list(shape)})"
    _check_shape(table, shape, what)
    for field, why in ((5, "is a variable, which keeps its value between inputs"), (6, "is sparse")):
        if table.has(field) and (field == 6 or table.integer(field, "?")):
            raise QuantError(f"{what} {why}; only plain tensors are imported.")
    scale, zero, axis = _quantisation(table, what)
    return FileTensor(index, name, shape, dtype, scale, zero, axis, _data(table, buffers, kind, shape, what))


def _check_shape(table: Table, shape: tuple[int, ...], what: str) -> None:
    signature = tuple(table.array(7, "i4").tolist())
    # A dynamic batch is one image here; `shape` says so already.
    if any(extent < 0 for extent in (*shape, *signature[1:])):
        raise QuantError(
            f"{what} has a dynamic shape ({list(signature or shape)}); convert the model with fixed shapes."
        )
    if 0 in shape:
        raise QuantError(f"{what} holds nothing.")
    values = 1
    for extent in shape:
        values *= extent
    if values >= MAX_VALUES:
        raise QuantError(f"{what} has {values} values; a tensor has fewer than 2^31.")
    if len(shape) > MAX_RANK:
        raise QuantError(f"{what} has {len(shape)} axes; at most {MAX_RANK} are imported.")


def _quantisation(table: Table, what: str) -> tuple[Array, Array, int]:
    found = table.table(4, f"the quantisation of {what}")
    if found is None:
        return np.zeros(0, np.float32), np.zeros(0, np.int64), 0
    scale, zero = found.array(2, "f4"), found.array(3, "i8")
    if found.integer(4, "B"):
        raise QuantError(f"{what} is quantised in a way of its own (details type {found.integer(4, 'B')}).")
    if len(scale) and len(zero) != len(scale):
        raise QuantError(f"{what} has {len(scale)} scales and {len(zero)} zero points; one of each belong together.")
    if not np.isfinite(scale).all():
        raise QuantError(f"{what} has a scale that is no finite number.")
    return scale, zero, found.integer(6, "i")


def _data(table: Table, buffers: tuple[Table, ...], kind: str, shape: tuple[int, ...], what: str) -> Array | None:
    """Return a constant's values (INT4: unpacked, low half of each byte first), or None for an activation."""
    place = table.integer(2, "I")
    if place >= len(buffers):
        raise QuantError(f"{what} has buffer {place}; the file has {len(buffers)}.")
    if any(buffers[place].integer(field, "Q") > 1 for field in (1, 2)):
        raise QuantError(f"{what} has its data outside the FlatBuffer, which is not read.")
    raw = buffers[place].array(0, "u1")
    if not len(raw):
        return None
    count = int(np.prod(shape, dtype=np.int64))
    packed = table.integer(1, "b") == 17
    wanted = (count + 1) // 2 if packed else count * np.dtype(kind or "u1").itemsize
    if len(raw) != wanted:
        raise QuantError(f"{what} has {len(raw)} bytes of data; {wanted} belong to its shape.")
    values: Array = raw.view(np.dtype(kind or "u1").newbyteorder("<"))
    if packed:
        values = (np.stack([raw << 4, raw], axis=1).view(np.int8) >> 4).reshape(-1)[:count]
    return values.reshape(shape)
