// @TITLE@
module @MODULE@ (
    input wire clk,
    input wire rst,
@PORTS@
    output wire out_valid,
    input wire out_ready,
    output wire [@OUT@-1:0] out_data
);
  wire room;
@FRONT@
  wire code_valid;
  wire [@OUT@-1:0] code;
  @MODULE@_pipe pipe (.clk(clk), .rst(rst), .in_valid(go), @INPUTS@, .out_valid(code_valid), .out_data(code));
  @NAME@_fifo #(.WIDTH(@OUT@), .BITS(@FIFO@), .COST(1)) fifo (
      .clk(clk), .rst(rst), .reserve(go), .room(room), .in_valid(code_valid), .in_data(code),
      .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data)
  );
endmodule
