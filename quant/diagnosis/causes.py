"""The causes of lost accuracy in one visible tuple: each a small pure function of one layer's numbers."""

from __future__ import annotations

from collections.abc import Callable

from quant.diagnosis import causes_input, causes_weights
from quant.diagnosis import causes_values as values
from quant.diagnosis.facts import Facts
from quant.diagnosis.finding import Cause, Evidence

Finder = Callable[[Facts], Evidence | None]


def few_activation_bits(facts: Facts) -> Evidence | None:
    """Nothing else is wrong: the output needs a finer grid."""
    if facts.format is None:
        return None
    return _few(facts.format.name, facts.damage.activation.error.sqnr_db, "values")


def few_weight_bits(facts: Facts) -> Evidence | None:
    """Nothing else is wrong: the weights need a finer grid, or better rounding."""
    if facts.weights is None or facts.damage.weights is None:
        return None
    return _few(facts.weights.quant.format.name, facts.damage.weights.error.sqnr_db, "weights")


def _few(fmt: str, sqnr_db: float, what: str) -> Evidence:
    return Evidence(
        f"{what} in {fmt} alone leave {sqnr_db:.1f} dB at the logits",
        {"sqnr_db": sqnr_db},
    )


def _cause(name: str, title: str, part: str, find: Finder, advice: str) -> Cause:
    return Cause(name, title, part, find, advice, always=part == "input")


CAUSES = (
    _cause(
        "preprocessing",
        "pre-processing mismatch",
        "input",
        causes_input.preprocessing,
        "Give the pre-processing the network was trained with (--pixel-scale, --mean, --std), then calibrate again.",
    ),
    _cause(
        "other_weights",
        "other weights than the float model's",
        "weights",
        causes_weights.other_weights,
        "Give the float model this file was made from; rotated or retrained weights cannot be compared by layer.",
    ),
    _cause(
        "bias_overflow",
        "bias overflow",
        "weights",
        causes_weights.bias_overflow,
        "Use one weight scale per channel, or more bits for the layer's input.",
    ),
    _cause(
        "dead_weights",
        "dead channels set the weights' range",
        "weights",
        causes_weights.dead_weights,
        "Remove the dead channels, or use one weight scale per channel.",
    ),
    _cause("dead_channels", "dead channels", "activation", values.dead_channels, "Remove the channels and train on."),
    _cause(
        "weight_disparity",
        "channel range disparity (weights)",
        "weights",
        causes_weights.weight_disparity,
        "Use one weight scale per channel, or equalise the layers.",
    ),
    _cause(
        "channel_disparity",
        "channel range disparity",
        "activation",
        values.channel_disparity,
        "Equalise this layer with the next one, or give its output more bits.",
    ),
    _cause(
        "bounded_activation",
        "ReLU6 or another bounded activation",
        "activation",
        values.bounded_activation,
        "Equalise with the clip kept per channel, or train with ReLU.",
    ),
    _cause(
        "clipped_range",
        "clipped range",
        "activation",
        values.clipped_range,
        "Use full ranges, or calibrate on data like those of operation.",
    ),
    _cause(
        "one_sided_outliers",
        "one-sided outliers",
        "activation",
        values.one_sided_outliers,
        "Clip the range (percentile), or give the tensor more bits.",
    ),
    _cause(
        "outliers",
        "outliers",
        "activation",
        values.outliers,
        "Clip the range (percentile), or give the tensor more bits.",
    ),
    _cause(
        "loose_range",
        "range wider than the values",
        "activation",
        values.loose_range,
        "Calibrate on data like those of operation; give joined tensors ranges of their own.",
    ),
    _cause(
        "average_pooling",
        "average pooling at low bits",
        "activation",
        values.average_pooling,
        "Give the averages 8 bits; they are few.",
    ),
    _cause(
        "batch_norm",
        "batch norm not folded",
        "layer",
        values.batch_norm_left,
        "Put the batch norm right behind a convolution that nothing else reads, or give both tensors more bits.",
    ),
    _cause(
        "shifted_mean",
        "rounding shifts the mean",
        "weights",
        causes_weights.shifted_mean,
        "Correct the biases.",
    ),
)
#: What remains to be said of a part for which none of CAUSES was found.
FALLBACKS = (
    _cause(
        "few_weight_bits",
        "too few bits (weights)",
        "weights",
        few_weight_bits,
        "Round the weights by GPTQ, give the layer more bits, or train with quantisation.",
    ),
    _cause(
        "few_activation_bits",
        "too few bits (output)",
        "activation",
        few_activation_bits,
        "Give the layer's output more bits, or train with quantisation.",
    ),
)
