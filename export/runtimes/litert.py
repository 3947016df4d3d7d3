"""LiteRT and tflite-runtime: the two Python runtimes with TFLite's Interpreter, one thread, batch 1."""

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

#: Makes an interpreter with its tensors allocated from the bytes of a file.
Factory = Callable[[bytes], Any]


def _litert(resolver: str, data: bytes) -> Any:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    return _allocated(Interpreter, OpResolverType, resolver, data)


def _tflite_runtime(resolver: str, data: bytes) -> Any:
    from tflite_runtime.interpreter import Interpreter, OpResolverType

    return _allocated(Interpreter, OpResolverType, resolver, data)


def _allocated(interpreter: Any, resolvers: Any, resolver: str, data: bytes) -> Any:
    made = interpreter(model_content=data, num_threads=1, experimental_op_resolver_type=getattr(resolvers, resolver))
    made.allocate_tensors()
    return made


class LiteSession:
    """One `.tflite` part opened in an Interpreter. Intermediate tensors are read from a second interpreter."""

    def __init__(self, factory: Factory, data: bytes, graph: Graph):
        self._factory, self._data, self._graph = factory, data, graph
        self._interpreter = _opened(factory, data, graph.name)

    def run(self, codes: Array) -> Array:
        """Return the output codes of a batch."""
        return run_batch(self._graph, codes, partial(_invoke, self._interpreter), (self._graph.output,))[0]

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Return the codes of every graph tensor; the file is opened anew with every node output as an output."""
        names = node_outputs(self._graph)
        interpreter = _opened(self._factory, with_outputs(self._data, names), self._graph.name)
        values = run_batch(self._graph, codes, partial(_invoke, interpreter), names)
        return {self._graph.input: codes, **dict(zip(names, values, strict=True))}

    def timed(self, codes: Array) -> Callable[[], None]:
        """Return one inference of `codes[:1]`.

        Timed: passing the int8 input, the network and the copy of the output, through the Python API. Not timed:
        quantisation and the change of layout.
        """
        image = to_file(codes[:1], self._graph.quant(self._graph.input).format)
        interpreter = self._interpreter
        given = interpreter.get_input_details()[0]["index"]
        made = interpreter.get_output_details()[0]["index"]

        def infer() -> None:
            interpreter.set_tensor(given, image)
            interpreter.invoke()
            interpreter.get_tensor(made)

        return infer

    def close(self) -> None:
        """Drop the interpreter."""
        self._interpreter = None


def _opened(factory: Factory, data: bytes, name: str) -> Any:
    try:
        return factory(data)
    except RUNTIME_ERRORS as error:
        raise ExportError(f"the runtime refuses the .tflite file of '{name}': {error}") from error


def _invoke(interpreter: Any, image: Array) -> list[Array]:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return [interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details()]


def _open(factory: Factory, folder: Path, name: str, graph: Graph) -> Session:
    return LiteSession(factory, read_part(folder, name), graph)


def _missing(factory: Factory, package: str) -> str | None:
    """Run a tiny model; return None when its output is right, else why not and what to install."""
    try:
        found = int(_invoke(factory(TINY_MODEL), np.full((1, 1), TINY_INPUT, np.int8))[0][0, 0])
    except RUNTIME_ERRORS as error:
        return f"{package} does not run here ({error}); pip install 'edgemill[arm]' (numpy must be below 2)"
    return None if found == TINY_OUTPUT else f"{package} computes {found} where {TINY_OUTPUT} is right"


def _runtime(name: str, factory: Factory, package: str) -> Runtime:
    return Runtime(name, "arm-a", False, partial(_missing, factory, package), partial(_open, factory))


#: Default kernels (XNNPACK where it takes the operator), reference kernels, and the older runtime of small boards.
LITERT = _runtime("litert", partial(_litert, "AUTO"), "ai-edge-litert")
LITERT_REF = _runtime("litert-ref", partial(_litert, "BUILTIN_REF"), "ai-edge-litert")
TFLITE_RUNTIME = _runtime("tflite-runtime", partial(_tflite_runtime, "AUTO"), "tflite-runtime")
RUNTIMES = (LITERT, LITERT_REF, TFLITE_RUNTIME)
