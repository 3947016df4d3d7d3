"""A method: which passes make a quantised graph of a float one, with a name that parses (`smooth+scales+gptq+bias`).

The passes have one order, that of STEPS: float graphs are reshaped first, then weights get scales, targets and codes,
then biases. `parse_method` checks it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from quant.errors import QuantError
from quant.formats import Array
from quant.graph import Graph
from quant.names import find
from quant.ptq import lay_out, scheme_ranges
from quant.ranges import Ranges
from quant.scheme import Scheme

if TYPE_CHECKING:
    from quant.layerwise import Layer, Setting


@dataclass(frozen=True, slots=True)
class Step:
    """A pass as a method names it; steps with the same `stage` exclude each other."""

    name: str
    stage: str
    summary: str


STEPS = (
    Step("centre", "centre", "move all logits by one constant, so that close decisions lie near zero (labels exact)"),
    Step("hadamard", "rotate", "rotate linear streams so that outlier channels spread (exact)"),
    Step("cle", "equalise", "cross-layer equalisation of weight ranges (exact)"),
    Step("smooth", "smooth", "move outliers from activations to weights (exact)"),
    Step("scales", "scales", "weight scales by least error instead of the largest weight"),
    Step("compensate", "target", "weights refitted to the quantised inputs by least squares"),
    Step("gptq", "rounding", "GPTQ: later columns make up for the rounding of earlier ones"),
    Step("learned", "rounding", "learned rounding (AdaRound)"),
    Step("bias", "bias", "empirical bias correction"),
)
PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Method:
    """Names of steps, in the order of STEPS; none is plain rounding to nearest."""

    steps: tuple[str, ...] = ()

    def __str__(self) -> str:
        """Print the name that parses back."""
        return "+".join(self.steps) or PLAIN

    def has(self, step: str) -> bool:
        """Whether a step takes part."""
        return step in self.steps

    @property
    def is_layerwise(self) -> bool:
        """Whether layers are set one by one on calibration data, not only rounded to nearest."""
        return any(self.has(step) for step in ("scales", "compensate", "gptq", "learned", "bias"))


def parse_method(text: str) -> Method:
    """Parse a method's name.

    Raises:
        QuantError: a step is unknown, given twice, excludes another, or stands in the wrong place.
    """
    names = [name.strip().lower() for name in text.split("+")]
    if names == [PLAIN]:
        return Method()
    steps = [find(name, STEPS, "pass", QuantError) for name in names]
    stages = [step.stage for step in steps]
    for index, step in enumerate(steps):
        if step.stage in stages[:index]:
            other = steps[stages.index(step.stage)].name
            why = "is given twice" if other == step.name else f"excludes {other}; both decide the {step.stage}"
            raise QuantError(f"passes '{text}': {step.name} {why}.")
    right = sorted(steps, key=STEPS.index)
    if steps != right:
        raise QuantError(f"passes '{text}' are in the wrong order; write {'+'.join(step.name for step in right)}.")
    return Method(tuple(step.name for step in steps))


def reshape(graph: Graph, method: Method, inputs: Array) -> Graph:
    """Run a method's passes over the float graph: what comes before any number format."""
    from quant.passes.centre import centre
    from quant.passes.equalise import equalise
    from quant.passes.hadamard import rotate
    from quant.passes.smooth import smooth

    if method.has("centre"):
        graph = centre(graph, inputs)
    if method.has("hadamard"):
        graph = rotate(graph)
    if method.has("cle"):
        graph = equalise(graph)
    if method.has("smooth"):
        graph = smooth(graph, inputs)
    return graph


def apply_method(graph: Graph, scheme: Scheme, method: Method, inputs: Array, ranges: Ranges | None = None) -> Graph:
    """Quantise a prepared float graph by a method.

    Args:
        graph: from `quant.ptq.prepare`.
        scheme: formats, granularity, range estimator.
        method: the passes.
        inputs: checked calibration inputs, float32 [N, ...].
        ranges: activation ranges when they are known already (only without steps that reshape the float graph).

    Returns:
        The quantised graph; accumulators are not checked (`quant.program.lower` does).
    """
    shaped = reshape(graph, method, inputs)
    if ranges is None or shaped is not graph:
        ranges = scheme_ranges(shaped, scheme, inputs)
    return set_layers(lay_out(shaped, scheme, ranges), shaped, method, inputs)


def set_layers(quantised: Graph, shaped: Graph, method: Method, inputs: Array) -> Graph:
    """Run a method's passes over the layers of a laid-out graph."""
    if not method.is_layerwise:
        return quantised
    from quant.layerwise import walk

    second = any(method.has(step) for step in ("scales", "compensate", "gptq", "learned"))
    return walk(quantised, shaped, inputs, lambda layer: set_layer(layer, method), second=second)


def set_layer(layer: Layer, method: Method) -> Setting:
    """Decide one layer: target, scale, codes, bias."""
    import torch

    from quant.layerwise import Setting
    from quant.passes.compensate import compensated
    from quant.passes.correct_bias import corrected_bias
    from quant.passes.gptq import codes_of, gptq_values, grouped, grouped_scale
    from quant.passes.learned_rounding import learned_values
    from quant.passes.search_scales import best_scale
    from quant.simulate import round_weights

    if not method.has("bias"):
        layer = layer.with_fixed_bias
    target = compensated(layer) if method.has("compensate") else torch.from_numpy(layer.weight)
    quant = best_scale(layer, target) if method.has("scales") else layer.quant
    scale = grouped_scale(layer, quant)
    if method.has("gptq"):
        values = gptq_values(layer, quant, target)
    elif method.has("learned"):
        values = learned_values(layer, quant, target)
    else:
        values = round_weights(quant.format, grouped(layer, target) / scale).double()
    real = (values * scale).reshape(target.shape)
    bias = corrected_bias(layer, real) if method.has("bias") else layer.current_bias
    return Setting(codes_of(layer, quant, values), quant, bias)
