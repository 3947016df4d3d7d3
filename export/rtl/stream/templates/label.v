// The label of a frame: the place of the first greatest of @COUNT@ codes.
module @MODULE@ (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [@CODE@-1:0] in_data,
    output reg out_valid,
    input wire out_ready,
    output reg [@LABEL@-1:0] out_data
);
  reg [@LABEL@-1:0] place;
  reg [@CODE@-1:0] greatest;
  wire take = in_valid && in_ready;
  wire last = place == @LABEL@'d@LAST@;
  assign in_ready = !out_valid || out_ready;
  always @(posedge clk)
    if (take && (place == @LABEL@'d0 || @GREATER@)) begin
      greatest <= in_data;
      out_data <= place;
    end
  always @(posedge clk)
    if (rst) begin
      place <= @LABEL@'d0;
      out_valid <= 1'b0;
    end else begin
      if (take) place <= last ? @LABEL@'d0 : place + 1'b1;
      if (in_ready) out_valid <= take && last;
    end
endmodule
