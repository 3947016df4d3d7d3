"""A network that is quantised again and again: ranges, moments and rounded weights are made once and kept."""

from __future__ import annotations

from collections.abc import Mapping

from quant.assign import activation_formats
from quant.errors import QuantError
from quant.formats import Array, Format
from quant.graph import Graph
from quant.layerwise import Layer, Setting
from quant.method import Method, parse_method, reshape
from quant.operators import Conv, Gemm
from quant.ptq import lay_out
from quant.range_search import Histogram, collect_histograms, fitted_ranges
from quant.ranges import Ranges, estimate_ranges
from quant.reuse import assemble, float_layers, settle
from quant.scheme import Scheme

#: Steps that reshape the float graph; the others set layers.
RESHAPING = ("hadamard", "cle", "smooth")


def shared_method(text: str) -> Method:
    """Parse a method that can share its work between formats.

    Raises:
        QuantError: it does not parse, or a step needs the inputs of one quantised network.
    """
    method = parse_method(text)
    if method.has("compensate"):
        raise QuantError(
            f"passes '{text}': compensate fits weights to rounded inputs, which here no two networks share."
        )
    return method


class Workshop:
    """Quantises one prepared float graph; has a bench for each way to reshape it."""

    def __init__(self, graph: Graph, calibration: Array):
        """Keep the graph and checked calibration inputs; nothing is computed before it is needed."""
        self.graph, self.calibration = graph, calibration
        self._benches: dict[tuple[str, ...], Bench] = {}

    def quantised(self, scheme: Scheme, method: Method) -> Graph:
        """Quantise by a scheme and a method; accumulators are not checked."""
        bench = self._bench(method)
        laid_out = lay_out(bench.graph, scheme, bench.ranges(scheme))
        return bench.improved(laid_out, method, per_channel=scheme.per_channel) if method.is_layerwise else laid_out

    def _bench(self, method: Method) -> Bench:
        reshaping = tuple(step for step in method.steps if step in RESHAPING)
        if reshaping not in self._benches:
            graph = reshape(self.graph, method, self.calibration)
            self._benches[reshaping] = Bench(graph, self.calibration)
        return self._benches[reshaping]


class Bench:
    """One float graph, and what its quantisations share."""

    def __init__(self, graph: Graph, calibration: Array):
        """Nothing is computed before it is needed."""
        self.graph, self._calibration = graph, calibration
        self._plain: dict[float | None, Ranges] = {}
        self._histograms: Mapping[str, Histogram] = {}
        self._fitted: dict[tuple[str, Format, str, bool], tuple[float, float]] = {}
        self._layers: Mapping[str, Layer] = {}
        self._settled: dict[tuple[str, Format, Method, bool], Setting] = {}

    def improved(self, laid_out: Graph, method: Method, *, per_channel: bool) -> Graph:
        """Set the layers of a laid-out graph by a method."""
        settings = {
            node.name: self._setting(node.name, laid_out.quant(node.inputs[1]).format, method, per_channel)
            for node in laid_out.nodes
            if isinstance(node.op, Conv | Gemm)
        }
        return assemble(laid_out, settings)

    def ranges(self, scheme: Scheme) -> Ranges:
        """Return the ranges of a scheme: minima, maxima and percentiles once, fitted ones once for each format."""
        if not scheme.criterion:
            return self._estimated(scheme.percentile)
        formats = activation_formats(self.graph, scheme)
        return {name: self._fit(name, fmt, scheme.criterion, scheme.symmetric) for name, fmt in formats.items()}

    def _estimated(self, percentile: float | None) -> Ranges:
        if percentile not in self._plain:
            self._plain[percentile] = estimate_ranges(self.graph, self._calibration, percentile)
        return self._plain[percentile]

    def _fit(self, name: str, fmt: Format, criterion: str, symmetric: bool) -> tuple[float, float]:
        if not self._histograms:
            self._histograms = collect_histograms(self.graph, self._calibration)
        key = (name, fmt, criterion, symmetric)
        if key not in self._fitted:
            found = fitted_ranges({name: self._histograms[name]}, {name: fmt}, criterion, symmetric=symmetric)
            self._fitted[key] = found[name]
        return self._fitted[key]

    def _setting(self, name: str, fmt: Format, method: Method, per_channel: bool) -> Setting:
        if not self._layers:
            self._layers = float_layers(self.graph, self._calibration, self._estimated(None))
        key = (name, fmt, method, per_channel)
        if key not in self._settled:
            self._settled[key] = settle(self._layers[name], fmt, method, per_channel=per_channel)
        return self._settled[key]
