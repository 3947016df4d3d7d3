"""TFLite-Micro's Python interpreter: the runtime whose kernels are the meaning of integer graphs."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from export.errors import ExportError
from export.runtimes.session import Runtime, Session
from export.runtimes.tflite_part import (
    RUNTIME_ERRORS,
    TINY_INPUT,
    TINY_MODEL,
    TINY_OUTPUT,
    node_outputs,
    read_part,
    run_batch,
)
from export.tflite_flat import with_outputs
from export.tflite_layout import to_file
from quant.formats import Array
from quant.graph import Graph

#: Room beside tensors and per-channel constants: operator data and the planner's tables.
ARENA_SPARE_BYTES = 1 << 20


def _interpreter(data: bytes, arena_bytes: int) -> Any:
    from tflite_micro.python.tflite_micro import runtime

    return runtime.Interpreter.from_bytes(data, arena_size=arena_bytes)


def arena_bytes(graph: Graph, data: bytes) -> int:
    """Return an arena size that holds every activation at once; only what is used becomes real memory."""
    elements = sum(int(np.prod(graph.shape(name))) for name in graph.activations())
    return 3 * elements + len(data) + ARENA_SPARE_BYTES


class MicroSession:
    """One `.tflite` part opened in TFLite-Micro."""

    def __init__(self, data: bytes, graph: Graph):
        self._data, self._graph = data, graph
        self._interpreter = _opened(data, graph)

    def run(self, codes: Array) -> Array:
        """Return the output codes of a batch."""
        return run_batch(self._graph, codes, partial(_invoke, self._interpreter, 1), (self._graph.output,))[0]

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Return the codes of every graph tensor; the file is opened anew with every node output as an output."""
        names = node_outputs(self._graph)
        interpreter = _opened(with_outputs(self._data, names), self._graph)
        values = run_batch(self._graph, codes, partial(_invoke, interpreter, len(names)), names)
        return {self._graph.input: codes, **dict(zip(names, values, strict=True))}

    def timed(self, codes: Array) -> Callable[[], None]:
        """Return one inference of `codes[:1]`: passing the int8 input, the network, the copy of the output.

        These are plain reference kernels for x86: a figure about this machine, not about a board.
        """
        image = to_file(codes[:1], self._graph.quant(self._graph.input).format)

        def infer() -> None:
            _invoke(self._interpreter, 1, image)

        return infer

    def close(self) -> None:
        """Drop the interpreter and its arena."""
        self._interpreter = None


def _opened(data: bytes, graph: Graph) -> Any:
    try:
        return _interpreter(data, arena_bytes(graph, data))
    except RUNTIME_ERRORS as error:
        raise ExportError(f"tflite-micro refuses the .tflite file of '{graph.name}': {error}") from error


def _invoke(interpreter: Any, outputs: int, image: Array) -> list[Array]:
    interpreter.set_input(image, 0)
    interpreter.invoke()
    return [interpreter.get_output(i).copy() for i in range(outputs)]


def _open(folder: Path, name: str, graph: Graph) -> Session:
    return MicroSession(read_part(folder, name), graph)


def _missing() -> str | None:
    """Run a tiny model; return None when its output is right, else why not and what to install."""
    try:
        image = np.full((1, 1), TINY_INPUT, np.int8)
        found = int(_invoke(_interpreter(TINY_MODEL, ARENA_SPARE_BYTES), 1, image)[0][0, 0])
    except RUNTIME_ERRORS as error:
        return f"tflite-micro does not run here ({error}); pip install tflite-micro"
    return None if found == TINY_OUTPUT else f"tflite-micro computes {found} where {TINY_OUTPUT} is right"


TFLITE_MICRO = Runtime("tflite-micro", "arm-a", True, _missing, _open)
#: The file as it was before Vela: what an Ethos-U makes of it is not executed here.
PLAIN_OF_ETHOS_U = Runtime("tflite-micro-ethos-u", "ethos-u", True, _missing, _open)
RUNTIMES = (TFLITE_MICRO, PLAIN_OF_ETHOS_U)
