"""The peer: Brevitas' post-training quantisation, with the settings its own image-classification example ships.

Cross-layer equalisation (20 rounds), per-channel weights, activations symmetric around 0 (unsigned behind ReLU) from
the 99.99th percentile, GPTQ where it is asked for, then bias correction. Integer activations use the `fx` flow, which
quantises residual sums too; minifloat activations use the `layerwise` flow, the only one that takes them past a
residual sum, and leave sums in float.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from benchmarks.torch_net import to_fx
from quant.formats import Array, Format
from quant.graph import Graph
from quant.scheme import Scheme

with warnings.catch_warnings():
    # Brevitas warns of its own deprecated parts.
    warnings.simplefilter("ignore")
    import brevitas.fx
    import brevitas.nn as qnn
    from brevitas.graph.calibrate import bias_correction_mode, calibration_mode
    from brevitas.graph.gptq import gptq_mode
    from brevitas.graph.quantize import layerwise_quantize, preprocess_for_quantize, quantize
    from brevitas.quant import Uint8ActPerTensorFloatMaxInit
    from brevitas_examples.imagenet_classification.ptq.ptq_common import create_quant_maps

BATCH = 16
PERCENTILE = 99.99


def quantise(graph: Graph, scheme: Scheme, inputs: Array, *, gptq: bool) -> nn.Module:
    """Return Brevitas' quantised module, calibrated on float32 inputs [N, ...].

    Raises:
        RuntimeError: a layer was left in float, which Brevitas does without a word.
    """
    module = _mapped(graph, scheme)
    _check(graph, module)
    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()), torch.no_grad():
        warnings.simplefilter("ignore")
        with calibration_mode(module):
            _run(module, inputs)
        # GPTQ needs weight quantisers that a forward pass has initialised.
        module(_batches(inputs).__next__())
        if gptq:
            with gptq_mode(module, act_order=False, use_quant_activations=True) as mode:
                for _ in range(mode.num_layers):
                    _run(mode.model, inputs)
                    mode.update()
        with bias_correction_mode(module):
            _run(module, inputs)
    return module


def labels(module: nn.Module, test: Array) -> Array:
    """Return the arg max labels of float32 inputs [N, ...]."""
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = [getattr(y, "value", y).numpy() for y in map(module, _batches(test))]
    found: Array = np.concatenate(parts).argmax(axis=1)
    return found


def _mapped(graph: Graph, scheme: Scheme) -> nn.Module:
    """Equalise, and put quantised layers in place of float ones."""
    weight, act = scheme.formats.weight, scheme.formats.activation
    module = preprocess_for_quantize(
        to_fx(graph, brevitas.fx),
        trace_model=False,
        relu6_to_relu=False,
        equalize_iters=20,
        equalize_merge_bias=True,
        merge_bn=True,
    )
    layers, layerwise, acts, identities = create_quant_maps(
        dtype=torch.float32,
        bias_bit_width=None,
        **_weight_settings(weight),
        **_act_settings(act),
    )
    if act.is_minifloat:
        return _layerwise(module, layerwise)
    # Its ReLU6 entry forgets the 6: take the limit as the range, as the library's own default map does.
    limit = {"act_quant": Uint8ActPerTensorFloatMaxInit.let(bit_width=act.bits), "max_val": 6.0}
    acts = {**acts, nn.ReLU6: (qnn.QuantReLU, {**limit, "return_quant_tensor": True})}
    return _fx(module, layers, acts, identities)


def _fx(module: nn.Module, layers: Any, acts: Any, identities: Any) -> nn.Module:
    made: nn.Module = quantize(module, compute_layer_map=layers, quant_act_map=acts, quant_identity_map=identities)
    return made


def _layerwise(module: nn.Module, layers: Any) -> nn.Module:
    made: nn.Module = layerwise_quantize(module, compute_layer_map=layers)
    return made


def _weight_settings(fmt: Format) -> dict[str, Any]:
    return {
        "weight_bit_width": fmt.bits,
        "weight_param_method": "stats",
        "weight_scale_type": "float_scale",
        "weight_quant_type": "sym",
        "weight_quant_granularity": "per_channel",
        "weight_narrow_range": True,
        "weight_quant_format": "float_ocp" if fmt.is_minifloat else "int",
        "weight_exponent_bit_width": fmt.exponent,
        "weight_mantissa_bit_width": fmt.mantissa,
    }


def _act_settings(fmt: Format) -> dict[str, Any]:
    return {
        "act_bit_width": fmt.bits,
        "act_scale_type": "float_scale",
        "act_scale_computation_type": "static",
        "act_param_method": "stats",
        "act_quant_type": "sym",
        "act_quant_granularity": "per_tensor",
        "act_quant_percentile": PERCENTILE,
        "act_quant_format": "float_ocp" if fmt.is_minifloat else "int",
        "uint_sym_act_for_unsigned_values": not fmt.is_minifloat,
        "act_exponent_bit_width": fmt.exponent,
        "act_mantissa_bit_width": fmt.mantissa,
    }


def _check(graph: Graph, module: nn.Module) -> None:
    wanted = sum(node.kind in ("Conv", "Gemm") for node in graph.nodes)
    found = sum(isinstance(layer, qnn.QuantConv2d | qnn.QuantLinear) for layer in module.modules())
    if found != wanted:
        raise RuntimeError(f"Brevitas quantised {found} of {wanted} layers.")


def _run(module: Any, inputs: Array) -> None:
    for part in _batches(inputs):
        module(part)


def _batches(inputs: Array) -> Iterator[torch.Tensor]:
    for start in range(0, len(inputs), BATCH):
        yield torch.from_numpy(np.ascontiguousarray(inputs[start : start + BATCH]))
