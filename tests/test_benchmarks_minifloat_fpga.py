"""Accuracy against look-up tables: modules are counted right, runs resume, fronts and verdicts follow from the rows."""

from __future__ import annotations

import argparse
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import kept_modules
from benchmarks.fpga_ours import LUTS, cells
from benchmarks.kept_modules import Kept, Store, count, seen_by_yosys, to_synthesise
from benchmarks.kept_modules import kept_modules as find_kept
from benchmarks.minifloat_cases import ALIKE, NETS, PAIRS, Pair, bits_right, order, scheme_of
from benchmarks.minifloat_fpga import digest, forget, keep, write
from benchmarks.minifloat_table import (
    COSTS,
    Row,
    beaten_by,
    difference,
    front,
    page,
    rank_correlation,
    rows,
    sure_front,
)
from devices.errors import DeviceError
from devices.synthesis import commands
from devices.synthesis.family import usage
from export.rtl.stream.build import build
from quant.formats import E4M3, FORMATS, find_format
from quant.program import lower
from quant.scheme import parse_scheme
from tests.stream_nets import single_conv

NET = NETS[0]
needs_yosys = pytest.mark.skipif(commands.missing(commands.YOSYS) is not None, reason="yosys is not installed")

#: Two units that differ in their number alone, and one with other content in its table.
VERILOG = """
module m (input wire clk, input wire [7:0] x, output wire [7:0] y);
  wire [7:0] a, b;
  m_u0 unit0 (.clk(clk), .x(x), .y(a));
  m_u1 unit1 (.clk(clk), .x(a), .y(b));
  m_u2 unit2 (.clk(clk), .x(b), .y(y));
endmodule
{units}
module m_hold (input wire clk, input wire [7:0] x, output reg [7:0] y);
  always @(posedge clk) y <= x;
endmodule
"""
UNIT = """
`ifdef FAST
module m_u{n}_dot (input wire clk, input wire [7:0] x, output wire [7:0] y);
  assign y = x;
endmodule
`else
module m_u{n}_dot (input wire clk, input wire [7:0] x, output reg [7:0] y);
  always @(posedge clk) y <= x * 8'd29 + {{x[3:0], x[7:4]}};
endmodule
`endif
module m_u{n} (input wire clk, input wire [7:0] x, output wire [7:0] y);  // unit {n}
  wire [7:0] p, q;
  reg [7:0] words [0:15];
  initial $readmemh("m_u{n}_words.mem", words);
  m_u{n}_dot one (.clk(clk), .x(x), .y(p));
  m_u{n}_dot two (.clk(clk), .x(p), .y(q));
  m_hold hold (.clk(clk), .x(q ^ words[x[3:0]]), .y(y));
endmodule
"""


def toy_files() -> dict[str, str]:
    words = [f"{(37 * n + 11) % 256:02x}\n" for n in range(16)]
    texts = {f"m_u{n}_words.mem": "".join(words if n < 2 else words[::-1]) for n in range(3)}
    return {"m.v": VERILOG.format(units="".join(UNIT.format(n=n) for n in range(3))), **texts}


def toy_modules(files: dict[str, str]) -> dict[str, Kept]:
    memories = {name: text.encode() for name, text in files.items() if name.endswith(".mem")}
    return find_kept("m", seen_by_yosys(files["m.v"]), memories, "tool")


def test_text_for_simulation_is_passed_over():
    text = "a `ifdef FAST b `ifdef YOSYS c `endif `else d `ifdef YOSYS e `else f `endif `endif `ifndef FAST g `endif h"
    text = text.replace(" ", "\n").replace("def\n", "def ")
    assert seen_by_yosys(text).split() == ["a", "d", "e", "g", "h"]


