"""One TFLite file with two inputs: all pairs of factors through TFLite-Micro."""

from __future__ import annotations

import numpy as np
import pytest

from export.tflite_flat import FlatOp, FlatTensor, pack, read
from quant.formats import Array
from quant.graph import Quant


def tflm_pairs(quants: tuple[Quant, Quant, Quant], first: Array, second: Array) -> Array:
    """Return what TFLite-Micro's MUL makes of two int8 tensors of one shape [1, 1, H, W]."""
    import flatbuffers

    runtime = pytest.importorskip("tflite_micro.python.tflite_micro.runtime", reason="tflite-micro is not installed")
    shape = (1, *first.shape[2:], 1)
    tensors = [FlatTensor(name, shape, "INT8", q.scale, q.zero) for name, q in zip("aby", quants, strict=True)]
    data = pack("mul", ("a", "y"), tensors, (FlatOp("MUL", 2, ("a", "b"), "y", "MulOptions"),))
    model = read(data)
    model.subgraphs[0].inputs = np.array([0, 1], dtype=np.int32)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    interpreter = runtime.Interpreter.from_bytes(bytes(builder.Output()), arena_size=1 << 20)
    for index, codes in enumerate((first, second)):
        interpreter.set_input(codes.reshape(shape), index)
    interpreter.invoke()
    result: Array = interpreter.get_output(0).reshape(first.shape).copy()
    return result
