"""The verilator session: shows every tensor, names the first wrong one, counts cycles, refuses to time."""

from __future__ import annotations

import numpy as np
import pytest

from export.errors import ExportError
from export.runtimes.verilator import RUNTIME, open_session
from quant.errors import QuantError
from quant.formats import E4M3
from quant.program import lower
from quant.reference import run
from tests.rtl import differing, needs_verilator, write_core
from tests.toys import random_codes, toy_graph


@needs_verilator
def test_first_wrong_tensor_is_named(tmp_path):
    graph = toy_graph()
    write_core(graph, tmp_path)
    weights = tmp_path / "core_weights.mem"
    words = weights.read_text().splitlines()
    place = 216 + 3  # the second convolution's weights follow the 8 x 3 x 3 x 3 of the first
    words[place] = f"{int(words[place], 16) ^ 0x40:02x}"
    weights.write_text("\n".join(words) + "\n")
    session = open_session(tmp_path, "core", graph)
    try:
        assert differing(graph, session, random_codes(graph, 3))[0] == "b"
    finally:
        session.close()


@needs_verilator
def test_session_contract(tmp_path):
    graph = toy_graph(E4M3, E4M3)
    facts = write_core(graph, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    session = RUNTIME.open(tmp_path, "core", graph)
    codes = random_codes(graph, 2)
    assert np.array_equal(session.run(codes), run(lower(graph), codes)[graph.output])
    with pytest.raises(ExportError, match="cycles are not time"):
        session.timed(codes)
    with pytest.raises(ExportError, match=r"takes \[N, 3, 8, 8\]"):
        session.run(codes[:, :1])
    session.close()
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
    assert facts["cycles"] == 5361


@needs_verilator
def test_codes_that_are_no_numbers_are_refused(tmp_path):
    from quant.formats import find_format

    fmt = find_format("e4m3fn")
    graph = toy_graph(fmt, fmt)
    write_core(graph, tmp_path)
    session = open_session(tmp_path, "core", graph)
    codes = random_codes(graph, 1)
    codes[0, 0, 0, 0] = 0x7F
    with pytest.raises(QuantError, match="127 is not the code of a number"):
        session.run(codes)
    session.close()


@needs_verilator
def test_broken_parts_are_refused_with_the_reason(tmp_path):
    graph = toy_graph()
    with pytest.raises(ExportError, match=r"core\.v is missing"):
        open_session(tmp_path, "core", graph)
    write_core(graph, tmp_path)
    (tmp_path / "core.v").write_text("module core; endmodul")
    with pytest.raises(ExportError, match="building 'core' failed"):
        open_session(tmp_path, "core", graph)
