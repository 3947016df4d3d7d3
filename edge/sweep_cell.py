"""Compute one cell of a sweep."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from devices.run_record import Accuracy
from devices.sweep_record import SweepCell
from edge.evaluate import compare_labels
from edge.sweep_plan import CellSpec
from quant.cost import Summary, assign, assigned, cost, summary
from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph
from quant.luts import Family
from quant.program import lower
from quant.simulate import simulate
from quant.workshop import Workshop, shared_method


@dataclass(frozen=True, eq=False)
class Task:
    """What every cell of a sweep is computed from: a prepared float graph, and float32 inputs [N, ...].

    `truth` and `float_guess` are labels [N] of the test inputs.
    """

    graph: Graph
    calibration: Array
    test: Array
    truth: Array
    float_guess: Array
    family: Family


def compute_cell(workshop: Workshop, task: Task, spec: CellSpec) -> SweepCell:
    """Quantise by a cell's scheme and passes, and label the test inputs with the emulated network."""
    try:
        quantised = workshop.quantised(spec.scheme, shared_method(spec.method))
        with torch.inference_mode():
            outputs = simulate(quantised, task.test)
    except QuantError as error:
        found = cost(task.graph, assign(task.graph, spec.scheme), task.family)
        return _cell(spec, summary(found), exact=False, accuracy=None, refused=str(error))
    guess = outputs.reshape(len(outputs), -1).argmax(axis=1)
    accuracy = compare_labels(task.truth, task.float_guess, guess)
    found = cost(quantised, assigned(quantised), task.family)
    return _cell(spec, summary(found), exact=is_exact(quantised), accuracy=accuracy, refused=None)


def _cell(spec: CellSpec, found: Summary, *, exact: bool, accuracy: Accuracy | None, refused: str | None) -> SweepCell:
    formats = spec.scheme.formats
    return SweepCell(
        scheme=str(spec.scheme),
        method=spec.method,
        weight=formats.weight.name,
        activation=formats.activation.name,
        weight_bits=formats.weight.bits,
        activation_bits=formats.activation.bits,
        per_channel=spec.scheme.per_channel,
        exact=exact,
        refused=refused,
        accuracy=accuracy,
        cost=found,
    )


def is_exact(quantised: Graph) -> bool:
    """Whether the integer reference takes the network: all accumulators fit."""
    try:
        lower(quantised)
    except QuantError:
        return False
    return True
