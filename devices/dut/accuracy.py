"""Accuracy mode: the device's answers to a bundle's test vectors, held against the codes that must come out."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from devices.dut.driver import INFER_S, Dut
from devices.errors import DeviceError
from devices.part_files import load_graph, load_inputs
from export.bundle_read import VECTORS
from export.c99.layout import to_c
from quant.errors import QuantError
from quant.formats import Array, IntArray
from quant.graph import Graph


@dataclass(frozen=True, slots=True, eq=False)
class Vectors:
    """Test vectors as a device takes and gives them.

    `inputs` are the bytes of input codes in C memory order; `outputs` int64 [N, outputs], places on the output's grid.
    """

    inputs: tuple[bytes, ...]
    outputs: IntArray


@dataclass(frozen=True, slots=True)
class Accuracy:
    """How a device answered: vectors sent, those with the very codes, those with the right greatest output.

    `first` is the first vector with another answer, None where there is none. `labels` is how many greatest outputs
    the expected answers have: 1 means that right ones say little.
    """

    vectors: int
    exact: int
    same_label: int
    labels: int
    first: int | None


def load_vectors(folder: Path, count: int | None = None) -> Vectors:
    """Read the test vectors of a part, the first `count` of them.

    Raises:
        DeviceError: see `devices.part_files.load_inputs`; or the outputs are missing or do not fit the graph.
    """
    graph = load_graph(folder)
    codes, outputs = load_inputs(folder, graph), _outputs(folder / VECTORS, graph)
    if len(outputs) != len(codes):
        raise DeviceError(f"{folder / VECTORS} has {len(codes)} inputs and {len(outputs)} outputs.")
    chosen = slice(0, count)
    ordered = to_c(codes[chosen]).astype(graph.quant(graph.input).format.dtype.newbyteorder("<"))
    return Vectors(tuple(image.tobytes() for image in ordered), outputs[chosen])


def _outputs(path: Path, graph: Graph) -> IntArray:
    try:
        with path.open("rb") as file:
            codes: Array = np.load(file, allow_pickle=False)["outputs"]
        fmt, shape = graph.quant(graph.output).format, graph.shape(graph.output)
        if codes.shape[1:] != shape[1:]:
            raise DeviceError(f"{path}: outputs have shape {codes.shape}; the graph gives [N, {str(shape[1:])[1:-1]}].")
        return fmt.to_ordinals(to_c(codes)).reshape(len(codes), -1)
    except (OSError, LookupError, ValueError, EOFError, zipfile.BadZipFile, QuantError) as error:
        raise DeviceError(f"{path} does not hold readable test vectors: {error}.") from error


def accuracy(dut: Dut, vectors: Vectors, limit_s: float = INFER_S) -> Accuracy:
    """Run every vector once on the device and compare.

    A firmware with this project's C answers in integers, which must be the very codes; one that answers in real numbers
    can only have the right label.

    Raises:
        DeviceError: the device has another number of outputs, or breaks the protocol.
    """
    answers = []
    for data, expected in zip(vectors.inputs, vectors.outputs, strict=True):
        dut.load(data)
        answers.append(_checked(dut.infer(1, 0, limit_s).results, len(expected)))
    return compare(answers, vectors)


def compare(answers: Sequence[Sequence[float]], vectors: Vectors) -> Accuracy:
    """Hold answers, one sequence of numbers for every vector, against what must come out."""
    given, wanted = np.array(answers, np.float64), vectors.outputs[: len(answers)]
    exact = (given == wanted).all(axis=1)
    label = given.argmax(axis=1) == wanted.argmax(axis=1)
    wrong = np.flatnonzero(~exact)
    return Accuracy(
        vectors=len(given),
        exact=int(exact.sum()),
        same_label=int(label.sum()),
        labels=len(np.unique(wanted.argmax(axis=1))),
        first=int(wrong[0]) if wrong.size else None,
    )


def _checked(results: tuple[float, ...], count: int) -> tuple[float, ...]:
    if len(results) != count:
        raise DeviceError(f"the device gives {len(results)} results; the bundle's network has {count} outputs.")
    return results
