"""The arena figure of TFLite-Micro."""

from __future__ import annotations

import numpy as np
import pytest

from export.arm_a import TARGET
from export.errors import ExportError
from export.runtimes.tflm import TFLITE_MICRO
from export.runtimes.tflm_arena import measure_arena
from export.target import Source
from tests.toys import toy_graph

REASON = TFLITE_MICRO.missing()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def test_the_arena_holds_the_busiest_moment_and_is_repeatable(tmp_path):
    graph = toy_graph()
    TARGET.write(Source("toy", graph, np.zeros(0), np.zeros(0)), tmp_path)
    arena = measure_arena(tmp_path, "toy", graph)
    # The depthwise convolution and the sum each hold two or three tensors of 8x4x4 bytes at a time.
    assert 2 * 128 <= arena.head_bytes <= 2 * (192 + 3 * 128)
    assert arena.total_bytes == arena.head_bytes + arena.tail_bytes
    assert measure_arena(tmp_path, "toy", graph) == arena


def test_a_part_that_cannot_run_is_named(tmp_path):
    graph = toy_graph()
    with pytest.raises(ExportError, match=r"toy\.tflite"):
        measure_arena(tmp_path, "toy", graph)
