"""Accuracy of float graphs, quantised graphs and written bundles on the same images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from devices.run_record import Accuracy
from edge.dataset import Dataset
from edge.errors import EdgeError
from export.bundle_read import Bundle
from export.dynamic import Answers, run_parts
from export.parity_rules import runtime_answers
from export.runtimes.session import Runtime
from quant.formats import Array
from quant.graph import Graph
from quant.onnx_write import run_float
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run

#: Images executed at once: bounds the memory of the reference's windows.
BATCH = 32


def inputs_of(graph: Graph, dataset: Dataset, images: Array) -> Array:
    """Return images as the float32 input of a graph.

    Raises:
        EdgeError: there are none, or their shape is not the graph's.
    """
    if len(images) == 0:
        raise EdgeError(
            f"data '{dataset.name}' has no image in the part that is needed here: training images calibrate, test "
            "images are evaluated and become test vectors. Give more images."
        )
    shape = graph.shape(graph.input)
    if images.shape[1:] != dataset.preprocess.shape or not dataset.preprocess.fits(shape):
        raise EdgeError(
            f"data '{dataset.name}' has images {list(images.shape[1:])}; the model takes {list(shape[1:])}."
        )
    return dataset.preprocess.input_for(images, shape)


def output_labels(graph: Graph, dataset: Dataset) -> tuple[str, ...]:
    """Return the name of each output of a graph.

    Labels that are only numbers may be fewer: a file of images need not show every class, and number k is output k.

    Raises:
        EdgeError: the graph's outputs and the data's labels do not go together.
    """
    return named_outputs(int(np.prod(graph.shape(graph.output)[1:])), dataset)


def named_outputs(outputs: int, dataset: Dataset) -> tuple[str, ...]:
    """Return the name of each of a network's outputs; see `output_labels`."""
    labels = dataset.labels
    numbers = tuple(str(k) for k in range(outputs))
    if len(labels) == outputs:
        return labels
    if labels == numbers[: len(labels)]:
        return numbers
    raise EdgeError(f"the model has {outputs} outputs, data '{dataset.name}' has {len(labels)} labels.")


def check_classes(graph: Graph, dataset: Dataset) -> None:
    """Check that a graph's outputs are the data's labels; see `output_labels`."""
    output_labels(graph, dataset)


def float_labels(graph: Graph, x: Array) -> Array:
    """Return the arg max labels of a float graph for float32 inputs [N, ...]."""
    labels: Array = run_float(graph, x).reshape(len(x), -1).argmax(axis=1)
    return labels


def reference_codes(graph: Graph, codes: Array) -> Iterator[Array]:
    """Yield the reference's output codes for input codes [N, ...], batch by batch."""
    program = lower(graph)
    for start in range(0, len(codes), BATCH):
        yield run(program, codes[start : start + BATCH], fast_dot)[graph.output]


def quantised_labels(graph: Graph, x: Array) -> Array:
    """Return the arg max labels of a quantised graph (the integer reference) for float32 inputs [N, ...]."""
    codes = quantise_input(graph.quant(graph.input), x)
    outputs = np.concatenate(list(reference_codes(graph, codes)))
    return code_labels(graph, outputs)


def code_labels(graph: Graph, codes: Array) -> Array:
    """Return the arg max labels of output codes."""
    ordinals = graph.quant(graph.output).format.to_ordinals(codes)
    labels: Array = ordinals.reshape(len(codes), -1).argmax(axis=1)
    return labels


def bundle_answers(bundle: Bundle, runtime: Runtime | None, x: Array) -> Answers:
    """Return what a bundle answers, and which part: executed by a runtime, or by the reference when `runtime` is None.

    Each part runs for the inputs that need it; the label is -1 where a filter dropped the input.
    """
    first = bundle.parts[0].graph
    codes = quantise_input(first.quant(first.input), x)
    if runtime is not None:
        return runtime_answers(bundle, runtime, codes)

    def execute(index: int, given: Array) -> Array:
        return np.concatenate(list(reference_codes(bundle.parts[index].graph, given)))

    return run_parts(bundle.manifest, execute, codes)


def bundle_labels(bundle: Bundle, runtime: Runtime | None, x: Array) -> Array:
    """Return the labels of a bundle, -1 where a filter dropped the input; see `bundle_answers`."""
    return bundle_answers(bundle, runtime, x).label


def compare_labels(truth: Array, float_guess: Array, quantised_guess: Array) -> Accuracy:
    """Compare float and quantised labels [N] of the same images with the truth."""
    float_right, right = float_guess == truth, quantised_guess == truth
    return Accuracy(
        images=len(truth),
        float_accuracy=float(float_right.mean()),
        quantised_accuracy=float(right.mean()),
        agreement=float((float_guess == quantised_guess).mean()),
        lost=int((float_right & ~right).sum()),
        gained=int((~float_right & right).sum()),
        moved=int((~float_right & ~right & (float_guess != quantised_guess)).sum()),
    )
