// @TITLE@
module @MODULE@ (
    input wire clk,
    input wire rst,
@PORTS@
    output wire out_valid,
    input wire out_ready,
    output wire [@OUT@-1:0] out_data
);
  // Frames alternate between two halves of each memory.
  wire room;
  reg side;  // the half that is read
  reg [@AT@-1:0] at;
  wire go, leave, freed, freed_side;
@MEMORIES@
  assign go = @WHOLE@ && room;
  wire last = at == @AT@'d@LAST@;
  assign leave = go && last;
  // A half is free again when its last code has been read.
  @NAME@_pulse #(.CLOCKS(3)) frees (.clk(clk), .rst(rst), .in(leave), .out(freed));
  @NAME@_delay #(.WIDTH(1), .CLOCKS(3)) freed_sides (.clk(clk), .in(side), .out(freed_side));
  wire [@INDEX@-1:0] index;  // which input and code, all ones: the fill
  @NAME@_rom_@STYLE@ #(.WIDTH(@INDEX@), .DEPTH(@COUNT@), .BITS(@AT@), .FILE("@MODULE@_order.mem")) order (
      .clk(clk), .at(at), .data(index)
  );
  always @(posedge clk)
    if (rst) begin
      at <= @AT@'d0;
      side <= 1'b0;
    end else if (go) begin
      at <= last ? @AT@'d0 : at + 1'b1;
      side <= side ^ last;
    end
  wire side_2;
  @NAME@_delay #(.WIDTH(1), .CLOCKS(2)) sides (.clk(clk), .in(side), .out(side_2));
  reg [@INDEX@-1:0] index_3;
  always @(posedge clk) index_3 <= index;
@READS@
  wire code_valid;
  @NAME@_pulse #(.CLOCKS(3)) valid (.clk(clk), .rst(rst), .in(go), .out(code_valid));
  wire [@OUT@-1:0] code = @SELECT@;
  @NAME@_fifo #(.WIDTH(@OUT@), .BITS(@FIFO@), .COST(1)) fifo (
      .clk(clk), .rst(rst), .reserve(go), .room(room), .in_valid(code_valid), .in_data(code),
      .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data)
  );
endmodule
