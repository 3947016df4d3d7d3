"""Cures, cheapest first: each quantises the float network again in another way, for certain causes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from quant.formats import Array, Format, integer
from quant.graph import Graph, Node
from quant.operators import MOVES
from quant.ptq import lay_out, scheme_ranges
from quant.scheme import Formats, Scheme

#: Layers that get more bits when that is the cure.
MOST_LAYERS = 3
WIDE = 8
#: Shares of values that percentile ranges keep.
PERCENTILES = (99.99, 99.9)


@dataclass(frozen=True, eq=False)
class Patient:
    """What a cure works on: a prepared float graph, the scheme, calibration inputs, the layers that show the cause.

    `foreign`: the quantised network was made elsewhere, and the scheme is only like it.
    """

    graph: Graph
    scheme: Scheme
    inputs: Array
    layers: tuple[str, ...] = ()
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Cure:
    """A way to quantise again. `price` says what it costs on the device; None from `apply`: it changes nothing here."""

    name: str
    causes: tuple[str, ...]
    price: str
    apply: Callable[[Patient], Graph | None]


def quantise_again(patient: Patient) -> Graph:
    """Quantise the float graph by a scheme; accumulators are not checked."""
    ranges = scheme_ranges(patient.graph, patient.scheme, patient.inputs)
    return lay_out(patient.graph, patient.scheme, ranges)


def calibrated_again(patient: Patient) -> Graph | None:
    """Ranges from these data."""
    return quantise_again(patient) if patient.foreign else None


def per_channel(patient: Patient) -> Graph | None:
    """One scale per output channel for weights."""
    if patient.scheme.per_channel:
        return None
    return quantise_again(replace(patient, scheme=replace(patient.scheme, per_channel=True)))


def full_range(patient: Patient) -> Graph | None:
    """Ranges from minimum and maximum."""
    scheme = replace(patient.scheme, percentile=None, criterion=None)
    return None if scheme == patient.scheme else quantise_again(replace(patient, scheme=scheme))


def least_squares_range(patient: Patient) -> Graph | None:
    """Ranges that lose the least squared error."""
    scheme = replace(patient.scheme, percentile=None, criterion="mse")
    return None if scheme == patient.scheme else quantise_again(replace(patient, scheme=scheme))


def percentile_range(patient: Patient, percentile: float) -> Graph | None:
    """Ranges without the few largest values."""
    if patient.scheme.percentile is not None and patient.scheme.percentile <= percentile:
        return None
    scheme = replace(patient.scheme, percentile=percentile, criterion=None)
    return quantise_again(replace(patient, scheme=scheme))


def silence_dead(patient: Patient) -> Graph | None:
    """Take the weights of constant channels out: their bias says all they ever say."""
    from quant.diagnosis.dead import without_dead_weights

    graph = without_dead_weights(patient.graph, patient.layers, patient.inputs)
    return None if graph is patient.graph else quantise_again(replace(patient, graph=graph))


def corrected_bias(patient: Patient) -> Graph | None:
    """Give every channel its mean back."""
    from quant.passes.correct_bias import correct_bias

    return correct_bias(quantise_again(patient), patient.graph, patient.inputs)


def rounded_by_gptq(patient: Patient) -> Graph | None:
    """Round weights so that their errors cancel, then give every channel its mean back."""
    from quant.passes.correct_bias import correct_bias
    from quant.passes.gptq import gptq

    rounded = gptq(quantise_again(patient), patient.graph, patient.inputs)
    return correct_bias(rounded, patient.graph, patient.inputs)


def wider_layers(patient: Patient) -> Graph | None:
    """8-bit integers for the worst layers that show the cause."""
    return _with_formats(patient, lambda formats: Formats(_widened(formats.weight), _widened(formats.activation)))


def wide_outputs(patient: Patient) -> Graph | None:
    """16-bit integers for the outputs of the worst layers that show the cause."""
    return _with_formats(patient, lambda formats: replace(formats, activation=integer(16)))


def _with_formats(patient: Patient, change: Callable[[Formats], Formats]) -> Graph | None:
    scheme = patient.scheme
    for name in patient.layers[:MOST_LAYERS]:
        if name == patient.graph.input:
            wide = change(scheme.formats).activation
            scheme = replace(scheme, input_bits=None if wide.is_minifloat else wide.bits)
            continue
        node = _maker(patient.graph, name)
        if node is None:
            continue
        formats = scheme.at(node.name)
        if change(formats) != formats:
            scheme = replace(scheme, rules=(*scheme.rules, (name_pattern(node.name), change(formats))))
    return None if scheme == patient.scheme else quantise_again(replace(patient, scheme=scheme))


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


OUTLIERS = ("one_sided_outliers", "outliers")
WIDE_VALUES = (*OUTLIERS, "channel_disparity", "bounded_activation", "few_activation_bits")
CURES = (
    Cure(
        "calibrate again on these data", ("preprocessing", "loose_range", "clipped_range"), "nothing", calibrated_again
    ),
    Cure("full ranges", ("clipped_range",), "nothing", full_range),
    *(
        Cure(
            f"ranges at percentile {p}",
            OUTLIERS,
            "nothing",
            partial(percentile_range, percentile=p),
        )
        for p in PERCENTILES
    ),
    Cure("ranges of least squared error", (*WIDE_VALUES, "clipped_range"), "nothing", least_squares_range),
    Cure(
        "weights of dead channels removed", ("dead_weights", "dead_channels", "bias_overflow"), "nothing", silence_dead
    ),
    Cure("bias correction", ("shifted_mean",), "nothing", corrected_bias),
    Cure(
        "weights per channel",
        ("weight_disparity", "dead_weights", "bias_overflow"),
        "one scale per output channel",
        per_channel,
    ),
    Cure("GPTQ with bias correction", ("shifted_mean", "few_weight_bits"), "nothing", rounded_by_gptq),
    Cure(
        "8 bits for the layer",
        (
            *WIDE_VALUES,
            "shifted_mean",
            "few_weight_bits",
            "weight_disparity",
            "average_pooling",
            "batch_norm",
        ),
        "the layer's bytes",
        wider_layers,
    ),
    Cure(
        "16-bit output of the layer",
        (
            *WIDE_VALUES,
            "dead_channels",
            "batch_norm",
        ),
        "the output's bytes, and 16-bit kernels behind it",
        wide_outputs,
    ),
)