def test_modules_are_one_where_all_that_counts_is_one():
    modules = toy_modules(toy_files())
    assert set(modules) == {"m", *(f"m_u{n}{part}" for n in range(3) for part in ("", "_dot"))}
    assert modules["m_u0"].digest == modules["m_u1"].digest != modules["m_u2"].digest
    assert len({modules[f"m_u{n}_dot"].digest for n in range(3)}) == 1
    assert modules["m_u1"].children == ("m_u1_dot",)
    changed = toy_files()
    changed["m.v"] = changed["m.v"].replace("y <= x;", "y <= ~x;")
    assert toy_modules(changed)["m_u0"].digest != modules["m_u0"].digest, "what is flattened into it has changed"
    assert toy_modules(changed)["m_u0_dot"].digest == modules["m_u0_dot"].digest


def test_a_run_keeps_what_is_unknown_and_what_leads_there():
    modules = toy_modules(toy_files())
    first = to_synthesise(modules, "m", ())
    assert {modules[name].digest for name in first} == {module.digest for module in modules.values()}
    assert len([name for name in first if name.endswith("_dot")]) == 1
    everything = {module.digest for module in modules.values()}
    assert to_synthesise(modules, "m", everything) == ()
    lacking = everything - {modules["m_u2_dot"].digest}
    wanted = to_synthesise(modules, "m", lacking)
    assert "m" in wanted
    assert len([name for name in wanted if name.endswith("_dot")]) == 1
    for name in wanted:
        assert name == "m" or any(name in modules[parent].children for parent in wanted)


def test_every_instance_counts():
    modules = toy_modules(toy_files())
    store = {module.digest: {"cells": {"LUT4": 1}, "children": {}} for module in modules.values()}
    store[modules["m"].digest] = {"cells": {"FDRE": 5}, "children": {"m_u0": 1, "m_u1": 1, "m_u2": 1}}
    for unit in ("m_u0", "m_u2"):
        store[modules[unit].digest] = {"cells": {"LUT6": 2}, "children": {"UNIT_dot": 2}}
    parts = count("m", modules, store)
    assert {kind: dict(found) for kind, found in parts.items()} == {
        "top": {"FDRE": 5},
        "unit": {"LUT6": 6},
        "dot": {"LUT4": 6},
    }
    del store[modules["m_u0_dot"].digest]
    with pytest.raises(DeviceError, match="_dot was not synthesised"):
        count("m", modules, store)


@needs_yosys
def test_modules_add_up_to_the_flat_netlist_and_nothing_is_synthesised_twice(tmp_path):
    files, store = toy_files(), Store(tmp_path / "modules.json")
    made = kept_modules.synthesise("m", files, LUTS, "yosys", store)
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    flat = cells((tmp_path / "m.v",), "m", LUTS, tuple(tmp_path / f"m_u{n}_words.mem" for n in range(3)))
    found = [usage(LUTS, part) for part in made["parts"].values()]
    assert sum(part.ff for part in found) == 3 * (2 * 8 + 8)
    assert 30 < sum(part.lut for part in found) == pytest.approx(flat["lut"], rel=0.15)
    assert made["new_modules"] >= 4
    again = kept_modules.synthesise("m", files, LUTS, "yosys", store)
    assert (again["new_modules"], again["parts"]) == (0, made["parts"])
    other = {**files, "m_u2_words.mem": files["m_u2_words.mem"].replace("0b", "0c")}
    assert 0 < kept_modules.synthesise("m", other, LUTS, "yosys", store)["new_modules"] < made["new_modules"]


def test_the_modules_of_a_real_core_are_found():
    core = build("m", lower(single_conv(E4M3, E4M3)), {})
    files = core.files()
    modules = toy_modules(files)
    assert {"m", "m_u0", "m_u0_window", "m_u0_finish_lane"} <= set(modules)
    assert any("lanes" in name for name in modules)
    assert not any(name.startswith("m_fifo") for name in modules), "it is flattened into units"


