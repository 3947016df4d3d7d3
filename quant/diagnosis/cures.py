"""Cures, cheapest first: each changes how the float network is quantised, for certain causes.

A cure is a function `Plan -> Plan`: another scheme, more passes, or a float graph rewritten. Cures can therefore be
combined, and what one did can be typed again: a scheme and a method are names.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from quant.diagnosis.dead import without_dead_weights
from quant.formats import Array, Format, integer
from quant.graph import Graph, Node
from quant.method import STEPS, Method, apply_method
from quant.operators import MOVES
from quant.scheme import Formats, Scheme

PLAIN = Method()
#: Layers that get more bits when that is the cure.
MOST_LAYERS = 3
WIDE = 8
#: Shares of values that percentile ranges keep.
PERCENTILES = (99.99, 99.9)


@dataclass(frozen=True, eq=False)
class Plan:
    """How to quantise: a prepared float graph, a scheme, passes, and the calibration inputs.

    `layers` are those that show the cause at hand, the worst first. `foreign`: the network was quantised elsewhere, and
    scheme and passes are only like it.
    """

    graph: Graph
    scheme: Scheme
    inputs: Array
    method: Method = PLAIN
    layers: tuple[str, ...] = ()
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Cure:
    """A way to quantise better. `price` is what it costs on the device; None from `change`: it does not apply here."""

    name: str
    causes: tuple[str, ...]
    price: str
    change: Callable[[Plan], Plan | None]


def carry_out(plan: Plan) -> Graph:
    """Quantise as planned; accumulators are not checked."""
    return apply_method(plan.graph, plan.scheme, plan.method, plan.inputs)


def calibrated_again(plan: Plan) -> Plan | None:
    """Ranges from these data."""
    return plan if plan.foreign else None


def _with_scheme(plan: Plan, scheme: Scheme) -> Plan | None:
    return None if scheme == plan.scheme else replace(plan, scheme=scheme)


def per_channel(plan: Plan) -> Plan | None:
    """One scale per output channel for weights."""
    return _with_scheme(plan, replace(plan.scheme, per_channel=True))


def ranges_by(plan: Plan, percentile: float | None = None, criterion: str | None = None) -> Plan | None:
    """Ranges from another estimator; minimum and maximum without any."""
    return _with_scheme(plan, replace(plan.scheme, percentile=percentile, criterion=criterion))


def with_passes(plan: Plan, *names: str) -> Plan | None:
    """Run more passes; those of the same stage give way."""
    stages = {step.stage for step in STEPS if step.name in names}
    kept = {step.name for step in STEPS if step.stage not in stages and plan.method.has(step.name)}
    method = Method(tuple(step.name for step in STEPS if step.name in kept or step.name in names))
    return None if method == plan.method else replace(plan, method=method)


def silenced(plan: Plan) -> Plan | None:
    """Take the weights of constant channels out: their bias says all they ever say."""
    graph = without_dead_weights(plan.graph, plan.layers, plan.inputs)
    return None if graph is plan.graph else replace(plan, graph=graph)


def wider_layers(plan: Plan) -> Plan | None:
    """8-bit integers for the worst layers that show the cause."""
    return _with_formats(plan, lambda formats: Formats(_widened(formats.weight), _widened(formats.activation)))


def wide_outputs(plan: Plan) -> Plan | None:
    """16-bit integers for the outputs of the worst layers that show the cause."""
    return _with_formats(plan, lambda formats: replace(formats, activation=integer(16)))


def _with_formats(plan: Plan, change: Callable[[Formats], Formats]) -> Plan | None:
    scheme = plan.scheme
    for name in plan.layers[:MOST_LAYERS]:
        if name == plan.graph.input:
            wide = change(scheme.formats).activation
            scheme = replace(scheme, input_bits=None if wide.is_minifloat else wide.bits)
            continue
        node = _maker(plan.graph, name)
        if node is None:
            continue
        formats = scheme.at(node.name)
        if change(formats) != formats:
            scheme = replace(scheme, rules=(*scheme.rules, (name_pattern(node.name), change(formats))))
    return _with_scheme(plan, scheme)


def _maker(graph: Graph, name: str) -> Node | None:
    """Return the node whose rule decides the format of a layer: of what only moves codes, the one before it."""
    node = next((n for n in graph.nodes if n.name == name), None)
    while node is not None and isinstance(node.op, MOVES):
        node = graph.producer(node.inputs[0])
    return node


def _widened(fmt: Format) -> Format:
    return fmt if fmt.bits >= WIDE else integer(WIDE, signed=fmt.signed)


def name_pattern(name: str) -> str:
    """Return a shell pattern that matches this name only."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


FREE = "nothing"
OUTLIERS = ("one_sided_outliers", "outliers")
UNEVEN = ("channel_disparity", "bounded_activation")
WIDE_VALUES = (*OUTLIERS, *UNEVEN, "few_activation_bits")
CURES = (
    Cure("quantise again", ("preprocessing", "other_weights", "loose_range", "clipped_range"), FREE, calibrated_again),
    Cure("full ranges", ("clipped_range",), FREE, ranges_by),
    *(Cure(f"ranges at percentile {p:g}", OUTLIERS, FREE, partial(ranges_by, percentile=p)) for p in PERCENTILES),
    Cure("ranges of least squared error", (*WIDE_VALUES, "clipped_range"), FREE, partial(ranges_by, criterion="mse")),
    Cure("dead weights removed", ("dead_weights", "dead_channels", "bias_overflow"), FREE, silenced),
    Cure("bias correction", ("shifted_mean",), FREE, lambda plan: with_passes(plan, "bias")),
    Cure("equalisation", ("weight_disparity",), FREE, lambda plan: with_passes(plan, "cle")),
    Cure("smoothing", UNEVEN, FREE, lambda plan: with_passes(plan, "smooth")),
    Cure(
        "weights per channel",
        ("weight_disparity", "dead_weights", "bias_overflow"),
        "one scale per output channel",
        per_channel,
    ),
    Cure(
        "GPTQ and bias correction",
        ("shifted_mean", "few_weight_bits"),
        FREE,
        lambda plan: with_passes(plan, "gptq", "bias"),
    ),
    Cure(
        "learned rounding and bias correction",
        ("few_weight_bits",),
        FREE,
        lambda plan: with_passes(plan, "learned", "bias"),
    ),
    Cure(
        "8 bits for the layer",
        (*WIDE_VALUES, "shifted_mean", "few_weight_bits", "weight_disparity", "average_pooling", "batch_norm"),
        "the layer's bytes",
        wider_layers,
    ),
    Cure(
        "16-bit output of the layer",
        (*WIDE_VALUES, "dead_channels", "batch_norm"),
        "the output's bytes, and 16-bit kernels behind it",
        wide_outputs,
    ),
)
