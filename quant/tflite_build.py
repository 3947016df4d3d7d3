"""What the `.tflite` importer collects while it walks the operators of a file in order."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from quant import operators as ops
from quant.errors import QuantError
from quant.formats import INT8, Array, Format, integer
from quant.graph import Graph, Node, Quant, Tensor
from quant.program import clip_ordinals
from quant.tflite_read import FileOp, FileTensor, TfliteFile

#: Types of activations: the format of the graph, and what is added to codes and zero points of the file.
ACTIVATIONS: dict[str, tuple[Format, int]] = {"INT8": (INT8, 0), "UINT8": (INT8, -128), "INT16": (integer(16), 0)}
UNSIGNED = "UINT8"
#: Operators that keep the order of values in memory.
RESHAPES = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")
#: Scales beyond this, or below its inverse, are damage: products of two then stay in float32.
MAX_SCALE = 2.0**60


@dataclass(frozen=True, slots=True)
class Place:
    """Where the values of a file's tensor are in the graph.

    Axis k of the file's tensor is axis `order[k]` of the graph's tensor `name`. `flat` says that a vector of the file
    is an image in the file's order (graph shape and axis order), flattened, while the graph has flattened its own.
    `final` values are reals or a softmax of `name`, for which only the end of the network may stand.
    """

    name: str
    order: tuple[int, ...]
    flat: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    final: bool = False


@dataclass(eq=False)
class Build:
    """The nodes, tensors and weights of one graph in the making; `places` by the file's tensor index.

    `padded` holds the pads (top, left, bottom, right) of tensors that only largest-value pools read, and which have not
    been added to what `places` says: in a graph the pool has them.
    """

    file: TfliteFile
    nodes: list[Node] = field(default_factory=list)
    tensors: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Array] = field(default_factory=dict)
    places: dict[int, Place] = field(default_factory=dict)
    padded: dict[int, tuple[int, int, int, int]] = field(default_factory=dict)

    def tensor(self, index: int) -> FileTensor:
        """Return the file's tensor of an index."""
        return self.file.tensors[index]

    def read(self, op: FileOp, position: int, *, final: bool = False) -> Place:
        """Return where an operator's input is; `final` allows values that only end a network."""
        if position >= len(op.inputs) or op.inputs[position] < 0:
            raise refuse(op, f"input {position} is missing.")
        index = op.inputs[position]
        if index not in self.places:
            why = "is a constant; it must be computed" if self.tensor(index).data is not None else "is not made yet"
            raise refuse(op, f"input {position}, {self.tensor(index).what}, {why}.")
        place = self.places[index]
        if place.final and not final:
            raise refuse(op, f"it reads {self.tensor(index).what}, which stands behind the end of the integer network.")
        return place

    def constant(self, op: FileOp, position: int, dtypes: tuple[str, ...]) -> Array:
        """Return the values of an operator's constant input."""
        if position >= len(op.inputs) or op.inputs[position] < 0:
            raise refuse(op, f"input {position} is missing.")
        found = self.tensor(op.inputs[position])
        if found.data is None:
            raise refuse(op, f"input {position}, {found.what}, must be a constant.")
        if found.dtype not in dtypes:
            raise refuse(op, f"input {position}, {found.what}, must be {' or '.join(dtypes)}.")
        return found.data

    def name(self, wanted: str) -> str:
        """Return a name that no tensor has yet."""
        while wanted in self.tensors:
            wanted += "_"
        return wanted

    def emit(
        self,
        op: FileOp,
        operator: ops.Operator,
        inputs: tuple[str, ...],
        shape: tuple[int, ...],
        place: Place | None = None,
        clip: tuple[float, float] | None = None,
    ) -> None:
        """Add the node that makes an operator's output, which has `shape` in the graph.

        `place` says its axis order (its name is ignored); by default images are channels-last in the file. A clip
        behind an operator that only moves codes becomes a node of its own.

        Raises:
            QuantError: the file gives the output another shape.
        """
        found = self.output(op)
        order = place.order if place is not None else default_order(len(found.shape))
        flat, quant = place.flat if place is not None else None, activation_quant(found)
        if graph_shape(found.shape, order) != shape:
            made = [shape[axis] for axis in order] if len(order) == len(shape) else list(shape)
            raise refuse(op, f"its output, {found.what}, should have shape {made}.")
        if op.code != "QUANTIZE" and found.dtype != self.tensor(op.inputs[0]).dtype:
            raise refuse(op, f"its output, {found.what}, has another type than its input.")
        name = self.name(found.name)
        self.places[found.index] = Place(name, order, flat)
        self.tensors[name] = Tensor(shape, quant)
        idle = clip_ordinals(quant, clip) == (quant.format.min_ordinal, quant.format.max_ordinal)
        if isinstance(operator, ops.MOVES) and idle:
            clip = None
        elif isinstance(operator, ops.MOVES) and clip is not None:
            inner = self.add(f"{name}/unclipped", operator, inputs, Tensor(shape, quant))
            operator, inputs, clip = ops.Clip(low=clip[0], high=clip[1]), (inner,), None
        self.nodes.append(Node(name, operator, inputs, name, clip))

    def add(self, wanted: str, operator: ops.Operator, inputs: tuple[str, ...], tensor: Tensor) -> str:
        """Add a node whose output the file has not; return the output's name."""
        name = self.name(wanted)
        self.tensors[name] = tensor
        self.nodes.append(Node(name, operator, inputs, name))
        return name

    def alias(self, op: FileOp, place: Place) -> None:
        """Say that an operator's output has the codes of a graph tensor that exists already."""
        self.places[self.output(op).index] = place

    def output(self, op: FileOp) -> FileTensor:
        """Return the tensor an operator makes; it must not exist yet."""
        found = self.tensor(op.output)
        if found.index in self.places or found.data is not None:
            raise refuse(op, f"it makes {found.what}, which exists already.")
        return found

    def graph(self) -> Graph:
        """Return what was collected."""
        if self.file.output not in self.places:
            raise QuantError(f"nothing makes the output, {self.tensor(self.file.output).what}.")
        place = self.places[self.file.output]
        if place.flat is not None:
            raise QuantError(
                f"the output, {self.tensor(self.file.output).what}, is a flattened image, whose values a graph has in "
                "another order (channels first). Let the model end before the RESHAPE."
            )
        if not self.nodes:
            raise QuantError("the model computes nothing.")
        first = self.places[self.file.input].name
        return Graph(self.file.name, first, place.name, tuple(self.nodes), self.tensors, self.weights)


