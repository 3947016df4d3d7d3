// Bench of the core @NAME@ for Icarus Verilog, whose registers start unknown: frames of @NAME@_in.hex with random waits on
// all streams, and unknown data whenever there is nothing to take. It fails on an unknown ready, valid or error, on an
// unknown bit of a valid beat, on a wrong code, tlast or tuser, on a beat that changes while it is refused or that nobody
// expects, and when nothing moves any more.
//
//   vvp PROGRAM [+frames=N] [+seed=N]      the first N of @FRAMES@ frames
`timescale 1ns / 1ns
module @NAME@_icarus_tb;
  localparam IN = @IN_WIDTH@, IN_BEATS = @IN_BEATS@, FRAMES = @FRAMES@, STREAMS = @STREAMS@;
  localparam PATIENCE = @PATIENCE@;  // clocks without a beat on either side

  reg clk = 1'b0, rst = 1'b1;
  reg [IN-1:0] s_axis_tdata = {IN{1'bx}};
  reg s_axis_tvalid = 1'b0, s_axis_tlast = 1'bx;
  reg [STREAMS-1:0] ready = {STREAMS{1'b0}}, held = {STREAMS{1'b0}}, held_last;
  wire s_axis_tready, frame_error;
  // Streams out of the core: wires, beats of a frame, and the words they should carry.
@WIRES@
  @NAME@ core (
      .clk(clk), .rst(rst), .s_axis_tdata(s_axis_tdata), .s_axis_tvalid(s_axis_tvalid),
      .s_axis_tready(s_axis_tready), .s_axis_tlast(s_axis_tlast),
@CONNECTIONS@,
      .frame_error(frame_error)
  );
  always #5 clk = !clk;

  reg [IN-1:0] beats[0:FRAMES*IN_BEATS-1];
  integer frames, seed, sent, wrong, idle, after, expected, received, got[0:STREAMS-1], k;
  reg taken, given;

  // Random numbers: bits of a shift register, so that every simulator draws the same.
  reg [31:0] random;
  function [31:0] next(input [31:0] last);
    integer i;
    begin
      next = last;
      for (i = 0; i < 8; i = i + 1) next = {next[30:0], next[31] ^ next[21] ^ next[1] ^ next[0]};
    end
  endfunction

  task fail(input [40*8-1:0] what);
    begin
      $display("@NAME@: FAILED after %0d clocks, beat %0d in, beat %0d out: %0s", $time / 10, sent, received, what);
      $fatal(1);
    end
  endtask

  initial begin
    if (!$value$plusargs("frames=%d", frames) || frames > FRAMES) frames = FRAMES;
    if (!$value$plusargs("seed=%d", seed)) seed = 1;
    random = seed ^ 32'h5eed1234;
    $readmemh("@NAME@_in.hex", beats);
@START@
    sent = 0;
    expected = 0;
    received = 0;
    for (k = 0; k < STREAMS; k = k + 1) got[k] = 0;
    wrong = 0;
    idle = 0;
    after = 0;
    taken = 1'b0;
    repeat (4) @(negedge clk);
    rst = 1'b0;
    while (after < 64) begin
      random = next(random);
      if (taken || !s_axis_tvalid) begin
        s_axis_tvalid = sent < frames * IN_BEATS && random[7:0] >= 8'd85;
        s_axis_tdata = s_axis_tvalid ? beats[sent] : {IN{1'bx}};
        s_axis_tlast = s_axis_tvalid ? sent % IN_BEATS == IN_BEATS - 1 : 1'bx;
      end
      for (k = 0; k < STREAMS; k = k + 1) begin
        ready[k] = random[9:8] != 2'b00;
        random = next(random);
      end
      #4;
      if ((^{s_axis_tready, frame_error}) === 1'bx) fail("an unknown ready, valid or error");
      if (frame_error) fail("a whole frame raised frame_error");
      taken = s_axis_tvalid && s_axis_tready;
      given = 1'b0;
      expected = 0;
@CHECK@
      if (taken) sent = sent + 1;
      idle = taken || given || received == expected ? 0 : idle + 1;
      if (idle > PATIENCE) fail("nothing moves any more");
      after = received == expected ? after + 1 : 0;
      @(negedge clk);
    end
    $display("@NAME@: %0d of %0d codes of %0d frames exact, no unknown bit, %0d clocks", received - wrong, received,
             frames, $time / 10);
    if (wrong != 0) $fatal(1);
    $finish;
  end
endmodule
