"""Synthesis with the real tools on a small design: resources, layers, clock, bitstream; and without the tools."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from devices import runner
from devices.boards import find_board
from devices.boards_fpga import FPGAS
from devices.circuit import Usage
from devices.errors import DeviceError
from devices.measurement_record import from_json, to_json
from devices.plan import NotedLayer
from devices.synthesis import commands, flow, netlist
from devices.synthesis.device import Fpga
from devices.synthesis.family import ECP5, ICE40
from devices.synthesised import copy_results
from export import fpga as target
from export.rtl.stream.device import LATTICE_ECP5, Resources
from export.rtl.stream.request import CircuitRequest
from export.runtimes import verilator
from export.target import Facts, Source
from tests.parts import short_plan, write_part
from tests.synthesis_nets import tiny_core


def _needs(*needed: commands.Command) -> pytest.MarkDecorator:
    lacking = [reason for command in needed if (reason := commands.missing(command))]
    return pytest.mark.skipif(bool(lacking), reason="; ".join(lacking))


needs_yosys = _needs(commands.YOSYS)
needs_ecp5 = _needs(*commands.needed(ECP5))
needs_ice40 = _needs(*commands.needed(ICE40))


def _fpga(name: str) -> Fpga:
    return next(fpga for fpga in FPGAS if fpga.name == name)


@needs_yosys
@pytest.mark.parametrize("name", ["pynq-z2", "ultra96"])
def test_xilinx_devices_get_resources_and_no_clock(name: str, tmp_path: Path) -> None:
    made = flow.synthesise(tiny_core(tmp_path), _fpga(name), cache=tmp_path / "cache")
    circuit = made.circuit
    assert circuit.beyond == ()
    assert circuit.placed is None and circuit.clock_hz is None and circuit.bitstream_bytes is None
    assert "was not executed here" in circuit.clock_reason
    assert circuit.used.ff + circuit.used.dsp >= 8  # the sums may move into DSP blocks
    assert circuit.used.dsp == 2
    assert [layer.name for layer in circuit.layers] == ["first", "second", "(top)"]
    assert circuit.layers[0].usage == circuit.layers[1].usage
    assert dict(made.versions)["yosys"] != "unknown"


@needs_ecp5
def test_a_small_core_is_placed_routed_and_packed(tmp_path: Path) -> None:
    said: list[str] = []
    core, board = tiny_core(tmp_path), _fpga("ulx3s-25k")
    made = flow.synthesise(core, board, say=said.append, cache=tmp_path / "cache")
    circuit = made.circuit
    assert circuit.placed is not None and circuit.clock_hz is not None
    assert circuit.used.dsp == circuit.placed.dsp == 2
    assert 8 + 2 * 16 <= circuit.used.ff == circuit.placed.ff < 60
    assert circuit.used.lut <= circuit.placed.lut < 400
    assert 40e6 < circuit.clock_hz < 500e6
    assert "ns through" in circuit.critical_path
    assert {layer.name: layer.usage.dsp for layer in circuit.layers} == {"first": 1, "second": 1, "(top)": 0}
    assert circuit.bitstream_bytes is not None and circuit.bitstream_bytes > 100_000
    assert made.folder is not None and (made.folder / "tiny.bit").stat().st_size == circuit.bitstream_bytes
    assert set(dict(made.versions)) == {"yosys", "nextpnr-ecp5", "ecppack"}
    assert "unknown" not in dict(made.versions).values()
    assert len(said) == 3
    again = flow.synthesise(core, board, say=said.append, cache=tmp_path / "cache")
    assert again == made and said[3:] == ["tiny on ulx3s-25k: known already"]


@needs_ecp5
def test_a_core_with_too_many_ports_is_wrapped(tmp_path: Path) -> None:
    board = replace(_fpga("ulx3s-25k"), pins=20)
    circuit = flow.synthesise(tiny_core(tmp_path), board, cache=tmp_path / "cache").circuit
    assert circuit.clock_hz is not None
    assert "33 ports and 20 pins" in circuit.notes[0]
    assert circuit.used.ff >= 40 + 17 + 17
    assert [layer.name for layer in circuit.layers] == ["first", "second", "(top)"]


@needs_ice40
def test_a_small_core_on_an_ice40(tmp_path: Path) -> None:
    circuit = flow.synthesise(tiny_core(tmp_path), _fpga("icebreaker"), cache=tmp_path / "cache").circuit
    assert circuit.clock_hz is not None and 5e6 < circuit.clock_hz < 100e6
    assert circuit.placed is not None and circuit.placed.ff == circuit.used.ff > 0
    assert circuit.bitstream_bytes is not None and circuit.bitstream_bytes > 50_000


@needs_yosys
@pytest.mark.parametrize("name", ["ulx3s-25k", "pynq-z2"])
def test_a_core_that_does_not_fit_is_reported(name: str, tmp_path: Path) -> None:
    board = replace(_fpga(name), budget=Usage(20, 100, 5, 1))
    circuit = flow.synthesise(tiny_core(tmp_path), board, cache=tmp_path / "cache").circuit
    assert "dsp" in circuit.beyond
    assert circuit.clock_hz is None and circuit.placed is None
    assert circuit.clock_reason
    assert flow.over(circuit.used, circuit.available).endswith("DSP 2 of 1")


@needs_yosys
def test_verilog_that_yosys_refuses_leaves_nothing(tmp_path: Path) -> None:
    core = tiny_core(tmp_path)
    core.sources[0].write_text("module tiny(input wire clk; endmodule\n")
    with pytest.raises(DeviceError, match="syntax error"):
        flow.synthesise(core, _fpga("pynq-z2"), cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_without_yosys_there_is_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "located", lambda name: None)
    with pytest.raises(DeviceError, match="yosys is not installed"):
        flow.synthesise(tiny_core(tmp_path), _fpga("pynq-z2"), cache=tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@needs_yosys
def test_without_nextpnr_there_are_resources_and_a_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    located = commands.located
    monkeypatch.setattr(commands, "located", lambda name: located(name) if name == "yosys" else None)
    circuit = flow.synthesise(tiny_core(tmp_path), _fpga("ulx3s-25k"), cache=tmp_path / "cache").circuit
    assert circuit.used.dsp == 2
    assert circuit.clock_hz is None and "nextpnr-ecp5 is not installed" in circuit.clock_reason


def _stand_in(path: Path, script: str) -> str:
    """Write a command that stands for yosys."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@needs_yosys
