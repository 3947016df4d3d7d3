"""From a trained `edge.models.binary_resnet` to `quant.binary_net.BinaryNetwork`: sign bits, alpha and folded norms."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np

from edge.errors import EdgeError
from edge.models.binary_resnet import BinaryUnit
from edge.models.models import Shape
from edge.recipes.binary_layers import SINE, signs_of
from quant.binary import binary_conv, bits_of, signs, store
from quant.binary_net import Affine, BinaryLayer, BinaryNetwork, Stem, Threshold, check, thresholds
from quant.formats import Array, FloatArray


def to_binary_network(module: Any, shape: Shape, name: str) -> BinaryNetwork:
    """Convert a trained network; batch norms are folded in double precision and rounded to float32 once.

    A unit whose output is used by its sign alone (neither it nor the next has a shortcut) becomes a threshold.

    Args:
        module: what `binary_resnet.build` returns, trained, under a rule that gives signs.
        shape: channels, height, width of the input.
        name: the network's name.

    Raises:
        EdgeError: the module is another network, or its weights are still sines.
    """
    units = list(getattr(module, "units", ()))
    if not units or not all(isinstance(unit, BinaryUnit) for unit in units):
        raise EdgeError("only a network of edge.models.binary_resnet can be stored as a binary network.")
    if any(unit.conv.rule == SINE for unit in units):
        raise EdgeError("the weights are sines, not signs; train BiPer's second stage first (rule 'sine-sign').")
    sign_only = [not (unit.skip or following.skip) for unit, following in pairwise(units)]
    layers = [_layer(f"units.{i}", u, only) for i, (u, only) in enumerate(zip(units, [*sign_only, False], strict=True))]
    gain, offset = _folded(module.norm)
    head, bias = _double(module.fc.weight), _double(module.fc.bias)
    return check(
        BinaryNetwork(
            name, shape, _stem(module.stem), tuple(layers), _single(head * gain), _single(bias + head @ offset)
        )
    )


def _stem(stem: Any) -> Stem:
    gain, offset = _folded(stem.norm)
    weight = _single(_double(stem.conv.weight) * gain[:, None, None, None])
    return Stem(weight, _single(offset), stem.conv.stride, (*stem.conv.padding, *stem.conv.padding))


def _layer(name: str, unit: BinaryUnit, sign_only: bool) -> BinaryLayer:
    conv, (norm_gain, norm_offset) = unit.conv, _folded(unit.norm)
    values = conv.binary_weight().detach().numpy()
    gain, offset = _single(_double(conv.alpha) * norm_gain), _single(norm_offset)
    finish: Affine | Threshold = Affine(gain, offset)
    if sign_only:
        least, flip = thresholds(gain, offset, values[0].size)
        values, finish = np.where(flip[:, None, None, None], -values, values), Threshold(least)
    around = (conv.padding,) * 4
    return BinaryLayer(name, store(values), (conv.stride, conv.stride), around, 0, unit.skip, finish)


def _folded(norm: Any) -> tuple[FloatArray, FloatArray]:
    """Return gain and offset of a batch norm in evaluation mode."""
    gain = _double(norm.weight) / np.sqrt(_double(norm.running_var) + norm.eps)
    return gain, _double(norm.bias) - _double(norm.running_mean) * gain


def _double(tensor: Any) -> FloatArray:
    array: FloatArray = tensor.detach().numpy().astype(np.float64)
    return array


def _single(array: FloatArray) -> Array:
    return array.astype(np.float32)


def differing_sums(module: Any, network: BinaryNetwork, x: Array) -> dict[str, tuple[int, int]]:
    """Compare every layer's XNOR-popcount sums with the module's float convolution on the module's own activations.

    Args:
        module: what `network` was made from, in evaluation mode.
        network: the stored network.
        x: float32 [N, C, H, W], pre-processed.

    Returns:
        By layer, how many sums differ and how many were compared. Channels that a threshold negated are turned back.
    """
    import torch

    inputs: dict[str, Any] = {}
    hooks = [
        unit.conv.register_forward_pre_hook(lambda _, args, name=layer.name: inputs.update({name: args[0]}))
        for unit, layer in zip(module.units, network.layers, strict=True)
    ]
    with torch.inference_mode():
        module(torch.from_numpy(x))
        for hook in hooks:
            hook.remove()
        return {
            layer.name: _differing(unit.conv, layer, inputs[layer.name])
            for unit, layer in zip(module.units, network.layers, strict=True)
        }


def _differing(conv: Any, layer: BinaryLayer, x: Any) -> tuple[int, int]:
    expected = conv.sums(signs_of(x)).numpy()
    turned = signs(layer.weight)[:, 0, 0, 0] * conv.binary_weight().detach().numpy()[:, 0, 0, 0]
    bits = bits_of(x.numpy(), f"the input of '{layer.name}'")
    got = binary_conv(bits, layer.weight, layer.strides, layer.pads, layer.pad_value)
    return int((got != expected * turned[:, None, None]).sum()), got.size
