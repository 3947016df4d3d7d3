"""A binary network as plain data, and the reference that runs it with XNOR and popcount.

    stem       float convolution with its batch norm folded in, clip to [-1, 1]
    layers     binary convolutions: signs in, exact integer sums S, and a finish per output channel
    head       mean over the image, then a float linear layer with its batch norm folded in

A finish is either affine, x' = clip(gain * S + offset (+ shortcut), -1, 1) with alpha and batch norm in gain and
offset, or, where only the sign of x' is ever used, the comparison S >= threshold. Float values (stem, finishes, head)
are float32, each operation rounded once and sums added in a fixed order, so a result has the same bits everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from quant.binary import PAD_VALUES, BinaryWeight, binary_conv, bits_of, check_weight, output_size
from quant.errors import QuantError
from quant.formats import Array

Pair = tuple[int, int]
Pads = tuple[int, int, int, int]
#: Sums of more terms are not all exact in float32, which finishes compute with.
MAX_TERMS = 1 << 24
BATCH = 128


@dataclass(frozen=True, slots=True, eq=False)
class Stem:
    """clip(conv(x, weight) + offset, -1, 1), zeros around: float32 [out, in, rows, columns] and [out]."""

    weight: Array
    offset: Array
    strides: Pair
    pads: Pads


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """gain * S + offset, float32 [out] each."""

    gain: Array
    offset: Array


@dataclass(frozen=True, slots=True, eq=False)
class Threshold:
    """+1 where S >= least, else -1; int32 [out]. Negative gains are in the weights' signs."""

    least: Array


@dataclass(frozen=True, slots=True, eq=False)
class BinaryLayer:
    """One binary convolution.

    With `skip`, its input is added to the finish: averaged over `strides`, zeros as new channels.
    """

    name: str
    weight: BinaryWeight
    strides: Pair
    pads: Pads
    pad_value: int
    skip: bool
    finish: Affine | Threshold


@dataclass(frozen=True, slots=True, eq=False)
class BinaryNetwork:
    """The whole classifier for inputs [N, *shape]; `head` is float32 [classes, channels] and `bias` [classes]."""

    name: str
    shape: tuple[int, int, int]
    stem: Stem
    layers: tuple[BinaryLayer, ...]
    head: Array
    bias: Array


def check(network: BinaryNetwork) -> BinaryNetwork:
    """Return the network.

    Raises:
        QuantError: shapes or types that do not fit together, or a threshold whose sign is not all that is used.
    """
    stem = network.stem
    if stem.weight.ndim != 4 or len({layer.name for layer in network.layers}) != len(network.layers):
        raise QuantError(f"binary network '{network.name}': the stem needs 4 axes, and every layer its own name.")
    channels, _, rows, columns = stem.weight.shape
    _expect(stem.weight, (channels, network.shape[0], rows, columns), "stem weight")
    _expect(stem.offset, (channels,), "stem offset")
    size = output_size(network.shape[1:], (rows, columns), stem.strides, stem.pads)
    for layer in network.layers:
        size, channels = _check_layer(layer, size, channels)
    _expect(network.head, (len(network.bias), channels), "head")
    _expect(network.bias, (len(network.head),), "bias")
    following = (*(layer.skip for layer in network.layers[1:]), True)
    for layer, adds in zip(network.layers, following, strict=True):
        if isinstance(layer.finish, Threshold) and (adds or layer.skip):
            raise QuantError(
                f"binary layer '{layer.name}': a threshold gives a sign, but its value is added or averaged."
            )
    return network


def thresholds(gain: Array, offset: Array, terms: int) -> tuple[Array, Array]:
    """Fold an affine finish whose sign alone is used.

    Args:
        gain: float32 [out].
        offset: float32 [out].
        terms: largest magnitude of a sum.

    Returns:
        `least`, int32 [out], and `flip`, bool [out]: sign(gain * S + offset) in float32 is +1 exactly where S >= least,
        with S computed from negated weights in the channels to flip. Rounding is monotone, so one threshold is enough.
    """
    flip = gain < 0
    sums = np.arange(-terms, terms + 1)
    made = np.abs(gain)[:, None] * sums.astype(np.float32) + offset[:, None]
    least = (sums[-1] + 1 - (made >= 0).sum(axis=1)).astype(np.int32)
    return least, flip


def run(network: BinaryNetwork, x: Array, sums: dict[str, Array] | None = None) -> Array:
    """Execute the network.

    Args:
        network: what `check` accepts.
        x: float32 [N, *shape], pre-processed.
        sums: takes the integer sums of every layer by name, int32 [N, out, H, W], when given.

    Returns:
        Logits, float32 [N, classes].

    Raises:
        QuantError: another shape or type, or NaN.
    """
    if x.dtype != np.float32 or x.shape[1:] != network.shape:
        shape = ", ".join(map(str, network.shape))
        raise QuantError(f"network '{network.name}' takes float32 [N, {shape}], not {x.dtype} {x.shape}.")
    kept: list[dict[str, Array]] = []
    outputs = [_run(network, x[first : first + BATCH], kept) for first in range(0, len(x), BATCH)]
    if sums is not None:
        sums.update({layer.name: np.concatenate([part[layer.name] for part in kept]) for layer in network.layers})
    return np.concatenate(outputs) if outputs else np.zeros((0, len(network.bias)), np.float32)