def refuse(op: FileOp, why: str) -> QuantError:
    """Build the error for an operator that cannot be imported."""
    return QuantError(f"{op.what}: {why}")


def default_order(rank: int) -> tuple[int, ...]:
    """Return the axis order of a channels-last tensor of the file: batch, space, channels of batch, channels, space."""
    return (0, *range(2, rank), 1) if rank > 2 else tuple(range(rank))


def graph_shape(shape: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    """Return the graph's shape of a tensor with `shape` in the file; empty when it has not as many axes as `order`."""
    if len(shape) != len(order):
        return ()
    return tuple(shape[order.index(axis)] for axis in range(len(shape)))


def graph_order(values: tuple[int, ...], place: Place) -> tuple[int, ...]:
    """Reorder one value per file axis to one per graph axis."""
    return graph_shape(values, place.order)


def activation_quant(found: FileTensor) -> Quant:
    """Return the number format of an activation; uint8 codes are shifted to int8, which is the same function.

    Raises:
        QuantError: another type, not exactly one scale, or a scale or zero point without meaning.
    """
    if found.dtype not in ACTIVATIONS:
        raise QuantError(
            f"{found.what} is not quantised to int8, uint8 or int16. Float and mixed .tflite files are not imported: "
            "convert with full integer quantisation, or take the float model as ONNX and quantise it here."
        )
    fmt, shift = ACTIVATIONS[found.dtype]
    if len(found.scale) != 1:
        raise QuantError(f"{found.what} has {len(found.scale)} scales; an activation has 1.")
    scale, zero = float(found.scale[0]), int(found.zero[0]) + shift
    if not 1 / MAX_SCALE <= scale <= MAX_SCALE:
        raise QuantError(f"{found.what} has scale {scale}; allowed is 2^-60 to 2^60.")
    if not fmt.min_ordinal <= zero <= fmt.max_ordinal or (fmt.bits == 16 and zero):
        allowed = "0" if fmt.bits == 16 else f"{fmt.min_ordinal - shift} to {fmt.max_ordinal - shift}"
        raise QuantError(f"{found.what} has zero point {zero - shift}; allowed is {allowed}.")
    if not found.shape or found.shape[0] != 1:
        raise QuantError(f"{found.what}: its first axis is the batch and must be 1.")
    return Quant(fmt, (scale,), zero)


def start(file: TfliteFile) -> Build:
    """Return an empty build: only the input exists. A float input takes the format of the QUANTIZE that reads it."""
    build, first = Build(file), file.tensors[file.input]
    if first.data is not None:
        raise QuantError(f"the input, {first.what}, is a constant.")
    readers = [op for op in file.operators if first.index in op.inputs]
    quantised = first
    if first.dtype == "FLOAT32" and readers and all(op.code == "QUANTIZE" for op in readers):
        quantised = file.tensors[readers[0].output]
        quantised = replace(quantised, name=first.name, shape=first.shape)
    order = _input_order(file, first, readers)
    build.tensors[first.name] = Tensor(graph_shape(first.shape, order), activation_quant(quantised))
    build.places[first.index] = Place(first.name, order)
    return build


def _input_order(file: TfliteFile, first: FileTensor, readers: list[FileOp]) -> tuple[int, ...]:
    """Return the input's axis order.

    What a TRANSPOSE behind it makes channels-last comes channels-first. What a reshape takes apart has no channels.
    """
    order = default_order(len(first.shape))
    if len(readers) != 1:
        return order
    made = file.tensors[readers[0].output].shape
    apart = readers[0].code in RESHAPES and len(made) > 2 and first.shape[-1:] != made[-1:]
    turned = readers[0].code == "TRANSPOSE" and len(readers[0].inputs) == 2
    turn = file.tensors[readers[0].inputs[1]].data if turned else None
    if apart or (turn is not None and tuple(turn.ravel().tolist()) == order):
        return tuple(range(len(order)))
    return order
