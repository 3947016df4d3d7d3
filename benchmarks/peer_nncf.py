"""The peer: NNCF's post-training quantisation on OpenVINO, as its users call it (no dependency of the project)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from quant.formats import Array


def quantise(source: Path, inputs: Array) -> Any:
    """Return the OpenVINO model `nncf.quantize` makes of an ONNX file: 8 bits, fast bias correction, its defaults.

    Args:
        source: float ONNX file.
        inputs: calibration images, float32 [N, ...], all of which it uses.
    """
    import nncf
    import openvino as ov

    model = ov.Core().read_model(source)
    dataset = nncf.Dataset([image[None] for image in inputs])
    return nncf.quantize(model, dataset, subset_size=len(inputs))


def labels(quantised: Any, test: Array) -> Array:
    """Return the arg max labels of a quantised model in OpenVINO's CPU plugin, float parts in float32."""
    import openvino as ov

    hints = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1}
    compiled = ov.Core().compile_model(quantised, "CPU", hints)
    outputs = [compiled([image[None]])[0].reshape(-1) for image in test]
    found: Array = np.array(outputs).argmax(axis=1)
    return found
