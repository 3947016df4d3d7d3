"""Pretrained networks in Verilator, every tensor bit for bit, in exactly the stated cycles."""

from __future__ import annotations

import numpy as np
import pytest

from export.fpga import TARGET
from export.runtimes.verilator import open_session
from export.target import Source
from quant.graph import macs
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run
from tests.networks import network
from tests.rtl import SEQUENTIAL, assert_varied, needs_verilator


@needs_verilator
@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["w8a8", "we4m3-ae4m3"])
@pytest.mark.parametrize("name", ["resnet8", "kws"])
def test_pretrained_network_is_bit_exact(name, scheme, tmp_path):
    net = network(name, scheme)
    graph = net.graph
    everything = run(lower(graph), quantise_input(graph.quant(graph.input), net.inputs), dot=fast_dot)
    labels = graph.quant(graph.output).format.to_ordinals(everything[graph.output]).reshape(len(net.inputs), -1)
    chosen = [0, int(np.flatnonzero(labels.argmax(axis=1) != labels[0].argmax())[0])]  # two labels
    expected = {tensor: codes[chosen] for tensor, codes in everything.items()}
    codes = expected[graph.input]
    facts = TARGET.write(Source(name, graph, codes, expected[graph.output], circuit=SEQUENTIAL), tmp_path)
    session = open_session(tmp_path, name, graph)
    try:
        got = session.tensors(codes)
        assert [tensor for tensor in expected if not np.array_equal(got[tensor], expected[tensor])] == []
        assert session.cycles(codes) == facts["cycles"]
    finally:
        session.close()
    assert_varied(expected[graph.output], graph.quant(graph.output).format, labels=True)
    work = sum(macs(graph).values())
    assert work < int(str(facts["cycles"])) < 1.2 * work
