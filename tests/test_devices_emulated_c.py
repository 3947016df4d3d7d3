"""Exported C gives the reference's very codes on the emulated ARM cores, in integers and in minifloats."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from devices.emulators.emulated import RUNTIMES
from export import arm_m
from export.runtimes.session import Runtime
from export.target import Source
from quant.formats import find_format
from quant.graph import Graph, check
from quant.program import lower
from quant.reference import run
from tests.toys import random_codes, toy_graph

#: Formats of activations and weights, and what inner and output scales are multiplied by so that outputs vary.
CASES = (
    ("int8", "int8", 1.0, 1.0),
    ("int8", "int4", 1.0, 0.03),
    ("int16", "int8", 1 / 256, 1 / 256),
    ("e4m3", "e4m3", 1.0, 1.0),
    ("e3m2", "e2m1", 1.0, 0.1),
)


def _graph(act: str, weight: str, inner: float, output: float) -> Graph:
    graph, tensors = toy_graph(find_format(act), find_format(weight)), {}
    for name, tensor in graph.tensors.items():
        quant = tensor.quant
        if quant is not None and name not in graph.weights:
            factor = output if name == graph.output else inner
            quant = replace(quant, scale=tuple(float(np.float32(s * factor)) for s in quant.scale))
        tensors[name] = replace(tensor, quant=quant)
    return check(replace(graph, tensors=tensors))


@pytest.mark.parametrize("runtime", RUNTIMES, ids=lambda runtime: runtime.name)
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def test_every_tensor_equals_the_reference(
    runtime: Runtime, case: tuple[str, str, float, float], tmp_path: Path
) -> None:
    reason = runtime.missing()
    if reason:
        pytest.skip(reason)
    graph = _graph(*case)
    codes = random_codes(graph, 17)  # more than one run of the emulator
    expected = run(lower(graph), codes)
    arm_m.TARGET.write(Source("model", graph, codes, expected[graph.output]), tmp_path)
    session = runtime.open(tmp_path, "model", graph)
    outputs, shown = session.run(codes), session.tensors(codes)
    session.close()
    np.testing.assert_array_equal(outputs, expected[graph.output])
    assert outputs.dtype == expected[graph.output].dtype
    assert set(shown) == {node.output for node in graph.nodes}
    for name, values in shown.items():
        np.testing.assert_array_equal(values, expected[name], err_msg=name)
    decoded = graph.quant(graph.output).format.decode(outputs)
    assert len(np.unique(decoded)) > 5
    assert len(set(decoded.argmax(axis=1))) > 1
