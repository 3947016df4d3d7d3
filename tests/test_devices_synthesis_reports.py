"""What yosys and nextpnr write is read right, and results are kept and read back: no tool is run."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from devices.boards_fpga import FPGAS
from devices.circuit import Usage, circuit_from_record
from devices.errors import DeviceError
from devices.measurement_record import from_json, to_json, to_record
from devices.report import units
from devices.report.tables_circuit import circuit_tables
from devices.synthesis import elaborate, kept, place, stat, wrap
from devices.synthesis.core import core_of
from devices.synthesis.family import ECP5, FAMILIES, ICE40, XC7, find_family, usage
from devices.synthesis.flow import over
from tests.measurements import measurement
from tests.synthesis_nets import (
    CIRCUIT,
    NEXTPNR_ECP5,
    STAT_JSON_NEW,
    STAT_JSON_OLD,
    STAT_TEXT_NEW,
    STAT_TEXT_OLD,
    tiny_core,
)

CELLS = {"add": {"CCU2C": 8, "MULT18X18D": 1, "TRELLIS_FF": 16}, "top": {"LUT4": 3, "add": 2}}


@pytest.mark.parametrize("text", [STAT_JSON_OLD, STAT_JSON_NEW])
def test_stat_as_json_of_two_versions(text: str) -> None:
    assert stat.parse_json(text, "stat") == CELLS


@pytest.mark.parametrize("text", [STAT_TEXT_OLD, STAT_TEXT_NEW])
def test_stat_as_text_of_two_versions(text: str) -> None:
    assert stat.parse_text(text) == CELLS


def test_cells_add_up_over_the_hierarchy() -> None:
    assert stat.total(CELLS, "top") == {"LUT4": 3, "CCU2C": 16, "MULT18X18D": 2, "TRELLIS_FF": 32}
    assert stat.own(CELLS, "top") == {"LUT4": 3}
    assert usage(ECP5, stat.total(CELLS, "top")) == Usage(lut=3 + 2 * 16, ff=32, bram=0, dsp=2)
    with pytest.raises(DeviceError, match="has no module 'sum'"):
        stat.total(CELLS, "sum")
    with pytest.raises(DeviceError, match="circular"):
        stat.total({"a": {"b": 1}, "b": {"a": 1}}, "a")


@pytest.mark.parametrize("text", ["", "ERROR: no such file", "=== design hierarchy ===\n"])
def test_what_is_no_stat_is_refused(text: str) -> None:
    with pytest.raises(DeviceError, match="no module"):
        stat.parse_text(text)
    with pytest.raises(DeviceError):
        stat.parse_json(text, "stat")


def test_cells_of_every_family_are_counted() -> None:
    cells = {"LUT6": 5, "LUT2": 1, "INV": 2, "RAM32M": 1, "CARRY4": 9, "RAMB18E1": 3, "RAMB36E1": 1, "FDRE": 4}
    assert usage(XC7, cells | {"DSP48E1": 2, "MUXF7": 8}) == Usage(lut=12, ff=4, bram=2.5, dsp=2)
    cells = {"SB_LUT4": 7, "SB_DFFESR": 2, "SB_DFF": 1, "SB_RAM40_4K": 4, "SB_MAC16": 1, "SB_CARRY": 5}
    assert usage(ICE40, cells) == Usage(lut=7, ff=3, bram=4, dsp=1)
    cells = {"LUT4": 1, "TRELLIS_DPR16X4": 2, "DP16KD": 1, "PFUMX": 9}
    assert usage(ECP5, cells) == Usage(lut=9, ff=0, bram=1, dsp=0)


def test_every_option_set_keeps_wide_multiplexers_off() -> None:
    for family in FAMILIES:
        if family is not ICE40:  # has none
            assert "-nowidelut" in family.command
    with pytest.raises(DeviceError, match=r"Did you mean 'ecp5'\?"):
        find_family("ecp4")


def test_the_report_of_nextpnr() -> None:
    found = place.parse(NEXTPNR_ECP5, ECP5, "report")
    assert found.clock_hz == pytest.approx(74.5267562866211e6)
    assert found.placed == Usage(lut=1928, ff=703, bram=5, dsp=4)
    assert found.critical_path == "mac.sum to mac.code: 3.00 ns through 1 cells, 50% of it in wires"


@pytest.mark.parametrize(
    ("change", "match"),
    [({"fmax": {}}, "no clock"), ({"fmax": None}, "fmax"), ({"utilization": 3}, "utilization")],
)
def test_a_report_without_a_clock_is_refused(change: dict[str, object], match: str) -> None:
    with pytest.raises(DeviceError, match=match):
        place.parse(json.dumps({**json.loads(NEXTPNR_ECP5), **change}), ECP5, "report")


def test_ports_and_instances_of_the_top() -> None:
    ports = "  attribute \\src 1\n  wire width 8 input 2 \\a\n  wire input 1 \\clk\n  wire width 16 output 4 \\y\n"
    cells = "  cell \\add \\second\n    connect \\y \\z\n  end\n  cell $paramod$0a\\add \\first\n"
    top = elaborate.parse(ports, cells)
    assert top.pins == 25
    assert top.instances == (("first", "$paramod$0a\\add"), ("second", "add"))
    with pytest.raises(DeviceError, match="only inputs and outputs"):
        elaborate.parse("  wire inout 2 \\pad\n", "")
    with pytest.raises(DeviceError, match="no ports"):
        elaborate.parse("", cells)


def test_the_wrapper_connects_every_bit() -> None:
    top = elaborate.parse(
        "wire input 1 \\clk\nwire width 8 input 2 \\a\nwire input 3 \\b\nwire width 4 output 4 \\y", ""
    )
    module, text = wrap.wrapper("core", top)
    assert module == "core_pins"
    assert "core core (.clk(clk), .a(given[7:0]), .b(given[8:8]), .y(made[3:0]));" in text
    without = replace(top, ports=top.ports[1:])
    with pytest.raises(DeviceError, match="no port 'clk'"):
        wrap.wrapper("core", without)


def test_a_circuit_goes_through_json() -> None:
    found = measurement(
        board="ulx3s-25k", method="synthesised", cycles=(500,), latency_s=((6.25e-6,),), circuit=CIRCUIT
    )
    assert from_json(to_json(found)) == found
    record = json.loads(json.dumps(asdict(CIRCUIT)))
    assert circuit_from_record(record, "circuit") == CIRCUIT
    for key in record:
        with pytest.raises(DeviceError, match=key):
            circuit_from_record({k: v for k, v in record.items() if k != key}, "circuit")
    for key, value in (("seed", "1"), ("cells", [["LUT4"]]), ("used", {}), ("notes", [1]), ("placed", 3)):
        with pytest.raises(DeviceError, match=key):
            circuit_from_record({**record, key: value}, "circuit")


def test_what_a_budget_lacks_is_said() -> None:
    assert CIRCUIT.beyond == ()
    assert CIRCUIT.inferences_per_s == 200_000
    large = replace(CIRCUIT, placed=None, used=Usage(30000, 600, 57, 3))
    assert large.beyond == ("lut", "bram")
    assert over(large.used, large.available) == "LUT 30,000 of 24,288, BRAM 57 of 56"
    assert replace(CIRCUIT, clock_hz=None).inferences_per_s is None


def test_tables_of_a_circuit() -> None:
    values = {"board": "ulx3s-25k", "method": "synthesised", "cycles": (500,), "latency_s": ((6.25e-6,),)}
    budget, timing, layers = circuit_tables(measurement(**values, circuit=CIRCUIT), "w8a8")
    assert "fits" in budget.caption and [row[0].text for row in budget.rows] == ["LUT", "FF", "BRAM", "DSP"]
    assert [cell.text for cell in budget.rows[0]] == ["LUT", "1,000", "1,100", "24,288", "4.5 %"]
    texts = {row[0].text: row[1].text for row in timing.rows}
    assert texts["highest clock"] == "80.0 MHz"
    assert texts["latency at that clock"] == "6.25 µs"
    assert texts["inferences per second at that clock"] == "200,000"
    assert [cell.text for cell in layers.rows[0]] == ["u0", "700", "400", "4.5", "3"]
    timed = replace(CIRCUIT, layers=(replace(CIRCUIT.layers[0], cycles=300), CIRCUIT.layers[1]))
    with_cycles = circuit_tables(measurement(**values, circuit=timed), "w8a8")[-1]
    assert [[cell.text for cell in row][-1] for row in with_cycles.rows] == ["300", units.DASH]
    assert circuit_from_record(json.loads(json.dumps(asdict(timed))), "circuit") == timed
    large = replace(CIRCUIT, placed=None, used=Usage(30000, 600, 4, 3), clock_hz=None, clock_reason="does not fit")
    budget, timing, _ = circuit_tables(measurement(**values, circuit=large), "w8a8")
    assert "does not fit" in budget.caption
    assert [row[4].kind for row in budget.rows] == ["bad", "", "", ""]
    assert timing.rows[0][1].kind == "absent"
    assert circuit_tables(measurement(), "w8a8") == ()


def test_a_key_depends_on_everything(tmp_path: Path) -> None:
    core, fpga = tiny_core(tmp_path), FPGAS[0]
    tools = {"yosys": "0.23"}
    keys = [
        kept.key(core, fpga, 1, tools),
        kept.key(core, fpga, 2, tools),
        kept.key(core, FPGAS[1], 1, tools),
        kept.key(core, fpga, 1, {"yosys": "0.24"}),
    ]
    (tmp_path / "tiny_table.mem").write_text("00\n")
    keys.append(kept.key(core, fpga, 1, tools))
    assert len(set(keys)) == len(keys)


def test_results_are_kept_whole(tmp_path: Path) -> None:
    work, folder = tmp_path / "work", tmp_path / "cache" / "a"
    work.mkdir()
    (work / "core.bit").write_bytes(b"bits")
    (work / "core_netlist.json").write_text("{}")
    assert kept.read(folder) is None
    kept.write(CIRCUIT, work, folder)
    assert kept.read(folder) == CIRCUIT
    assert {path.name for path in folder.iterdir()} == {"circuit.json", "core.bit"}
    (folder / "circuit.json").write_text("{")
    assert kept.read(folder) is None
    kept.write(CIRCUIT, work, folder)
    assert kept.read(folder) == CIRCUIT


def test_the_files_of_a_core(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"no head\.v; export"):
        core_of(tmp_path, "head")
    for name in ("head.v", "head_tb.v", "head_more.v", "head_weights.mem", "tail.v", "tail_bias.mem", "head_tb.cpp"):
        (tmp_path / name).touch()
    assert [path.name for path in core_of(tmp_path, "head").files] == ["head.v", "head_more.v", "head_weights.mem"]


def test_record_keys_are_stable() -> None:
    assert to_record(measurement(circuit=CIRCUIT))["schema"] == 4
