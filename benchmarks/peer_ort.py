"""The peer: ONNX Runtime's own static quantisation, as its users call it."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from quant.formats import Array

METHODS = ("minmax", "percentile", "entropy")
#: Images after which the histogram methods empty their buffer of activations, which else grows with the data set.
STRIDE = 8


def quantise_static(source: Path, target: Path, inputs: Array, method: str = "minmax") -> None:
    """Write `target`: QDQ, per-channel int8 weights, uint8 activations, one calibration image at a time.

    Args:
        source: float ONNX file with the input `input`.
        target: the file to write.
        inputs: calibration images, float32 [N, ...].
        method: one of METHODS. The histogram methods need N to be a multiple of STRIDE, the last images are left out.
    """
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    methods = (CalibrationMethod.MinMax, CalibrationMethod.Percentile, CalibrationMethod.Entropy)
    logging.getLogger().setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        quantize_static(
            str(source),
            str(target),
            _reader(inputs if method == "minmax" else inputs[: len(inputs) // STRIDE * STRIDE]),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=methods[METHODS.index(method)],
            extra_options={} if method == "minmax" else {"CalibStridedMinMax": STRIDE},
        )


def labels(model: bytes, test: Array) -> Array:
    """Return the arg max labels of a serialised model in ONNX Runtime for float32 inputs [N, ...]."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    parts = [session.run(None, {"input": test[i : i + 16]})[0] for i in range(0, len(test), 16)]
    found: Array = np.concatenate(parts).argmax(axis=1)
    return found


def _reader(inputs: Array) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.set_range(0, len(inputs))

        def __len__(self) -> int:
            return len(inputs)

        def set_range(self, start_index: int, end_index: int) -> None:
            self._feeds: Iterator[dict[str, Array]] = (
                {"input": inputs[i : i + 1]} for i in range(start_index, end_index)
            )

        def get_next(self) -> Any:
            return next(self._feeds, None)

    return Reader()
