// @TITLE@
//
// AXI-Stream in: tensor '@INPUT@' @IN_SHAPE@ (@IN_FORMAT@) row by row, pixel by pixel, channels innermost, @IN_LANES@ code(s) a
// beat, each in whole bytes, the first in the low bits; tlast on beat @IN_LAST@ of a frame.
@OUTPUTS@
// Integer codes are two's complement, sign-extended; minifloat codes are bit patterns. Frames follow each other without
// a gap. A frame whose tlast comes early is completed with zeros, one whose tlast comes late is cut: frame_error is high for
// one clock, and the tlast of its result carries tuser. Reset is synchronous, active high.
// Every unit works at once; the slowest needs @CYCLES@ clocks a frame. Memories are loaded from @NAME@_*.mem.
module @NAME@ (
    input wire clk,
    input wire rst,
    input wire [@IN_WIDTH@-1:0] s_axis_tdata,
    input wire s_axis_tvalid,
    output wire s_axis_tready,
    input wire s_axis_tlast,
@OUT_PORTS@
    output wire frame_error
);
  wire codes_valid, codes_ready;
  wire [@COUNT@-1:0] damaged_valid, damaged, damaged_ready;
  wire [@IN_CODES@-1:0] codes;
  @NAME@_source source (
      .clk(clk), .rst(rst), .s_valid(s_axis_tvalid), .s_ready(s_axis_tready), .s_data(s_axis_tdata),
      .s_last(s_axis_tlast), .out_valid(codes_valid), .out_ready(codes_ready), .out_data(codes),
      .error(frame_error), .damaged_valid(damaged_valid), .damaged(damaged), .damaged_ready(damaged_ready)
  );
@BODY@@STATUS@
endmodule
// Frames in: beats become codes, frames get their length, and each leaves a mark for every output: was it damaged?
module @NAME@_source (
    input wire clk,
    input wire rst,
    input wire s_valid,
    output wire s_ready,
    input wire [@IN_WIDTH@-1:0] s_data,
    input wire s_last,
    output wire out_valid,
    input wire out_ready,
    output wire [@IN_CODES@-1:0] out_data,
    output reg error,
    output wire [@COUNT@-1:0] damaged_valid,
    output wire [@COUNT@-1:0] damaged,
    input wire [@COUNT@-1:0] damaged_ready
);
  reg [@BEAT@-1:0] beat;
  reg filling, dropping;
  reg marks[0:(1<<@MARK@)-1];
  reg [@MARK@-1:0] mark_in;
  wire [@COUNT@-1:0] few;
  reg room;  // for the marks of further frames; a clock late
  always @(posedge clk) room <= rst || &few;
  genvar k;
  generate
    for (k = 0; k < @COUNT@; k = k + 1) begin : output_marks
      reg [@MARK@-1:0] mark_out;
      wire [@MARK@-1:0] marked = mark_in - mark_out;
      assign few[k] = marked < @MARK@'d@MARK_ROOM@;
      assign damaged_valid[k] = mark_in != mark_out;
      assign damaged[k] = marks[mark_out];
      always @(posedge clk)
        if (rst) mark_out <= @MARK@'d0;
        else if (damaged_ready[k]) mark_out <= mark_out + 1'b1;
    end
  endgenerate
  wire last = beat == @BEAT@'d@IN_LAST@;
  wire taken = s_valid && s_ready && !dropping;
  wire advance = out_valid && out_ready;
  wire early = taken && s_last && !last;
  wire late = taken && !s_last && last;
  wire [@IN_CODES@-1:0] codes;
@LOAD@
  assign s_ready = dropping || (!filling && out_ready && room);
  assign out_valid = room && (filling || (s_valid && !dropping));
  assign out_data = filling ? {@IN_CODES@{1'b0}} : codes;
  always @(posedge clk) if (advance && last) marks[mark_in] <= filling || late;
  always @(posedge clk)
    if (rst) begin
      beat <= @BEAT@'d0;
      filling <= 1'b0;
      dropping <= 1'b0;
      error <= 1'b0;
      mark_in <= @MARK@'d0;
    end else begin
      if (advance) beat <= last ? @BEAT@'d0 : beat + 1'b1;
      filling <= filling ? !(advance && last) : early;
      dropping <= dropping ? !(s_valid && s_last) : late;
      error <= early || late;
      if (advance && last) mark_in <= mark_in + 1'b1;
    end
endmodule
