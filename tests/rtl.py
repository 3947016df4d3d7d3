"""Helpers of the RTL tests: export a graph, build it, compare every tensor with the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.fpga import TARGET
from export.rtl.stream.request import CircuitRequest
from export.runtimes.verilator import VerilatorSession, missing, open_session
from export.target import Facts, Source
from quant.formats import Array, Format
from quant.graph import Graph
from quant.program import lower
from quant.reference import run
from tests.toys import random_codes

#: One multiply-accumulate for the whole network.
SEQUENTIAL = CircuitRequest("sequential")

needs_verilator = pytest.mark.skipif(missing() is not None, reason=missing() or "")


def write_core(graph: Graph, folder: Path, name: str = "core", count: int = 3, codes: Array | None = None) -> Facts:
    """Export a graph with random vectors as a sequential core."""
    inputs = random_codes(graph, count) if codes is None else codes
    outputs = run(lower(graph), inputs)[graph.output]
    return TARGET.write(Source(name, graph, inputs, outputs, circuit=SEQUENTIAL), folder)


def differing(graph: Graph, session: VerilatorSession, codes: Array) -> list[str]:
    """Return the tensors whose simulated codes are not the reference's, in execution order."""
    expected, got = run(lower(graph), codes), session.tensors(codes)
    assert list(got) == list(expected)
    return [name for name in expected if not np.array_equal(expected[name], got[name])]


def check_core(graph: Graph, folder: Path, codes: Array | None = None, labels: bool = False) -> None:
    """Assert that the core computes the graph, with and without waits, in exactly the clocks it states."""
    inputs = random_codes(graph, 6) if codes is None else codes
    facts = write_core(graph, folder, codes=inputs)
    expected = run(lower(graph), inputs)[graph.output]
    session = open_session(folder, "core", graph)
    try:
        assert differing(graph, session, inputs) == []
        assert np.array_equal(session.run_with_waits(inputs, 7), expected)
        assert session.cycles(inputs) == facts["cycles"]
    finally:
        session.close()
    assert_varied(expected, graph.quant(graph.output).format, labels)


def assert_varied(outputs: Array, fmt: Format, labels: bool) -> None:
    """Assert that equality proved something: frames differ, and labels where asked."""
    assert len({frame.tobytes() for frame in outputs}) > 1
    if labels:
        flat = fmt.to_ordinals(outputs).reshape(len(outputs), -1)
        assert len(set(flat.argmax(axis=1).tolist())) > 1
