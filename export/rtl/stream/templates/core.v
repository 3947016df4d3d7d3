// @TITLE@
//
// AXI-Stream in: tensor '@INPUT@' @IN_SHAPE@ (@IN_FORMAT@) row by row, pixel by pixel, channels innermost, @IN_LANES@ code(s) a
// beat, each in whole bytes, the first in the low bits; tlast on beat @IN_LAST@ of a frame.
// AXI-Stream out: tensor '@OUTPUT@' @OUT_SHAPE@ (@OUT_FORMAT@) in the same order, one code a beat, tlast on beat @OUT_LAST@.
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
    output wire [@OUT_WIDTH@-1:0] m_axis_tdata,
    output wire m_axis_tvalid,
    input wire m_axis_tready,
    output wire m_axis_tlast,
    output wire m_axis_tuser,
    output wire frame_error
);
  wire codes_valid, codes_ready, damaged_valid, damaged, damaged_ready;
  wire [@IN_CODES@-1:0] codes;
  @NAME@_source source (
      .clk(clk), .rst(rst), .s_valid(s_axis_tvalid), .s_ready(s_axis_tready), .s_data(s_axis_tdata),
      .s_last(s_axis_tlast), .out_valid(codes_valid), .out_ready(codes_ready), .out_data(codes),
      .error(frame_error), .damaged_valid(damaged_valid), .damaged(damaged), .damaged_ready(damaged_ready)
  );
@BODY@
endmodule
// Frames in: beats become codes, frames get their length, and each leaves a bit that says whether it was damaged.
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
    output wire damaged_valid,
    output wire damaged,
    input wire damaged_ready
);
  reg [@BEAT@-1:0] beat;
  reg filling, dropping;
  reg marks[0:(1<<@MARK@)-1];
  reg [@MARK@-1:0] mark_in, mark_out;
  wire [@MARK@-1:0] marked = mark_in - mark_out;
  reg room;  // for the marks of further frames; a clock late
  always @(posedge clk) room <= rst || marked < @MARK@'d@MARK_ROOM@;
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
  assign damaged_valid = mark_in != mark_out;
  assign damaged = marks[mark_out];
  always @(posedge clk) if (advance && last) marks[mark_in] <= filling || late;
  always @(posedge clk)
    if (rst) begin
      beat <= @BEAT@'d0;
      filling <= 1'b0;
      dropping <= 1'b0;
      error <= 1'b0;
      mark_in <= @MARK@'d0;
      mark_out <= @MARK@'d0;
    end else begin
      if (advance) beat <= last ? @BEAT@'d0 : beat + 1'b1;
      filling <= filling ? !(advance && last) : early;
      dropping <= dropping ? !(s_valid && s_last) : late;
      error <= early || late;
      if (advance && last) mark_in <= mark_in + 1'b1;
      if (damaged_ready) mark_out <= mark_out + 1'b1;
    end
endmodule
// Frames out: tlast on the last code, held back until it is known whether the frame was damaged.
module @NAME@_sink (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [@OUT_CODE@-1:0] in_data,
    input wire damaged_valid,
    input wire damaged,
    output wire damaged_ready,
    output wire [@OUT_WIDTH@-1:0] m_data,
    output wire m_valid,
    input wire m_ready,
    output wire m_last,
    output wire m_user
);
  reg [@OUT_BEAT@-1:0] beat;
  wire last = beat == @OUT_BEAT@'d@OUT_LAST@;
  wire pass = !last || damaged_valid;
  assign m_valid = in_valid && pass;
  assign in_ready = m_ready && pass;
  assign m_last = last;
  assign m_user = last && damaged;
  assign m_data = @STORE@;
  assign damaged_ready = m_valid && m_ready && last;
  always @(posedge clk)
    if (rst) beat <= @OUT_BEAT@'d0;
    else if (m_valid && m_ready) beat <= last ? @OUT_BEAT@'d0 : beat + 1'b1;
endmodule
