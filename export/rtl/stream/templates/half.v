  // Input @PORT@: @SIZE@ codes a frame.
  (* no_rw_check *)
  reg [@WIDTH@-1:0] memory_@PORT@[0:@DEPTH@-1];
  reg [@BITS@-1:0] write_@PORT@;
  reg fill_@PORT@;
  reg [1:0] whole_@PORT@, held_@PORT@;  // halves to read, and halves not to write
  wire take_@PORT@ = @PREFIX@_valid && @PREFIX@_ready;
  wire end_@PORT@ = take_@PORT@ && write_@PORT@ == @BITS@'d@LAST@;
  assign @PREFIX@_ready = !held_@PORT@[fill_@PORT@];
  always @(posedge clk) if (take_@PORT@) memory_@PORT@[{fill_@PORT@, write_@PORT@}] <= @PREFIX@_data;
  always @(posedge clk)
    if (rst) begin
      write_@PORT@ <= @BITS@'d0;
      fill_@PORT@ <= 1'b0;
      whole_@PORT@ <= 2'b00;
      held_@PORT@ <= 2'b00;
    end else begin
      if (take_@PORT@) write_@PORT@ <= end_@PORT@ ? @BITS@'d0 : write_@PORT@ + 1'b1;
      if (end_@PORT@) fill_@PORT@ <= !fill_@PORT@;
      whole_@PORT@ <= (whole_@PORT@ | (end_@PORT@ ? 2'b01 << fill_@PORT@ : 2'b00)) & ~(leave ? 2'b01 << side : 2'b00);
      held_@PORT@ <= (held_@PORT@ | (end_@PORT@ ? 2'b01 << fill_@PORT@ : 2'b00)) & ~(freed ? 2'b01 << freed_side : 2'b00);
    end
