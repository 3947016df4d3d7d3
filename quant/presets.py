"""Presets: how much work quantisation does to keep a network's accuracy, and what it chose.

`fast` applies one method without looking. `default` and `best` measure candidates on calibration images that no pass
has seen, keep the best, and always have plain min-max among them; so by that measure they never end worse. Minifloat
logits are centred behind that, by another measure: the margins of close decisions, on all calibration images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from quant.assign import activation_formats, weight_formats
from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph
from quant.judge import agreement, flat, margin_error, relative_error
from quant.method import Method, parse_method, reshape, set_layers
from quant.names import find
from quant.operators import Minimum
from quant.passes.centre import deciding_layer
from quant.passes.scaling import find_pairs
from quant.program import lower
from quant.ptq import lay_out, scheme_ranges
from quant.range_search import Histogram, collect_histograms, fitted_ranges
from quant.ranges import Ranges, estimate_ranges
from quant.scheme import Scheme

#: Networks with fewer pairs of layers to scale than this share of their layers are not worth the time of trying.
SHAPED_SHARE = 0.2
#: A candidate that needs more Minimum operators must err less than this share of the best one's error.
WORTH_MINIMA = 0.9
#: Activation values that candidates are worked out and compared on, and the fewest images.
ACTIVATIONS, LEAST_IMAGES = 300_000_000, 32
#: Logits are moved only where margins of close decisions gain clearly: noise from within the network stays as it is.
WORTH_CENTRING = 0.97


@dataclass(frozen=True, slots=True)
class Preset:
    """A preset: which ranges and methods compete, on how many images.

    `images` bounds what layer-wise passes calibrate on, `judged` the images candidates are compared on; see `_images`.
    """

    name: str
    summary: str
    criteria: tuple[str, ...]
    methods: tuple[str, ...]
    shapes: tuple[str, ...]
    images: int
    judged: int


PRESETS = (
    Preset("fast", "one method, nothing measured", (), ("bias",), (), 16, 0),
    Preset(
        "default",
        "tries range estimators, GPTQ and equalisation, keeps what helps",
        ("mse",),
        ("bias", "scales+gptq+bias", "scales+compensate+gptq+bias"),
        ("cle", "smooth"),
        512,
        64,
    ),
    Preset(
        "best",
        "as default, with more range estimators, learned rounding, rotation and more images",
        ("mse", "kl", "p99.99", "p99.9"),
        ("bias", "scales+gptq+bias", "scales+compensate+gptq+bias", "scales+compensate+learned+bias"),
        ("cle", "smooth", "hadamard"),
        1024,
        256,
    ),
)


def find_preset(name: str) -> Preset:
    """Return the preset called `name`, or raise QuantError with the nearest known name."""
    return find(name, PRESETS, "preset", QuantError)


@dataclass(frozen=True, slots=True)
class Trial:
    """One candidate, what it lost (`relative_error` of its logits) and the share of labels that stay as in float."""

    scheme: Scheme
    method: Method
    error: float
    agreement: float


@dataclass(frozen=True, eq=False)
class Choice:
    """A quantised graph, how it was made, and every candidate that was measured, in order of trial.

    `shaped` is the float graph it was rounded from: the given one, or that one with channels scaled or rotated.
    """

    graph: Graph
    shaped: Graph
    scheme: Scheme
    method: Method
    trials: tuple[Trial, ...]
    remarks: tuple[str, ...] = ()

    def reasons(self) -> Iterator[str]:
        """Yield a line for each trial, and the choice."""
        for trial in self.trials:
            yield (
                f"tried {trial.scheme} with {trial.method}: logit error {trial.error:.3%}, "
                f"{trial.agreement:.1%} labels as float"
            )
        yield from self.remarks
        yield f"chose {self.scheme} with {self.method} ({self._why()})"
        more = minima(self.graph)
        if more:
            yield f"limits of scaled channels take {more} more operators (Minimum); without cle and smooth none"

    def _why(self) -> str:
        """Return what decided: the least error, fewer operators at nearly that error, the margins behind either."""
        if not self.trials:
            return "nothing measured"
        centred = self.method.has("centre")
        chosen = self.scheme, Method(self.method.steps[centred:])
        error = next(trial.error for trial in self.trials if (trial.scheme, trial.method) == chosen)
        least = min(trial.error for trial in self.trials)
        why = "least logit error on held-out calibration images"
        if error > least:
            why = f"logit error {error:.3%}; less, {least:.3%}, takes more operators (Minimum), which does not pay"
        return f"{why}; logits centred for the margins of close decisions" if centred else why


Say = Callable[[str], None]


def quantise_by(graph: Graph, scheme: Scheme, preset: Preset, inputs: Array, say: Say | None = None) -> Choice:
    """Quantise a prepared float graph by a preset.

    Args:
        graph: from `quant.ptq.prepare`.
        scheme: formats and granularity. A range estimator it names is kept, else the preset's compete.
        preset: one of PRESETS.
        inputs: checked calibration inputs, float32 [N, ...].
        say: told what is tried, as it is tried.

    Raises:
        QuantError: an accumulator would overflow.
    """
    if not preset.judged:
        choice = _fast(graph, scheme, preset, inputs)
    else:
        choice = _Contest(graph, scheme, preset, inputs, say or (lambda _: None)).decide()
    lower(choice.graph)
    return choice


def quantise_with(graph: Graph, scheme: Scheme, method: Method, inputs: Array) -> Choice:
    """Quantise a prepared float graph by a method that is given; see `quantise_by`."""
    shaped = reshape(graph, method, inputs)
    made = set_layers(lay_out(shaped, scheme, scheme_ranges(shaped, scheme, inputs)), shaped, method, inputs)
    lower(made)
    return Choice(made, shaped, scheme, method, ())


def minima(graph: Graph) -> int:
    """Return how many Minimum operators a graph has: what scaling across upper limits costs a device."""
    return sum(isinstance(node.op, Minimum) for node in graph.nodes)


def _images(graph: Graph, most: int) -> int:
    """Return how many images to work on: fewer where one image makes many activations, for it says more too."""
    values = sum(int(np.prod(graph.shape(name))) for name in graph.activations())
    return min(most, max(LEAST_IMAGES, ACTIVATIONS // values))


def _fast(graph: Graph, scheme: Scheme, preset: Preset, inputs: Array) -> Choice:
    """Take what the widths ask for: narrow weights need GPTQ, narrow activations ranges that clip."""
    narrow = min(fmt.bits for fmt in weight_formats(graph, scheme).values()) < 8
    method = parse_method("scales+gptq+bias" if narrow else preset.methods[0])
    shaped = graph
    if _is_centred(graph, scheme):
        method = Method(("centre", *method.steps))
        shaped = reshape(graph, method, inputs[: preset.images])
    few = min(fmt.bits for fmt in activation_formats(graph, scheme).values()) < 8
    if few and scheme.criterion is None and scheme.percentile is None:
        scheme, inputs = replace(scheme, criterion="mse"), inputs[: _images(graph, 128)]
    made = lay_out(shaped, scheme, scheme_ranges(shaped, scheme, inputs))
    learned = inputs[: _images(graph, 128) if narrow or few else preset.images]
    return Choice(set_layers(made, shaped, method, learned), shaped, scheme, method, ())


def _is_centred(graph: Graph, scheme: Scheme) -> bool:
    """Whether logits may be moved to where their format is finest, which only minifloats have."""
    return activation_formats(graph, scheme)[graph.output].is_minifloat and deciding_layer(graph) is not None


@dataclass(frozen=True, eq=False)
class _Best:
    """The candidate with the least error so far."""

    error: float
    graph: Graph
    shaped: Graph
    scheme: Scheme
    method: Method


class _Contest:
    """The candidates of one preset on one network; keeps what several of them share."""

    def __init__(self, graph: Graph, scheme: Scheme, preset: Preset, inputs: Array, say: Say) -> None:
        self.graph, self.scheme, self.preset, self.say = graph, scheme, preset, say
        held = min(_images(graph, preset.judged), max(1, len(inputs) // 3))
        learned = inputs[:-held][: _images(graph, preset.images)]
        self.inputs, self.judged, self.learned = inputs, inputs[-held:], learned
        if len(self.learned) == 0:
            self.learned = inputs
        from quant.simulate import simulate

        self.wanted = flat(simulate(graph, self.judged))
        self.trials: list[Trial] = []
        self.best: _Best | None = None

    def decide(self) -> Choice:
        """Run the trials: ranges first, then methods on the best ranges, then reshaped float graphs."""
        histograms = None
        if self.scheme.criterion is None and self.scheme.percentile is None:
            histograms = collect_histograms(self.graph, self.learned)
        for scheme, ranges in self._range_candidates(histograms):
            self._try(lay_out(self.graph, scheme, ranges), self.graph, scheme, Method())
        base = self._winner()
        for name in self._methods():
            method = parse_method(name)
            self._try(set_layers(base.graph, self.graph, method, self.learned), self.graph, base.scheme, method)
        for shape in self.preset.shapes:
            if self._worth_shaping():
                self._try_shape(shape)
        best, remarks = self._centred(self._winner())
        return Choice(best.graph, best.shaped, best.scheme, best.method, tuple(self.trials), remarks)

    def _centred(self, best: _Best) -> tuple[_Best, tuple[str, ...]]:
        """Centre the winner's logits when that tells close decisions apart better.

        The error of all logits cannot judge this: those of classes far behind get coarser, which no label feels.
        """
        if not _is_centred(self.graph, self.scheme):
            return best, ()
        method = Method(("centre", *best.method.steps))
        shaped = reshape(self.graph, method, self.learned)
        laid = lay_out(shaped, best.scheme, scheme_ranges(shaped, best.scheme, self.learned))
        made = set_layers(laid, shaped, method, self.learned)
        before, after = (self._margin_error(graph) for graph in (best.graph, made))
        remark = f"tried {best.scheme} with {method}: margins of close decisions err by {after:.3g}, not {before:.3g}"
        self.say(remark)
        found = replace(best, graph=made, shaped=shaped, method=method) if after < WORTH_CENTRING * before else best
        return found, (remark,)

    def _margin_error(self, made: Graph) -> float:
        from quant.simulate import simulate

        inputs = self.inputs[: _images(self.graph, 512)]
        return margin_error(*(flat(simulate(graph, inputs)) for graph in (self.graph, made)))

    def _range_candidates(self, histograms: dict[str, Histogram] | None) -> Iterator[tuple[Scheme, Ranges]]:
        yield self.scheme, scheme_ranges(self.graph, self.scheme, self.inputs)
        if histograms is None:
            return
        formats = activation_formats(self.graph, self.scheme)
        for name in self.preset.criteria:
            if name.startswith("p"):
                other = replace(self.scheme, percentile=float(name[1:]))
                yield other, estimate_ranges(self.graph, self.learned, other.percentile)
            else:
                other = replace(self.scheme, criterion=name)
                yield other, fitted_ranges(histograms, formats, name, symmetric=other.symmetric)

    def _methods(self) -> tuple[str, ...]:
        """Return the preset's methods; rounding at 8 bits is not worth GPTQ's time, so wide weights get the first."""
        narrow = min(fmt.bits for fmt in weight_formats(self.graph, self.scheme).values()) < 8
        return self.preset.methods if narrow or self.preset.name == "best" else self.preset.methods[:1]

    def _worth_shaping(self) -> bool:
        """Whether enough layers stand in pairs that can be scaled; `best` always looks.

        Across an upper limit (ReLU6) that costs the device an operator, a Minimum. `default` pays where all channels of
        a weight share one scale; channels with scales of their own hardly gain.
        """
        pairs = [pair for pair in find_pairs(self.graph) if pair.limit == np.inf or not self.scheme.per_channel]
        layers = len(weight_formats(self.graph, self.scheme))
        return self.preset.name == "best" or len(pairs) >= SHAPED_SHARE * layers

    def _try_shape(self, shape: str) -> None:
        scheme, method = self._winner().scheme, self._winner().method
        names = (shape, *method.steps)
        steps = tuple(step for step in ("hadamard", "cle", "smooth") if step in names)
        wider = Method((*steps, *(name for name in method.steps if name not in steps)))
        shaped = reshape(self.graph, wider, self.learned)
        if all(np.array_equal(shaped.weights[k], w) for k, w in self.graph.weights.items()):
            return
        laid = lay_out(shaped, scheme, scheme_ranges(shaped, scheme, self.learned))
        self._try(set_layers(laid, shaped, wider, self.learned), shaped, scheme, wider)

    def _try(self, graph: Graph, shaped: Graph, scheme: Scheme, method: Method) -> None:
        """Measure a candidate. One that overflows is out; if plain min-max does, there is no way."""
        from quant.simulate import simulate

        try:
            lower(graph)
        except QuantError as error:
            if self.best is None:
                raise
            self.say(f"{scheme} with {method}: not possible ({error})")
            return
        found = flat(simulate(graph, self.judged))
        trial = Trial(scheme, method, relative_error(self.wanted, found), agreement(self.wanted, found))
        self.trials.append(trial)
        self.say(f"{scheme} with {method}: logit error {trial.error:.3%}")
        dearer = self.best is not None and minima(shaped) > minima(self.best.shaped)
        if self.best is None or trial.error < self.best.error * (WORTH_MINIMA if dearer else 1.0):
            self.best = _Best(trial.error, graph, shaped, scheme, method)

    def _winner(self) -> _Best:
        assert self.best is not None
        return self.best
