"""Compute one cell of a sweep. What several cells share is kept in the process: made once, used by all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from devices.sweep_record import SweepCell
from edge.errors import EdgeError
from edge.evaluate import compare_labels
from edge.sweep_plan import CellSpec
from quant.assign import activation_formats
from quant.cost import assigned, cost, summary
from quant.errors import QuantError
from quant.formats import Array, integer
from quant.graph import Graph
from quant.layerwise import Layer, Setting
from quant.luts import Family
from quant.names import suggestion
from quant.operators import Conv, Gemm
from quant.program import lower
from quant.ptq import lay_out
from quant.range_search import Histogram, collect_histograms, fitted_ranges
from quant.ranges import Ranges, estimate_ranges
from quant.reuse import Means, assemble, float_layers, mean_columns, settle
from quant.scheme import Formats, Scheme
from quant.simulate import simulate

#: Passes a method names, joined by +; `none` rounds to nearest.
PASSES = ("scales", "gptq", "bias")


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


def parse_passes(method: str) -> frozenset[str]:
    """Return the passes of a method, such as `gptq+bias` or `none`.

    Raises:
        EdgeError: a word is no pass; the message lists them and the nearest one.
    """
    words = [word for word in method.split("+") if word != "none"]
    unknown = [word for word in words if word not in PASSES]
    if unknown:
        known = f"none, or any of {', '.join(PASSES)} joined by +"
        raise EdgeError(f"no pass '{unknown[0]}'.{suggestion(unknown[0], PASSES)} Allowed: {known}.")
    return frozenset(words)


class Workshop:
    """Computes cells of one task, and keeps what they share: ranges, moments, rounded weights, mean inputs."""

    def __init__(self, task: Task):
        """Nothing is computed before a cell needs it."""
        self.task = task
        self._histograms: Mapping[str, Histogram] = {}
        self._ranges: dict[str, Ranges] = {}
        self._layers: dict[str, Layer] = {}
        self._means: dict[str, Means] = {}
        self._settings: tuple[object, Mapping[str, Setting]] = (None, {})

    def compute(self, spec: CellSpec) -> SweepCell:
        """Quantise by a cell's scheme and passes, and label the test inputs with the emulated network."""
        laid_out = lay_out(self.task.graph, spec.scheme, self.ranges(spec.scheme))
        try:
            quantised = self.quantised(spec, laid_out)
            with torch.inference_mode():
                outputs = simulate(quantised, self.task.test)
        except QuantError as error:
            return _cell(spec, laid_out, self.task, None, str(error))
        return _cell(spec, quantised, self.task, outputs.reshape(len(outputs), -1).argmax(axis=1), None)

    def quantised(self, spec: CellSpec, laid_out: Graph) -> Graph:
        """Put a cell's network together from settled weights and mean inputs."""
        passes = parse_passes(spec.method)
        if not passes:
            return laid_out
        means = self.means(spec.scheme) if "bias" in passes else None
        return assemble(laid_out, self.task.graph, self.settings(spec, laid_out, passes), means)

    def ranges(self, scheme: Scheme) -> Ranges:
        """Return activation ranges: once for each format and estimator, minima and maxima once for all formats."""
        key = str(_activations(scheme)) if scheme.criterion else str(scheme.percentile)
        if key not in self._ranges:
            self._ranges[key] = self._estimate(scheme)
        return self._ranges[key]

    def _estimate(self, scheme: Scheme) -> Ranges:
        graph, inputs = self.task.graph, self.task.calibration
        if not scheme.criterion:
            return estimate_ranges(graph, inputs, scheme.percentile)
        if not self._histograms:
            self._histograms = collect_histograms(graph, inputs)
        formats = activation_formats(graph, scheme)
        return fitted_ranges(self._histograms, formats, scheme.criterion, symmetric=scheme.symmetric)

    def settings(self, spec: CellSpec, laid_out: Graph, passes: frozenset[str]) -> Mapping[str, Setting]:
        """Return rounded weights: once for all cells of a group, as long as they come one after the other."""
        if self._settings[0] != spec.group:
            formats = {
                node.name: laid_out.quant(node.inputs[1]).format
                for node in laid_out.nodes
                if isinstance(node.op, Conv | Gemm)
            }
            settled = settle(
                self.layers(spec.scheme),
                formats,
                per_channel=spec.scheme.per_channel,
                scales="scales" in passes,
                gptq="gptq" in passes,
            )
            self._settings = (spec.group, settled)
        return self._settings[1]

    def layers(self, scheme: Scheme) -> Mapping[str, Layer]:
        """Return the layers with the moments of their float inputs."""
        if not self._layers:
            self._layers = float_layers(self.task.graph, self.task.calibration, self.ranges(scheme))
        return self._layers

    def means(self, scheme: Scheme) -> tuple[Means, Means]:
        """Return mean inputs, in float and rounded: once for each format of the activations."""
        activations = _activations(scheme)
        key = str(activations)
        if key not in self._means:
            graph = lay_out(self.task.graph, activations, self.ranges(scheme))
            exact, rounded = mean_columns(self.task.graph, self.task.calibration, (graph,))
            self._means |= {"float": exact, key: rounded}
        return self._means["float"], self._means[key]


def _activations(scheme: Scheme) -> Scheme:
    """Return what a scheme says of activations: the same for all formats of the weights."""
    return replace(scheme, formats=Formats(integer(16), scheme.formats.activation), per_channel=True)


def _cell(spec: CellSpec, quantised: Graph, task: Task, guess: Array | None, refused: str | None) -> SweepCell:
    accuracy = None if guess is None else compare_labels(task.truth, task.float_guess, guess)
    formats = spec.scheme.formats
    return SweepCell(
        scheme=str(spec.scheme),
        method=spec.method,
        weight=formats.weight.name,
        activation=formats.activation.name,
        weight_bits=formats.weight.bits,
        activation_bits=formats.activation.bits,
        per_channel=spec.scheme.per_channel,
        exact=_is_exact(quantised),
        refused=refused,
        accuracy=accuracy,
        cost=summary(cost(quantised, assigned(quantised), task.family)),
    )


def _is_exact(quantised: Graph) -> bool:
    """Whether the integer reference takes the network: all accumulators fit."""
    try:
        lower(quantised)
    except QuantError:
        return False
    return True
