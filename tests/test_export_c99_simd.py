"""The vector code paths (dual multiply-accumulate on Cortex-M4, NEON on AArch64) give the reference's codes too."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from devices.runtimes import find_runtime
from export.arm_m import TARGET
from export.runtimes.session import Runtime
from export.target import Source
from quant import operators as ops
from quant.formats import INT8, find_format
from quant.graph import Graph
from quant.program import lower
from quant.reference import run
from tests.single_ops import all_codes, conv_graph, quant, windows

EXAMPLES = int(os.environ.get("EDGEMILL_EXAMPLES", "6"))
FEW = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture],
)
MACHINES = (
    pytest.param(find_runtime("mps2-an386"), ("DUAL_MAC", "__smlad", "__smlatt"), id="cortex-m4"),
    pytest.param(find_runtime("qemu-aarch64"), ("NEON", "vmlal_s16", "vmull_s8"), id="cortex-a72"),
)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
pads = st.tuples(*[st.integers(0, 2)] * 4)


def prove(runtime: Runtime, marks: tuple[str, ...], graph: Graph, seed: int) -> None:
    """Run a graph on an emulated machine, on codes that reach both ends of their format."""
    program = lower(graph)
    inputs = all_codes(graph.quant(graph.input).format, graph.shape(graph.input), 3, seed)
    outputs = run(program, inputs)[graph.output]
    # Windows that only see padding give one code, and equality of constants proves nothing.
    assume(len(np.unique(outputs)) > 1)
    with tempfile.TemporaryDirectory() as name:
        TARGET.write(Source("op", graph, inputs, outputs), Path(name))
        source = (Path(name) / "op.c").read_text()
        assert marks[0] in source and any(mark in source for mark in marks[1:])
        session = runtime.open(Path(name), "op", graph)
        made = session.run(inputs)
        session.close()
    assert np.array_equal(made, outputs)


@pytest.mark.parametrize(("runtime", "marks"), MACHINES)
@FEW
@given(
    weight=st.sampled_from(("int8", "int4", "e2m1")),
    zero=st.sampled_from((-128, -3, 127)),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    groups=st.integers(1, 2),
    depth=st.integers(1, 20),
    out=st.integers(1, 5),
    kernel=pairs,
    strides=pairs,
    dilations=pairs,
    pad=pads,
    seed=st.integers(0, 2**31),
)
def test_convolution(*, runtime, marks, weight, zero, size, groups, depth, out, kernel, strides, dilations, pad, seed):
    skip_without(runtime)
    assume(windows(size[0], kernel[0], strides[0], pad[0], pad[2], dilation=dilations[0]) > 0)
    assume(windows(size[1], kernel[1], strides[1], pad[1], pad[3], dilation=dilations[1]) > 0)
    op = ops.Conv(strides=strides, pads=pad, dilations=dilations, groups=groups)
    given = quant(INT8, 0.02, zero)
    extent = (groups * depth, *size)
    graph = conv_graph(
        x=given, weight=find_format(weight), y=INT8, size=extent, out=groups * out, kernel=kernel, op=op, seed=seed
    )
    prove(runtime, marks, graph, seed)


@pytest.mark.parametrize(("runtime", "marks"), MACHINES)
@FEW
@given(
    zero=st.sampled_from((-128, -3, 127)),
    size=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    channels=st.integers(4, 21),
    kernel=pairs,
    strides=pairs,
    dilations=pairs,
    pad=pads,
    seed=st.integers(0, 2**31),
)
def test_depthwise(*, runtime, marks, zero, size, channels, kernel, strides, dilations, pad, seed):
    skip_without(runtime)
    assume(windows(size[0], kernel[0], strides[0], pad[0], pad[2], dilation=dilations[0]) > 0)
    assume(windows(size[1], kernel[1], strides[1], pad[1], pad[3], dilation=dilations[1]) > 0)
    op = ops.Conv(strides=strides, pads=pad, dilations=dilations, groups=channels)
    given = quant(INT8, 0.02, zero)
    graph = conv_graph(
        x=given, weight=INT8, y=INT8, size=(channels, *size), out=channels, kernel=kernel, op=op, seed=seed
    )
    prove(runtime, marks, graph, seed)


def skip_without(runtime: Runtime) -> None:
    """Skip with the reason when the machine cannot be emulated here."""
    reason = runtime.missing()
    if reason is not None:
        pytest.skip(reason)