def test_every_format_is_there_once_and_parses():
    wanted = {fmt.name for fmt in FORMATS if 3 <= fmt.bits <= 8 and fmt.signed and not fmt.reserved}
    assert set(ALIKE) == wanted
    assert len(ALIKE) == len(wanted) == 33
    assert len(order()) == len(set(order())) == 2 * len(PAIRS)
    for pair in PAIRS:
        scheme = parse_scheme(scheme_of(pair))
        assert (scheme.formats.weight.name, scheme.formats.activation.name) == pair
        assert all(formats.activation.bits == 8 for _, formats in scheme.rules)


def test_a_record_is_made_once(tmp_path):
    made: list[int] = []

    def make() -> dict[str, Any]:
        made.append(1)
        return {"lut": 7}

    assert keep(tmp_path, "flat", NET, ("int8", "int8"), make)
    assert not keep(tmp_path, "flat", NET, ("int8", "int8"), make)
    assert made == [1]
    assert not keep(tmp_path, "flat", NET, ("int8", "int8"), make)
    with pytest.raises(KeyboardInterrupt):
        keep(tmp_path, "flat", NET, ("int4", "int4"), _stopped)
    assert [path.name for path in tmp_path.iterdir()] == ["flat-fashion-int8-int8.json"]


def test_a_record_of_other_verilog_is_forgotten(tmp_path, monkeypatch):
    given, names = argparse.Namespace(work=tmp_path), ("e4m3", "e2m1")
    cores = {name: build("m", lower(single_conv(find_format(name), find_format(name))), {}) for name in names}
    assert len({digest(core) for core in cores.values()}) == 2
    monkeypatch.setattr("benchmarks.minifloat_fpga.core_of", lambda _given, _net, _pair: cores["e4m3"])
    for name in names:
        keep(tmp_path, "circuit", NET, (name, name), partial(dict, core=digest(cores[name])))
        forget(given, "circuit", NET, (name, name))
    forget(given, "circuit", NET, ("int8", "int8"))
    assert [path.name for path in tmp_path.iterdir()] == ["circuit-fashion-e4m3-e4m3.json"]


def _stopped() -> dict[str, Any]:
    raise KeyboardInterrupt


def row(pair: Pair, right: list[int], lut: int | None, finish: int = 0, refused: str = "") -> Row:
    bits = np.array(right, dtype=bool)
    accuracy = {"accuracy": float(bits.mean()), "images": len(bits), "right": np.packbits(bits).tobytes().hex()}
    accuracy |= {"float_accuracy": 0.9, "luts_per_mac": 10.0} | ({"refused": refused} if refused else {})
    if lut is None:
        return Row(pair, accuracy, None)
    parts = {"unit": {"lut": lut - finish}, "finish_lane": {"lut": finish}}
    return Row(pair, accuracy, {"parts": parts, "products": 4, "cycles": 9, "ff": 3, "bram": 0.5, "tool": "yosys"})


def toy_rows() -> tuple[Row, ...]:
    return (
        row(("int8", "int8"), [1, 1, 1, 1, 1, 1, 1, 1, 1, 0], 100, 60),
        row(("int4", "int4"), [1, 1, 1, 1, 1, 1, 0, 0, 0, 0], 50, 20),
        row(("e2m1", "e2m1"), [1, 1, 1, 1, 1, 1, 1, 0, 0, 0], 70, 50),
        row(("e4m3", "e4m3"), [1, 1, 1, 1, 1, 1, 1, 1, 0, 1], 120, 60),
        row(("e3m0", "e3m0"), [1, 1, 1, 1, 1, 0, 0, 0, 0, 0], None),
        row(("e7m0", "e7m0"), [1, 1, 0, 0, 0, 0, 0, 0, 0, 0], None, refused="too long"),
    )