def test_a_yosys_that_ends_well_without_writing_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = _stand_in(tmp_path / "quiet", "exit 0")
    monkeypatch.setattr(netlist, "require", lambda _: command)
    with pytest.raises(DeviceError, match=r"without writing ports\.txt"):
        flow.synthesise(tiny_core(tmp_path), _fpga("pynq-z2"), cache=tmp_path / "cache")


@needs_yosys
def test_a_crash_of_yosys_is_tried_again_with_fewer_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = f'for last; do :; done\ngrep -q -e "-dsp" "$last" && kill -SEGV $$\nexec {commands.located("yosys")} "$@"'
    command = _stand_in(tmp_path / "crashing", script)
    monkeypatch.setattr(netlist, "require", lambda _: command)
    circuit = flow.synthesise(tiny_core(tmp_path), _fpga("icebreaker"), cache=tmp_path / "cache").circuit
    assert circuit.used.dsp == 0 and circuit.used.lut > 100
    assert circuit.notes[0] == "yosys was killed by SIGSEGV with '-dsp', so the figures are without it"


#: The smallest folding of the toy network that needs at most so many clocks, made for an ECP5.
SMALL = CircuitRequest("stream", LATTICE_ECP5, Resources(24288, 28, 56), 5000)


def _write_small(source: Source, folder: Path) -> Facts:
    return target.TARGET.write(replace(source, circuit=SMALL), folder)


@pytest.mark.slow
@needs_ecp5
def test_a_whole_network_on_an_ecp5(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The profile of an exported part: resources, clock, cycles and the latency that follows, and its bitstream."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    folder, board = write_part(tmp_path / "part", replace(target.TARGET, write=_write_small)), find_board("ulx3s-25k")
    layers = (NotedLayer("unit0", "conv", 3456), NotedLayer("unit4", "fc", None))
    plan = replace(short_plan(folder, board.name, "fpga"), cycles=12345, interval_cycles=4000, layers=layers)
    found = runner.profile(plan)
    circuit = found.circuit
    assert found.method == "synthesised" and circuit is not None and circuit.clock_hz is not None
    assert circuit.clock_hz > 30e6 and circuit.beyond == ()
    assert circuit.inferences_per_s == circuit.clock_hz / 4000
    assert found.cycles is not None and found.latency_s is not None
    assert found.latency_s == (tuple(count / circuit.clock_hz for count in found.cycles),)
    assert circuit.cycles_from == ("stated by the exporter" if verilator.missing() else "simulated")
    assert circuit.cycles_from in found.source and "not run on the board" in found.source
    usage = {layer.name: layer.usage for layer in circuit.layers}
    assert usage["conv"].dsp >= 1 and usage["conv"].bram >= 1 and usage["fc"].lut > 50
    assert {layer.name: layer.cycles for layer in circuit.layers if layer.cycles} == {"conv": 3456}
    assert sum(each.dsp for each in usage.values()) >= circuit.used.dsp >= 3
    assert from_json(to_json(found)) == found
    copy = copy_results(board, plan, tmp_path)
    assert (copy / "toy.bit").stat().st_size == circuit.bitstream_bytes
    monkeypatch.setattr("devices.synthesised.verilator.missing", lambda: "no Verilator in this test")
    assert runner.profile(plan).cycles == (12345,)
    unknown = runner.profile(replace(plan, cycles=None))
    assert "no Verilator in this test" in dict(unknown.absent)["cycles"]
    assert unknown.circuit is not None and unknown.circuit.clock_hz == circuit.clock_hz
