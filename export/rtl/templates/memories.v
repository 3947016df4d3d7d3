// Read-only memory with a registered output. The file is found from the working directory of the tool.
module @NAME@_rom #(
    parameter WIDTH = 8, DEPTH = 1, ADDRESS = 1, FILE = ""
) (
    input wire clk,
    input wire [ADDRESS-1:0] address,
    output reg [WIDTH-1:0] data
);
  (* rom_style = "block" *) reg [WIDTH-1:0] words[0:DEPTH-1];
  generate
    if (FILE != "") begin : contents
      initial $readmemh(FILE, words);
    end
  endgenerate
  always @(posedge clk) data <= words[address];
endmodule

// One write port, one read port with a registered output that holds while not enabled.
module @NAME@_ram #(
    parameter WIDTH = 8, DEPTH = 1, ADDRESS = 1
) (
    input wire clk,
    input wire write,
    input wire [ADDRESS-1:0] write_address,
    input wire [WIDTH-1:0] write_data,
    input wire read,
    input wire [ADDRESS-1:0] read_address,
    output reg [WIDTH-1:0] read_data
);
  (* ram_style = "block" *) reg [WIDTH-1:0] words[0:DEPTH-1];
  always @(posedge clk) begin
    if (write) words[write_address] <= write_data;
    if (read) read_data <= words[read_address];
  end
endmodule
