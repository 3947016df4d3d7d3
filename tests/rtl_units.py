"""Drive one pipelined module of the core with many values in Verilator."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt

from export.rtl.emit import fill, template

_HARNESS = """
#include <cstdint>
#include <cstdio>
#include "Vunit.h"
#include "verilated.h"
int main() {
  VerilatedContext context;
  context.randReset(2);
  Vunit top{&context};
  int64_t record[@COLUMNS@];
  top.clk = 0;
  top.rst = 1;
  auto edge = [&]() {
    top.clk = 0;
    top.eval();
    top.clk = 1;
    top.eval();
    if (!top.rst && top.out_valid) {
      const int64_t out = top.@OUTPUT@;
      std::fwrite(&out, sizeof out, 1, stdout);
    }
  };
  for (int i = 0; i < 4; i++) edge();
  top.rst = 0;
  while (std::fread(record, sizeof record, 1, stdin) == 1) {
    @ASSIGN@
    top.in_valid = 1;
    edge();
    top.in_valid = 0;
    if (record[0] & 1) edge();  // gaps must not matter
  }
  for (int i = 0; i < 40; i++) edge();
}
"""


def build_unit(folder: Path, module: str, parameters: dict[str, int], ports: tuple[str, ...], output: str) -> Path:
    """Build `unit_<module>` with parameters; records of int64 set `ports`, results are the raw bits of `output`."""
    assign = " ".join(f"top.{port} = record[{index}];" for index, port in enumerate(ports))
    harness = fill(_HARNESS, {"COLUMNS": str(len(ports)), "OUTPUT": output, "ASSIGN": assign})
    (folder / "unit.v").write_text(fill(template(f"{module}.v"), {"NAME": "unit"}))
    (folder / "harness.cpp").write_text(harness)
    flags = "--cc --exe --build -O3 --x-initial unique --prefix Vunit --Mdir build -o unit unit.v harness.cpp"
    generics = [f"-G{name}={value}" for name, value in parameters.items()]
    command = ["verilator", "--top-module", f"unit_{module}", *generics, *flags.split()]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    return folder / "build" / "unit"


def run_unit(tool: Path, records: npt.NDArray[np.int64], bits: int) -> npt.NDArray[np.int64]:
    """Return the results, sign-extended from `bits`."""
    done = subprocess.run([tool], input=records.tobytes(), capture_output=True, check=True, timeout=300)
    raw = np.frombuffer(done.stdout, dtype=np.int64) & ((1 << bits) - 1)
    return np.where(raw >> (bits - 1), raw - (1 << bits), raw)
