// Frames out of @PORT@: tlast on the last beat, held back until it is known whether the frame was damaged.
module @MODULE@ (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [@CODES@-1:0] in_data,
    input wire damaged_valid,
    input wire damaged,
    output wire damaged_ready,
    output wire [@WIDTH@-1:0] m_data,
    output wire m_valid,
    input wire m_ready,
    output wire m_last,
    output wire m_user
);
  reg [@BEAT@-1:0] beat;
  wire last = beat == @BEAT@'d@LAST@;
  wire pass = !last || damaged_valid;
  assign m_valid = in_valid && pass;
  assign in_ready = m_ready && pass;
  assign m_last = last;
  assign m_user = last && damaged;
  assign m_data = @STORE@;
  assign damaged_ready = m_valid && m_ready && last;
  always @(posedge clk)
    if (rst) beat <= @BEAT@'d0;
    else if (m_valid && m_ready) beat <= last ? @BEAT@'d0 : beat + 1'b1;
endmodule