def _run(network: BinaryNetwork, x: Array, kept: list[dict[str, Array]]) -> Array:
    found: dict[str, Array] = {}
    x = _stem(network.stem, x)
    for layer in network.layers:
        bits = bits_of(x, f"the input of '{layer.name}'")
        found[layer.name] = binary_conv(bits, layer.weight, layer.strides, layer.pads, layer.pad_value)
        x = finish(layer, found[layer.name], x)
    kept.append(found)
    return _head(network, x)


def finish(layer: BinaryLayer, sums: Array, x: Array) -> Array:
    """Return a layer's output, float32 [N, out, H', W'], from its sums (int32) and its input (float32)."""
    if isinstance(layer.finish, Threshold):
        reached = sums >= layer.finish.least[:, None, None]
        return np.where(reached, np.float32(1), np.float32(-1))
    made = layer.finish.gain[:, None, None] * sums.astype(np.float32) + layer.finish.offset[:, None, None]
    if layer.skip:
        made[:, : x.shape[1]] += _averaged(x, layer.strides)
    clipped: Array = np.clip(made, -1, 1)
    return clipped


def _stem(stem: Stem, x: Array) -> Array:
    _, channels, rows, columns = stem.weight.shape
    top, left, bottom, right = stem.pads
    height, width = output_size((x.shape[2], x.shape[3]), (rows, columns), stem.strides, stem.pads)
    image = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    made = np.zeros((len(x), len(stem.weight), height, width), np.float32)
    for channel, row, column in np.ndindex(channels, rows, columns):
        seen = image[:, channel, row :: stem.strides[0], column :: stem.strides[1]][:, None, :height, :width]
        made += seen * stem.weight[:, channel, row, column][:, None, None]
    clipped: Array = np.clip(made + stem.offset[:, None, None], -1, 1)
    return clipped


def _averaged(x: Array, strides: Pair) -> Array:
    """Average windows as large as the strides; at the end of an odd image only what is inside counts."""
    rows, columns = -(-x.shape[2] // strides[0]), -(-x.shape[3] // strides[1])
    total = np.zeros((*x.shape[:2], rows, columns), np.float32)
    count = np.zeros((rows, columns), np.float32)
    for row, column in np.ndindex(strides):
        part = x[:, :, row :: strides[0], column :: strides[1]]
        total[:, :, : part.shape[2], : part.shape[3]] += part
        count[: part.shape[2], : part.shape[3]] += 1
    averaged: Array = total / count
    return averaged


def _head(network: BinaryNetwork, x: Array) -> Array:
    mean = np.zeros(x.shape[:2], np.float32)
    for row, column in np.ndindex(x.shape[2:]):
        mean += x[:, :, row, column]
    mean /= np.float32(x.shape[2] * x.shape[3])
    logits = np.broadcast_to(network.bias, (len(x), len(network.bias))).copy()
    for channel in range(mean.shape[1]):
        logits += mean[:, channel, None] * network.head[:, channel]
    return logits


def _check_layer(layer: BinaryLayer, size: Pair, channels: int) -> tuple[Pair, int]:
    """Return size and channels of the layer's output."""
    where = f"binary layer '{layer.name}'"
    out, wanted, rows, columns = check_weight(layer.weight).shape
    if wanted != channels or layer.weight.terms > MAX_TERMS or layer.pad_value not in PAD_VALUES:
        raise QuantError(
            f"{where} has weights {layer.weight.shape} and pads with {layer.pad_value}; it gets {channels} channels, "
            f"at most {MAX_TERMS} terms make a sum, and pads are {', '.join(map(str, PAD_VALUES))}."
        )
    made = output_size(size, (rows, columns), layer.strides, layer.pads)
    if isinstance(layer.finish, Threshold):
        _expect(layer.finish.least, (out,), f"{where}: threshold", np.int32)
    else:
        _expect(layer.finish.gain, (out,), f"{where}: gain")
        _expect(layer.finish.offset, (out,), f"{where}: offset")
    shortcut = -(-size[0] // layer.strides[0]), -(-size[1] // layer.strides[1])
    if layer.skip and (made != shortcut or out < channels):
        raise QuantError(f"{where}: output {(out, *made)} does not fit the shortcut {(channels, *shortcut)}.")
    return made, out


def _expect(array: Array, shape: tuple[int, ...], what: str, dtype: Any = np.float32) -> None:
    if array.dtype != dtype or array.shape != shape or 0 in shape or not np.isfinite(array).all():
        raise QuantError(f"{what}: finite {np.dtype(dtype)} {shape} is needed, not {array.dtype} {array.shape}.")
