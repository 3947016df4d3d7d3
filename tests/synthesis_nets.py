"""A small Verilog design, recorded outputs of yosys and nextpnr, and a made-up result, for the tests of synthesis."""

from __future__ import annotations

from pathlib import Path

from devices.circuit import Circuit, Layer, Usage
from devices.synthesis.core import Core

#: Two instances of one multiply-accumulate with a table, and a register between them.
VERILOG = """
module tiny_mac(input wire clk, input wire [7:0] a, input wire [7:0] b, output reg [15:0] y);
  reg [7:0] table_ [0:15];
  initial $readmemh("tiny_table.mem", table_);
  always @(posedge clk) y <= a * b + y + table_[a[3:0]];
endmodule

module tiny(input wire clk, input wire [7:0] a, input wire [7:0] b, output wire [15:0] z);
  wire [15:0] y;
  reg [7:0] between;
  always @(posedge clk) between <= y[7:0] ^ y[15:8];
  tiny_mac first(.clk(clk), .a(a), .b(b), .y(y));
  tiny_mac second(.clk(clk), .a(between), .b(b), .y(z));
endmodule
"""

STAT_JSON_OLD = """{
   "creator": "Yosys 0.23 (git sha1 7ce5011c24b)",
   "invocation": "stat -json -top top ",
   "modules": {
      "add": {"num_wires": 15, "num_cells": 25, "num_cells_by_type": {"CCU2C": 8, "MULT18X18D": 1, "TRELLIS_FF": 16}},
      "\\\\top": {"num_wires": 5, "num_cells": 5, "num_cells_by_type": {"LUT4": 3, "\\\\add": 2}}
   },
   "design": {"num_wires": 35, "num_cells": 50, "num_cells_by_type": {"CCU2C": 16}}
}"""

STAT_JSON_NEW = """{
   "creator": "Yosys 0.70 (git sha1 28ba3cb92, Release)",
   "modules": {
      "\\\\top": {"num_cells": 3, "num_submodules": 2, "num_cells_by_type": {"LUT4": 3, "add": 2}},
      "\\\\add": {"num_cells": 25, "num_submodules": 0,
                 "num_cells_by_type": {"CCU2C": 8, "MULT18X18D": 1, "TRELLIS_FF": 16}}
   },
   "design": {"num_cells": 50, "num_submodules": 2, "num_cells_by_type": {"CCU2C": 16, "add": 2}}
}"""

#: As yosys 0.23 prints it.
STAT_TEXT_OLD = """
4. Printing statistics.

=== add ===

   Number of wires:                 15
   Number of memory bits:            0
   Number of cells:                 25
     CCU2C                           8
     MULT18X18D                      1
     TRELLIS_FF                     16

=== top ===

   Number of wires:                  5
   Number of cells:                  5
     LUT4                            3
     add                             2

=== design hierarchy ===

   top                               1
     add                             2

   Number of cells:                 53
     CCU2C                          16
     LUT4                            3
"""

#: As yosys 0.70 prints it.
STAT_TEXT_NEW = """
=== top ===

        +----------Local Count, excluding submodules.
        |
        5 wires
       49 wire bits
        5 ports
        3 cells
        3   LUT4
        2 submodules
        2   add

=== add ===

        +----------Local Count, excluding submodules.
        |
       64 wires
       33 port bits
       25 cells
        8   CCU2C
        1   MULT18X18D
       16   TRELLIS_FF

=== design hierarchy ===

        +----------Count including submodules.
        |
       53 top
       25 add

        - memories
       53 cells
       16   CCU2C
        3   LUT4
        2 submodules
        2   add
"""

#: Cut from what nextpnr-ecp5 0.11.1 wrote of a core.
NEXTPNR_ECP5 = """{
  "critical_paths": [
    {"from": "posedge $glbnet$clk", "to": "posedge $glbnet$clk", "path": [
      {"type": "clk-to-q", "delay": 0.5, "from": {"cell": "mac.sum_TRELLIS_FF_Q_42", "port": "Q"}},
      {"type": "routing", "delay": 1.5, "net": "n", "from": {"cell": "mac.sum_TRELLIS_FF_Q_42", "port": "Q"}},
      {"type": "logic", "delay": 0.75, "from": {"cell": "mac.low_CCU2C_A0_20$CCU2_COMB0", "port": "B"}},
      {"type": "setup", "delay": 0.25, "from": {"cell": "mac.code_TRELLIS_FF_Q_2", "port": "DI"}}
    ]},
    {"from": "<async>", "to": "posedge $glbnet$clk", "path": []}
  ],
  "fmax": {
    "$glbnet$clk": {"achieved": 74.5267562866211, "constraint": 100},
    "$glbnet$fast": {"achieved": 274.5, "constraint": 100}
  },
  "utilization": {
    "DCCA": {"available": 56, "used": 1},
    "DP16KD": {"available": 208, "used": 5},
    "MULT18X18D": {"available": 156, "used": 4},
    "TRELLIS_COMB": {"available": 83640, "used": 1928},
    "TRELLIS_FF": {"available": 83640, "used": 703}
  }
}"""

#: A made-up result.
CIRCUIT = Circuit(
    device="LFE5U-25F CABGA381, speed grade 6",
    bram_unit="DP16KD",
    bram_bits=18432,
    used=Usage(1000, 600, 4.5, 3),
    placed=Usage(1100, 600, 5, 3),
    available=Usage(24288, 24288, 56, 28),
    cells=(("LUT4", 1000), ("TRELLIS_FF", 600)),
    layers=(Layer("u0", Usage(700, 400, 4.5, 3)), Layer("(top)", Usage(10, 20, 0, 0))),
    clock_hz=80e6,
    clock_reason="",
    target_hz=100e6,
    seed=1,
    critical_path="a to b: 12.50 ns through 3 cells",
    cycles_from="simulated",
    interval_cycles=400,
    bitstream_bytes=582369,
    notes=("a note",),
)


def tiny_core(folder: Path) -> Core:
    """Write the small design with its memory file."""
    (folder / "tiny.v").write_text(VERILOG)
    (folder / "tiny_table.mem").write_text("".join(f"{7 * n % 251:02x}\n" for n in range(16)))
    return Core("tiny", (folder / "tiny.v",), (folder / "tiny_table.mem",))