def test_fronts_hold_what_nothing_beats():
    found = toy_rows()
    everything, without = (cost for _, cost in COSTS)
    assert [r.name for r in front(found, everything)] == ["int4", "e2m1", "int8"]
    assert [r.name for r in front(found, without)] == ["e2m1", "int8"]
    assert [r.name for r in beaten_by(found[3], found, everything)] == ["int8"], "as accurate, smaller"
    assert beaten_by(found[2], found, everything) == ()
    assert [r.name for r in beaten_by(found[1], found, without)] == ["e2m1"]
    assert [r.kind for r in found] == ["integers", "integers", *["minifloats"] * 4]


def test_steps_of_a_sure_front_are_more_than_chance():
    cheap = row(("int3", "int3"), [1] * 10 + [0] * 90, 10)
    lucky = row(("int4", "int4"), [1] * 12 + [0] * 88, 20)
    better = row(("e2m3", "e2m3"), [1] * 30 + [0] * 70, 30)
    cost = COSTS[0][1]
    assert front([better, lucky, cheap], cost) == (cheap, lucky, better)
    assert sure_front([better, lucky, cheap], cost) == (cheap, better)
    assert sure_front(toy_rows(), cost)[0].name == "int4"


def test_differences_are_paired():
    found = toy_rows()
    assert bits_right(found[0].accuracy).tolist() == [True] * 9 + [False]
    mean, error, p = difference(found[3], found[0])
    assert (mean, p) == (0.0, 1.0)
    assert error == pytest.approx((0.2 / 10) ** 0.5)
    mean, error, p = difference(found[1], found[0])
    assert mean == pytest.approx(-0.3)
    assert p == 0.25


def test_ranks_correlate_as_by_hand():
    assert rank_correlation(np.array([1, 2, 3]), np.array([10, 20, 90])) == pytest.approx(1.0)
    assert rank_correlation(np.array([1, 2, 3, 4]), np.array([2, 1, 4, 3])) == pytest.approx(0.6)
    assert rank_correlation(np.array([1, 1, 2]), np.array([3, 3, 1])) == pytest.approx(-1.0)


def test_the_page_names_what_was_not_synthesised():
    text = page([(NET, toy_rows())], [{"net": NET.title, "name": "int8", "kept": 98, "lut": 100}], "yosys 0.23")
    assert "| int8 | 98 | 100 | -2.0 % |" in text
    assert "only their accuracy is known: e3m0 50.00 %." in text
    assert "emulated in float: e7m0 20.00 %." in text
    assert not [line for line in text.splitlines() if line.startswith(("| e3m0", "| e7m0"))]
    assert "| 4 | e2m1 | +40 % | +10.00 (p = 1.000) | no integer beats it (its gain may be chance) |" in text
    assert "| 8 | e4m3 | +20 % | +0.00 (p = 1.000) | beaten by int8 |" in text
    assert "Front over all look-up tables: int4 (integers), e2m1 (minifloats), int8 (integers)." in text


def test_rows_and_plot_come_from_the_records(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    for made in toy_rows():
        names = "-".join(made.pair)
        (tmp_path / f"accuracy-fashion-{names}.json").write_text(json.dumps(made.accuracy))
        if made.circuit:
            (tmp_path / f"circuit-fashion-{names}.json").write_text(json.dumps(made.circuit))
    found = rows(tmp_path, NET)
    assert {r.name for r in found if r.circuit} == {"int8", "int4", "e2m1", "e4m3"}
    assert rows(tmp_path, NETS[1]) == ()
    results: list[Path] = []
    monkeypatch.setattr("benchmarks.minifloat_fpga.PLOT", tmp_path / "plot.svg")
    monkeypatch.setattr("benchmarks.minifloat_fpga.write_results", lambda name, *_: results.append(Path(name)))
    write(tmp_path)
    text = (tmp_path / "plot.svg").read_text()
    assert results == [Path("minifloat_fpga")]
    assert all(f">{name}<" in text for name in ("int8", "e4m3", "int4, 60 %", "e2m1, 70 %"))
    assert ">e3m0" not in text
    write(tmp_path)
    assert (tmp_path / "plot.svg").read_text() == text
