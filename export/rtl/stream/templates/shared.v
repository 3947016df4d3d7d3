// A delay of data, and of a valid bit that is cleared by reset.
module @NAME@_delay #(
    parameter WIDTH = 1, CLOCKS = 1
) (
    input wire clk,
    input wire [WIDTH-1:0] in,
    output wire [WIDTH-1:0] out
);
  generate
    if (CLOCKS == 0) begin : none
      assign out = in;
    end else begin : some
      reg [CLOCKS*WIDTH-1:0] line;
      wire [(CLOCKS+1)*WIDTH-1:0] next = {line, in};
      always @(posedge clk) line <= next[CLOCKS*WIDTH-1:0];
      assign out = line[CLOCKS*WIDTH-1:(CLOCKS-1)*WIDTH];
    end
  endgenerate
endmodule
module @NAME@_pulse #(
    parameter CLOCKS = 1
) (
    input wire clk,
    input wire rst,
    input wire in,
    output wire out
);
  generate
    if (CLOCKS == 0) begin : none
      assign out = in;
    end else begin : some
      reg [CLOCKS-1:0] line;
      wire [CLOCKS:0] next = {line, in};
      always @(posedge clk) line <= rst ? {CLOCKS{1'b0}} : next[CLOCKS-1:0];
      assign out = line[CLOCKS-1];
    end
  endgenerate
endmodule
// Constants, two clocks from address to data: of block RAM, or of look-up tables.
module @NAME@_rom_block #(
    parameter WIDTH = 8, DEPTH = 2, BITS = 1, FILE = ""
) (
    input wire clk,
    input wire [BITS-1:0] at,
    output reg [WIDTH-1:0] data
);
  (* rom_style = "block" *)
  reg [WIDTH-1:0] memory[0:DEPTH-1];
  reg [WIDTH-1:0] read;
  generate
    if (FILE != "") begin : load
      initial $readmemh(FILE, memory);
    end
  endgenerate
  always @(posedge clk) begin
    read <= memory[at];
    data <= read;
  end
endmodule
module @NAME@_rom_logic #(
    parameter WIDTH = 8, DEPTH = 2, BITS = 1, FILE = ""
) (
    input wire clk,
    input wire [BITS-1:0] at,
    output reg [WIDTH-1:0] data
);
`ifdef YOSYS
  (* rom_style = "logic" *)
`else
  (* rom_style = "distributed" *)
`endif
  reg [WIDTH-1:0] memory[0:DEPTH-1];
  reg [BITS-1:0] held;
  generate
    if (FILE != "") begin : load
      initial $readmemh(FILE, memory);
    end
  endgenerate
  always @(posedge clk) begin
    held <= at;
    data <= memory[held];
  end
endmodule
