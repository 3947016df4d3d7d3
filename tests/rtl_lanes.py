"""Drive many lane modules with every pair of codes at once, in one Verilated binary."""

from __future__ import annotations

import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from export.rtl.emit import fill
from export.rtl.lanes.lanes import Lanes, verilog
from quant.formats import Array, Format

_MAIN = """
#include <cstdint>
#include <cstdio>
#include <vector>
#include "Vbench.h"
#include "verilated.h"
static void put(FILE* out, uint64_t value) { std::fwrite(&value, 8, 1, out); }
template <std::size_t N> static void put(FILE* out, const VlWide<N>& value) { std::fwrite(value.data(), 4, N, out); }
int main() {
  VerilatedContext context;
  context.randReset(2);
  Vbench top{&context};
  std::vector<FILE*> out;
  for (int i = 0; i < @COUNT@; i++) {
    char name[32];
    std::snprintf(name, sizeof name, "out%d.bin", i);
    out.push_back(std::fopen(name, "wb"));
  }
  for (uint32_t at = 0; at < @CLOCKS@; at++) {
    top.codes = at;
    top.clk = 0;
    top.eval();
@WRITE@
    top.clk = 1;
    top.eval();
  }
  for (FILE* file : out) std::fclose(file);
}
"""


@dataclass(frozen=True)
class Unit:
    """A module that reads an activation code from the low and a weight code from the next bits of a counter."""

    name: str
    weight: Format
    activation: Format
    latency: int
    bits: int
    text: str

    @property
    def pairs(self) -> int:
        return 1 << (self.weight.bits + self.activation.bits)

    @property
    def words(self) -> int:
        return 2 if self.bits <= 64 else -(-self.bits // 32)


def lane_unit(lanes: Lanes, name: str) -> Unit:
    """The product of one lane."""
    assert lanes.simd == 1
    return Unit(name, lanes.weight, lanes.activation, lanes.latency, lanes.sum_bits, verilog(lanes, name))


def all_pairs(units: list[Unit], folder: Path) -> list[Array]:
    """Return every module's output for every pair of codes, counter order, as Python integers (object)."""
    (folder / "bench.v").write_text("\n".join([*(unit.text for unit in units), _bench(units)]))
    write = [
        f"    if (at >= {u.latency} && at < {u.pairs + u.latency}) put(out[{i}], top.p{i});"
        for i, u in enumerate(units)
    ]
    clocks = max(unit.pairs + unit.latency for unit in units)
    text = fill(_MAIN, {"COUNT": str(len(units)), "CLOCKS": str(clocks), "WRITE": "\n".join(write)})
    (folder / "main.cpp").write_text(text)
    flags = "-O3 --x-initial unique --top-module bench -Wno-DECLFILENAME -Mdir build -CFLAGS -O1"
    command = ["verilator", "--cc", "--exe", "--build", *flags.split(), "bench.v", "main.cpp"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    subprocess.run([folder / "build" / "Vbench"], cwd=folder, check=True, timeout=300)
    return [read_back(folder / f"out{index}.bin", unit) for index, unit in enumerate(units)]


def _bench(units: list[Unit]) -> str:
    ports = "".join(f",\n    output wire [{unit.bits - 1}:0] p{index}" for index, unit in enumerate(units))
    body = "\n".join(
        f"  {u.name} u{i} (.clk(clk), .x(codes[{u.activation.bits - 1}:0]), "
        f".w(codes[{u.activation.bits + u.weight.bits - 1}:{u.activation.bits}]), .sum(p{i}));"
        for i, u in enumerate(units)
    )
    return f"module bench (\n    input wire clk,\n    input wire [31:0] codes{ports}\n);\n{body}\nendmodule\n"


def read_back(path: Path, unit: Unit) -> Array:
    """Return signed values of a file of little-endian words."""
    raw = np.fromfile(path, dtype="<u4").reshape(unit.pairs, unit.words).astype(object)
    value = sum(raw[:, word] << (32 * word) for word in range(unit.words))
    return np.where(value >> (unit.bits - 1) & 1, value - (1 << unit.bits), value)


def expected(unit: Unit) -> tuple[Array, Array]:
    """Return every product in units by the formats' own arithmetic, and where both codes are numbers."""
    x, x_real = _units(unit.activation)
    w, w_real = _units(unit.weight)
    return (w[:, None] * x[None, :]).ravel(), (w_real[:, None] & x_real[None, :]).ravel()


def _units(fmt: Format) -> tuple[Array, Array]:
    patterns = np.arange(1 << fmt.bits)
    if not fmt.is_minifloat:
        signed = fmt.signed & (patterns >> (fmt.bits - 1))
        return (patterns - (signed << fmt.bits)).astype(object), np.ones(len(patterns), bool)
    real = (patterns & ((1 << (fmt.bits - 1)) - 1)) <= fmt.max_ordinal
    return np.where(real, fmt.to_units(np.where(real, patterns, 0)), 0).astype(object), real


def simulate(text: str, top: str, inputs: dict[str, tuple[int, list[int]]], outputs: dict[str, int]) -> Array:
    """Run a module in Icarus, one set of inputs a clock, and return its signed outputs before every edge, [T, ports].

    `inputs` has the width of each port and its value at every clock, `outputs` the widths. Unknown values are None.
    """
    widths = [width for width, _ in inputs.values()]
    places = [sum(widths[:index]) for index in range(len(widths))]
    columns = zip(*(values for _, values in inputs.values()), strict=True)
    words = [sum(value << place for value, place in zip(row, places, strict=True)) for row in columns]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.hex").write_text("\n".join(f"{word:x}" for word in words))
        slices = [f"word[{place + width - 1}:{place}]" for place, width in zip(places, widths, strict=True)]
        wires = dict(zip(inputs, slices, strict=True)) | {port: port for port in outputs}
        (folder / "test.v").write_text(text + _test(top, wires, outputs, sum(widths), len(words)))
        command = ["iverilog", "-g2001", "-Wall", "-Wno-timescale", "-o", "test.vvp", "test.v"]
        built = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
        assert built.returncode == 0 and not built.stderr, built.stderr
        command = ["vvp", "-N", "test.vvp"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=True)
    rows = [line.split() for line in done.stdout.splitlines()]
    return np.array([[None if "x" in word else int(word) for word in row] for row in rows], dtype=object)


def _test(top: str, wires: dict[str, str], outputs: dict[str, int], width: int, clocks: int) -> str:
    ports = ", ".join(f".{port}({wire})" for port, wire in wires.items())
    declared = "".join(f"  wire signed [{bits - 1}:0] {port};\n" for port, bits in outputs.items())
    shown = f'"{" ".join(["%0d"] * len(outputs))}", {", ".join(outputs)}'
    return f"""
module test;
  reg clk;
  reg [{width - 1}:0] memory [0:{clocks - 1}];
  reg [{width - 1}:0] word;
  integer at;
{declared}  {top} unit (.clk(clk), {ports});
  initial begin
    clk = 0;
    $readmemh("in.hex", memory);
    for (at = 0; at < {clocks}; at = at + 1) begin
      word = memory[at];
      #1 $display({shown});
      clk = 1;
      #1 clk = 0;
    end
  end
endmodule
"""


def pack(codes: Array, bits: int) -> list[int]:
    """Return one word per row of codes, lane 0 lowest."""
    mask = (1 << bits) - 1
    return [sum((int(code) & mask) << (bits * lane) for lane, code in enumerate(row)) for row in codes]


def random_codes(fmt: Format, shape: tuple[int, int], seed: int) -> Array:
    """Return codes of numbers, a third of them the largest or the most negative."""
    rng = np.random.default_rng(seed)
    ordinals = rng.integers(fmt.min_ordinal, fmt.max_ordinal + 1, shape)
    ends = rng.choice([fmt.min_ordinal, fmt.max_ordinal], shape)
    return fmt.from_ordinals(np.where(rng.random(shape) < 1 / 3, ends, ordinals))
