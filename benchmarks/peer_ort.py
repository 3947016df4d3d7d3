"""The peer: ONNX Runtime's own static quantisation, as its users call it."""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quant.formats import Array


def quantise_static(source: Path, target: Path, inputs: Array) -> None:
    """Write `target`: QDQ, per-channel int8 weights, uint8 activations, MinMax over `inputs`, one image at a time."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._feeds: Iterator[dict[str, Array]] = ({"input": inputs[i : i + 1]} for i in range(len(inputs)))

        def get_next(self) -> Any:
            return next(self._feeds, None)

    logging.getLogger().setLevel(logging.ERROR)
    with contextlib.redirect_stdout(io.StringIO()):
        quantize_static(
            str(source),
            str(target),
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
