"""yosys takes the core: it elaborates, synthesises into small cells, and its own netlist still computes the same."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from quant.formats import E4M3, INT8
from tests.gated_nets import quantised
from tests.rtl import needs_verilator, write_core
from tests.rtl_graphs import mixed_net, move_net
from tests.toys import toy_graph

pytestmark = pytest.mark.skipif(
    shutil.which("yosys") is None, reason="yosys is not installed; on Debian: apt-get install yosys"
)


def _yosys(folder: Path, script: str) -> str:
    command = ["yosys", "-q", "-p", script]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout + done.stderr


@pytest.mark.parametrize(
    "graph", [toy_graph(), toy_graph(E4M3, E4M3), mixed_net(INT8, E4M3, (INT8, E4M3)), move_net(INT8, INT8, 3)]
)
def test_yosys_elaborates_without_a_complaint(graph, tmp_path):
    write_core(graph, tmp_path)
    said = _yosys(tmp_path, "read_verilog core.v; hierarchy -check -top core; proc; check -assert")
    assert "Warning" not in said


@pytest.mark.parametrize("scheme", ["w8a8", "we4m3-ae4m3"])
def test_yosys_takes_tables_and_products(scheme, tmp_path):
    graph, codes, _ = quantised(scheme)
    write_core(graph, tmp_path, codes=codes[:2])
    said = _yosys(tmp_path, "read_verilog core.v; hierarchy -check -top core; proc; check -assert")
    assert "Warning" not in said
    text = (tmp_path / "core.v").read_text(encoding="utf-8")
    assert "is_product <= 1'h1" in text
    assert "index_mask <= 8'hff" in text


@needs_verilator
@pytest.mark.parametrize("fmt", [INT8, E4M3], ids=lambda fmt: fmt.name)
def test_netlist_of_yosys_is_bit_exact_in_verilator(fmt, tmp_path):
    write_core(toy_graph(fmt, fmt), tmp_path)
    script = "read_verilog core.v; hierarchy -check -top core; proc; flatten; opt -full; wreduce; peepopt; share; opt; "
    _yosys(tmp_path, script + "write_verilog -noattr netlist.v")
    (tmp_path / "netlist.v").replace(tmp_path / "core.v")
    command = ["make", "run", "VERILATOR=verilator -Wno-fatal"]  # a netlist is not written for lint
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    assert "3 of 3 vectors bit-exact" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("fmt", [INT8, E4M3], ids=lambda fmt: fmt.name)
def test_synthesis_for_ecp5_uses_block_memory_and_multipliers(fmt, tmp_path):
    write_core(toy_graph(fmt, fmt), tmp_path)
    done = subprocess.run(["make", "synth"], cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    cells = {
        name: int(count) for name, count in re.findall(r"^\s+([A-Z][A-Z0-9_]+)\s+(\d+)$", done.stdout, re.MULTILINE)
    }
    assert cells["DP16KD"] >= 2 and cells["MULT18X18D"] >= 2
    assert 300 < cells["LUT4"] + 2 * cells["CCU2C"] < 4000
