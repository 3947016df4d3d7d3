// @TITLE@
module @MODULE@ (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [@IN@-1:0] in_data,
    output wire out_valid,
    input wire out_ready,
    output wire [@OUT@-1:0] out_data
);
  wire room, reserve, step_valid, step_first, step_last, step_inside;
  wire [@STEP@-1:0] weight_at;
  wire [@IN@-1:0] data;
  @MODULE@_window window (
      .clk(clk), .rst(rst), .in_valid(in_valid), .in_ready(in_ready), .in_data(in_data), .room(room),
      .reserve(reserve), .weight_at(weight_at), .step_valid(step_valid), .step_first(step_first),
      .step_last(step_last), .step_inside(step_inside), .data(data)
  );
@TERMS@

  // What a step is, beside its terms.
  wire term_valid, term_first, term_last, term_inside;
  @NAME@_delay #(.WIDTH(3), .CLOCKS(@CLOCKS@)) flags (
      .clk(clk), .in({step_first, step_last, step_inside}), .out({term_first, term_last, term_inside})
  );
  @NAME@_pulse #(.CLOCKS(@CLOCKS@)) valid (.clk(clk), .rst(rst), .in(step_valid), .out(term_valid));
  wire done = term_valid && term_last;  // the term completes a group
@ACCUMULATE@

  wire send;
  wire [@SEND@-1:0] sent;
@HOLD@

  wire code_valid;
  wire [@OUT@-1:0] code;
@FINISH@
  @NAME@_fifo #(.WIDTH(@OUT@), .BITS(@FIFO@), .COST(@COST@)) fifo (
      .clk(clk), .rst(rst), .reserve(reserve), .room(room), .in_valid(code_valid), .in_data(code),
      .out_valid(out_valid), .out_ready(out_ready), .out_data(out_data)
  );
endmodule
