// The output of a unit: codes wait here. A unit asks for `room` before it starts what makes COST beats.
module @NAME@_fifo #(
    parameter WIDTH = 8, BITS = 4, COST = 1
) (
    input wire clk,
    input wire rst,
    input wire reserve,
    output wire room,
    input wire in_valid,
    input wire [WIDTH-1:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output wire [WIDTH-1:0] out_data
);
  localparam [BITS:0] DEPTH = 1 << BITS;
  localparam [BITS:0] TAKEN = COST;
  (* no_rw_check *)
  reg [WIDTH-1:0] memory[0:(1<<BITS)-1];
  reg [BITS-1:0] write_at, read_at;
  reg [BITS:0] count, free;
  wire pop = out_valid && out_ready;
  assign out_valid = |count;
  assign out_data = memory[read_at];
  assign room = free >= TAKEN;
  always @(posedge clk) if (in_valid) memory[write_at] <= in_data;
  always @(posedge clk)
    if (rst) begin
      write_at <= {BITS{1'b0}};
      read_at <= {BITS{1'b0}};
      count <= {(BITS + 1) {1'b0}};
      free <= DEPTH;
    end else begin
      if (in_valid) write_at <= write_at + 1'b1;
      if (pop) read_at <= read_at + 1'b1;
      count <= count + {{BITS{1'b0}}, in_valid} - {{BITS{1'b0}}, pop};
      free <= free - (reserve ? TAKEN : {(BITS + 1) {1'b0}}) + {{BITS{1'b0}}, pop};
    end
endmodule
// A deep queue in block RAM: what a branch keeps while the other one computes. Two clocks from in to out.
module @NAME@_queue #(
    parameter WIDTH = 8, BITS = 9
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [WIDTH-1:0] in_data,
    output reg out_valid,
    input wire out_ready,
    output reg [WIDTH-1:0] out_data
);
  (* no_rw_check *)
  reg [WIDTH-1:0] memory[0:(1<<BITS)-1];
  reg [BITS-1:0] write_at, read_at;
  reg [BITS:0] count;
  wire push = in_valid && in_ready;
  wire read = |count && (!out_valid || out_ready);
  assign in_ready = !count[BITS];
  always @(posedge clk) if (push) memory[write_at] <= in_data;
  always @(posedge clk) if (read) out_data <= memory[read_at];
  always @(posedge clk)
    if (rst) begin
      write_at <= {BITS{1'b0}};
      read_at <= {BITS{1'b0}};
      count <= {(BITS + 1) {1'b0}};
      out_valid <= 1'b0;
    end else begin
      if (push) write_at <= write_at + 1'b1;
      if (read) read_at <= read_at + 1'b1;
      count <= count + {{BITS{1'b0}}, push} - {{BITS{1'b0}}, read};
      out_valid <= read || (out_valid && !out_ready);
    end
endmodule
// RATIO narrow beats become a wide one, the first in the low bits.
module @NAME@_widen #(
    parameter WIDTH = 8, RATIO = 2, BITS = 2
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [WIDTH-1:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output reg [RATIO*WIDTH-1:0] out_data
);
  localparam [BITS-1:0] FULL = RATIO;
  reg [BITS-1:0] count;
  assign out_valid = count == FULL;
  assign in_ready = !out_valid || out_ready;
  always @(posedge clk) if (in_valid && in_ready) out_data <= {in_data, out_data[RATIO*WIDTH-1:WIDTH]};
  always @(posedge clk)
    if (rst) count <= {BITS{1'b0}};
    else if (in_ready) count <= (out_valid ? {BITS{1'b0}} : count) + {{(BITS - 1) {1'b0}}, in_valid};
endmodule
// A wide beat becomes RATIO narrow ones, the low bits first.
module @NAME@_narrow #(
    parameter WIDTH = 8, RATIO = 2, BITS = 2
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [RATIO*WIDTH-1:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output wire [WIDTH-1:0] out_data
);
  localparam [BITS-1:0] FULL = RATIO;
  localparam [BITS-1:0] ONE = 1;
  reg [RATIO*WIDTH-1:0] data;
  reg [BITS-1:0] left;
  wire pop = out_valid && out_ready;
  assign out_valid = |left;
  assign out_data = data[WIDTH-1:0];
  assign in_ready = !out_valid || (left == ONE && out_ready);
  always @(posedge clk)
    if (in_valid && in_ready) data <= in_data;
    else if (pop) data <= data >> WIDTH;
  always @(posedge clk)
    if (rst) left <= {BITS{1'b0}};
    else if (in_valid && in_ready) left <= FULL;
    else if (pop) left <= left - 1'b1;
endmodule
