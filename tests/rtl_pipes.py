"""Simulate many pipes at once in Icarus, each with its own beats and gaps, and check that latency is as declared."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from export.rtl.stream.pipe import Pipe
from quant.formats import Array, IntArray

needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not installed")
needs_yosys = pytest.mark.skipif(shutil.which("yosys") is None, reason="yosys is not installed")
needs_verilator = pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed")


@dataclass(frozen=True, slots=True, eq=False)
class Drive:
    """A pipe, its input ports as (name, bits of a lane, values [beats, lanes]), and the bits of an output lane."""

    pipe: Pipe
    ports: tuple[tuple[str, int, Array], ...]
    out_bits: int
    lanes: int


def simulate(folder: Path, drives: Sequence[Drive], seed: int = 1) -> list[IntArray]:
    """Return the raw output bits of every drive, [beats, lanes]; fails where a latency differs from the declared."""
    rng = np.random.default_rng(seed)
    for index, drive in enumerate(drives):
        (folder / f"in_{index}.mem").write_text(_stimulus(drive, rng))
        for name, text in drive.pipe.memories:
            (folder / name).write_text(text)
    text = "\n".join(drive.pipe.verilog for drive in drives)
    benches = "\n".join(_bench(index, drive) for index, drive in enumerate(drives))
    (folder / "all.v").write_text(f"{text}\n{benches}\n{_top(drives)}")
    command = ["iverilog", "-g2001", "-Wall", "-s", "top", "-o", "sim", "all.v"]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[:2000]
    done = subprocess.run(["vvp", "sim"], cwd=folder, check=True, capture_output=True, text=True, timeout=600)
    assert "LATENCY" not in done.stdout, done.stdout[:500]
    return [_results(folder / f"out_{index}.txt", drive) for index, drive in enumerate(drives)]


def lint(folder: Path, pipes: Sequence[Pipe]) -> str:
    """Return what Verilator's lint says about pipes, with its warnings on."""
    (folder / "all.v").write_text("\n".join(pipe.verilog for pipe in pipes))
    # Sums and products are wider than what is kept of them.
    quiet = [f"-Wno-{name}" for name in ("DECLFILENAME", "MULTITOP", "UNUSEDSIGNAL")]
    command = ["verilator", "--lint-only", "-Wall", *quiet, "all.v"]
    return subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True, timeout=300).stderr


def cells(folder: Path, pipe: Pipe, synth: str) -> dict[str, int]:
    """Return the counts of cells that yosys makes of a pipe with a synthesis command."""
    (folder / "one.v").write_text(pipe.verilog)
    for name, text in pipe.memories:
        (folder / name).write_text(text)
    latches = "select -assert-none t:$dlatch t:$_DLATCH_*"
    prepare = f"read_verilog one.v; prep -top {pipe.module}; {latches}; check -assert; design -reset"
    script = f"{prepare}; read_verilog one.v; {synth} -top {pipe.module}; tee -o cells.txt stat"
    done = subprocess.run(["yosys", "-q", "-p", script], cwd=folder, check=False, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stdout.decode()[-2000:]
    rows = [line.split() for line in (folder / "cells.txt").read_text().splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def signed(values: IntArray, bits: int) -> IntArray:
    """Return raw bits as two's complement."""
    result: IntArray = np.where(values >> (bits - 1), values - (1 << bits), values)
    return result


def _width(drive: Drive) -> int:
    return sum(bits * values.shape[1] for _, bits, values in drive.ports)


def _stimulus(drive: Drive, rng: np.random.Generator) -> str:
    """One line a clock: a valid bit in front of the inputs; gaps hold noise."""
    lines = []
    for beat in range(len(drive.ports[0][2])):
        while rng.random() < 0.2:
            lines.append(int.from_bytes(rng.bytes(-(-_width(drive) // 8)), "little") >> (-_width(drive) % 8))
        lines.append(_beat(drive, beat) | 1 << _width(drive))
    return "".join(f"{line:x}\n" for line in lines)


def _beat(drive: Drive, beat: int) -> int:
    word, place = 0, 0
    for _, bits, values in drive.ports:
        for value in values[beat]:
            word |= (int(value) & ((1 << bits) - 1)) << place
            place += bits
    return word


def _bench(index: int, drive: Drive) -> str:
    width, latency, place = _width(drive), drive.pipe.latency, 0
    pins = []
    for name, bits, values in drive.ports:
        pins.append(f".{name}(word[{place} +: {bits * values.shape[1]}])")
        place += bits * values.shape[1]
    return f"""
module bench_{index} (input wire clk, input wire rst);
  reg [{width}:0] words[0:{20 * len(drive.ports[0][2])}];
  reg [{width}:0] word;
  reg [{latency}:0] due;
  wire valid;
  wire [{drive.lanes * drive.out_bits - 1}:0] data;
  integer at, file;
  initial begin
    $readmemh("in_{index}.mem", words);
    file = $fopen("out_{index}.txt", "w");
    at = 0;
    word = 0;
    due = 0;
  end
  {drive.pipe.module} pipe (.clk(clk), .rst(rst), .in_valid(word[{width}]), {", ".join(pins)},
      .out_valid(valid), .out_data(data));
  always @(posedge clk) if (!rst) begin
    word <= words[at] === {width + 1}'bx ? {width + 1}'b0 : words[at];
    at <= at + 1;
    due <= {{due[{latency - 1}:0], word[{width}]}};
    if (valid !== due[{latency - 1}]) $display("LATENCY %0d", {index});
    if (valid) $fdisplay(file, "%h", data);
  end
endmodule
"""


def _top(drives: Sequence[Drive]) -> str:
    clocks = 3 * max(len(drive.ports[0][2]) for drive in drives) // 2 + 100
    benches = "\n".join(f"  bench_{index} b{index} (.clk(clk), .rst(rst));" for index in range(len(drives)))
    return f"""
module top;
  reg clk, rst;
{benches}
  initial begin
    clk = 0;
    rst = 1;
    #4 rst = 0;
    #{2 * clocks} $finish;
  end
  always #1 clk = !clk;
endmodule
"""


def _results(file: Path, drive: Drive) -> IntArray:
    words = [int(line, 16) for line in file.read_text().split()]
    mask = (1 << drive.out_bits) - 1
    rows = [[word >> lane * drive.out_bits & mask for lane in range(drive.lanes)] for word in words]
    return np.array(rows, dtype=np.int64).reshape(-1, drive.lanes)
