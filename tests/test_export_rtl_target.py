"""The fpga target without any tool: files, facts, plans and refusals."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from export.errors import ExportError
from export.fpga import TARGET
from export.rtl.arena import lifetimes
from export.rtl.bench import beats, codes_of_beats
from export.rtl.bounds import signed_bits
from export.rtl.fields import fields, fits, literal
from export.rtl.layout import layout, tensor_words
from export.rtl.operation import Loops
from export.target import Source
from quant import operators as ops
from quant.formats import FORMATS, INT8, find_format
from quant.graph import Graph
from quant.program import ConvStep, lower
from quant.reference import run
from tests.rtl import SEQUENTIAL, write_core
from tests.rtl_graphs import Net, mixed_net, move_net, residual_net, window_net
from tests.toys import random_codes, toy_graph

NETS = {
    "toy": toy_graph(),
    "residual": residual_net(find_format("int16"), INT8, -1000),
    "windows": window_net(find_format("e4m3"), find_format("e2m1")),
    "moves": move_net(INT8, INT8, 17),
    "mixed": mixed_net(INT8, find_format("e4m3"), (INT8, find_format("e4m3"))),
}


def test_files_and_facts(tmp_path):
    graph = toy_graph()
    facts = write_core(graph, tmp_path, "head_1")
    names = {"head_1.v", "head_1_weights.mem", "head_1_bias.mem", "head_1_scale.mem", "head_1_tb.cpp"}
    makers = {f"head_1{end}" for end in ("_vivado.tcl", ".xdc", "_pynq.tcl", "_pynq.py", "_quartus.tcl", ".sdc")}
    makers |= {"head_1_ulx3s.lpf", "head_1_colorlight_i5.lpf"}
    assert {path.name for path in tmp_path.iterdir()} == names | {"head_1_vectors.h", "Makefile"} | makers
    weights = sum(w.size for name, w in graph.weights.items() if name.endswith("_w"))
    assert facts["layout"] == "NCHW" and facts["weight_bits"] == 8 * weights
    assert len((tmp_path / "head_1_weights.mem").read_text().split()) == weights
    for path in tmp_path.iterdir():
        assert not re.search(r"@[A-Z_]+@", path.read_text()), path.name


def test_modules_of_two_parts_do_not_clash(tmp_path):
    modules = []
    for name in ("head", "tail"):
        (tmp_path / name).mkdir()
        write_core(toy_graph(), tmp_path / name, name)
        lines = (tmp_path / name / f"{name}.v").read_text().splitlines()
        modules.append({line.split()[1] for line in lines if line.startswith("module ")})
    assert not modules[0] & modules[1]


def test_accumulators_are_stated_by_layer(tmp_path):
    graph = toy_graph()
    facts = write_core(graph, tmp_path)
    needed = {s.name: s.acc_max.bit_length() + 1 for s in lower(graph).steps if isinstance(s, ConvStep)}
    assert {name: facts["acc_bits"][name] for name in needed} == needed


@pytest.mark.parametrize("name", NETS)
def test_every_field_holds_its_values(name):
    plan = layout(NETS[name])
    wrap = ("step_", "read_base", "write_jump", "weight_rewind", "weight_base")  # addresses wrap on purpose
    assert [item.name for item in fields(plan) if not fits(item) and not item.name.startswith(wrap)] == []


@pytest.mark.parametrize("name", NETS)
def test_tensors_alive_together_do_not_overlap(name):
    plan = layout(NETS[name])
    lives = lifetimes(plan.program)
    names = list(lives)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            together = lives[a][0] <= lives[b][1] and lives[b][0] <= lives[a][1]
            start_a, start_b = plan.arena.offsets[a], plan.arena.offsets[b]
            apart = start_a + tensor_words(plan, a) <= start_b or start_b + tensor_words(plan, b) <= start_a
            assert apart or not together
    assert plan.arena.words <= sum(tensor_words(plan, t) for t in names)


def test_deltas_walk_every_address_in_order():
    loops = Loops((2, 3, 2, 2, 2, 1, 3), (100, 0, 7, 5, 50, 11, 2), 40)
    index = np.indices(loops.counts).reshape(7, -1)
    expected = loops.base + np.array(loops.strides) @ index
    address, walked, deltas = loops.base, [], loops.deltas()
    counters = [0] * 7
    for _ in range(index.shape[1]):
        walked.append(address)
        level = next((k for k in range(6, -1, -1) if counters[k] < loops.counts[k] - 1), 0)
        counters = counters[:level] + [counters[level] + 1] + [0] * (6 - level)
        address += deltas[level]
    assert walked == expected.tolist()


def test_literals_and_widths():
    assert literal(-128, 8, True) == "8'sh80" and literal(5, 3) == "3'h5"
    cases = {(0, 1): 2, (-1, 0): 2, (-128, 127): 8, (-129, 0): 9, (0, 128): 9}
    assert {limits: signed_bits(*limits) for limits in cases} == cases


@pytest.mark.parametrize("fmt", FORMATS, ids=lambda fmt: fmt.name)
def test_codes_survive_the_stream(fmt):
    codes = np.array(list(fmt.codes())[:: 1 if fmt.bits < 10 else 97]).astype(fmt.dtype)
    assert np.array_equal(codes_of_beats(fmt, beats(fmt, codes)), codes)


@pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not installed; apt-get install iverilog")
@pytest.mark.parametrize("name", NETS)
def test_icarus_takes_it_as_verilog_2005(name, tmp_path):
    write_core(NETS[name], tmp_path, "core")
    command = ["iverilog", "-g2005", "-Wall", "-Wno-timescale", "-t", "null", "-s", "core", "core.v"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and done.stderr == "", done.stderr


def _source(graph: Graph, name: str = "part", count: int = 1) -> Source:
    x = random_codes(graph, count)
    return Source(name, graph, x, run(lower(graph), x)[graph.output], circuit=SEQUENTIAL)


def test_refusals(tmp_path):
    graph = toy_graph()
    with pytest.raises(ExportError, match="cannot name a part"):
        TARGET.write(_source(graph, "1part"), tmp_path)
    source = _source(graph)
    with pytest.raises(ExportError, match="give at least one"):
        TARGET.write(replace(source, inputs=source.inputs[:0]), tmp_path)
    softmax = replace(graph.nodes[-1], op=ops.Softmax())
    with pytest.raises(ExportError, match="is a Softmax; this target takes"):
        TARGET.write(replace(source, graph=replace(graph, nodes=(*graph.nodes[:-1], softmax))), tmp_path)
    empty = replace(graph, nodes=(), output=graph.input)
    with pytest.raises(ExportError, match="has no step"):
        TARGET.write(replace(source, graph=empty), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_windows_without_a_term_are_refused(tmp_path):
    net = Net((1, 1, 4, 4), INT8)
    net.pool("x", ops.AveragePool(kernel=(1, 1), strides=(1, 1), pads=(1, 0, 0, 0)))
    graph = net.graph()
    codes = random_codes(graph, 1)
    with pytest.raises(ExportError, match="lies wholly in the padding"):
        TARGET.write(Source("part", graph, codes, codes), tmp_path)


def test_boxes_of_too_many_axes_are_refused(tmp_path):
    net = Net((1, 2, 3, 4, 5), INT8)
    net.slice("x", (0, 1, 1, 1, 1), (1, 2, 3, 4, 5), (1, 1, 1, 1, 1))
    with pytest.raises(ExportError, match="works on 4 axes"):
        TARGET.write(_source(net.graph()), tmp_path)


def test_unwritable_folder_is_one_clear_error(tmp_path):
    with pytest.raises(ExportError):
        TARGET.write(_source(toy_graph()), tmp_path / "absent")
