// Line buffer and window walk of @TITLE@: rows arrive word by word, windows leave one word a clock.
module @MODULE@_window (
    input wire clk,
    input wire rst,
    input wire in_valid,
    output wire in_ready,
    input wire [WIDTH-1:0] in_data,
    input wire room,      // the output takes another group
    output wire reserve,  // a group starts
    output reg [STEP-1:0] weight_at,  // two clocks before `data`
    output reg step_valid,            // with `data`
    output reg step_first,            // of a group
    output reg step_last,
    output @INSIDE_PORT@,  // not padding
    output reg [WIDTH-1:0] data
);
@PARAMETERS@

  // Rows in. A slot is free again a clock after its last word was read.
@IN_REGISTERS@
  reg [COUNT-1:0] held;       // whole rows in the buffer
  reg [COUNT-1:0] available;  // of these, rows the walk has not passed
  reg [COUNT-1:0] release_rows;
  wire take = in_valid && in_ready;
  wire row_in = take && word == ROW_LAST;
  assign in_ready = held != ROWS;

  (* no_rw_check *)@STYLE@
  reg [WIDTH-1:0] memory[0:DEPTH-1];
  always @(posedge clk) if (take) memory[write_at] <= in_data;
  always @(posedge clk)
    if (rst) begin
@IN_RESET@
    end else if (take) begin
@IN_UPDATE@
    end

  // The walk: output row y and column x, group n (in its part p), kernel row h and column w, word c. The address of a
  // word is the sum of the slot of its row, of its column and of its place among the channels, modulo 2^ADDRESS.
  reg fresh;  // the next step is the first of a group
@REGISTERS@
@NEEDED@
  wire go = !fresh || (room && available >= needed);
  assign reserve = fresh && go;
@WIRES@

  always @(posedge clk)
    if (rst) begin
      fresh <= 1'b1;
@RESET@
    end else if (go) begin
      fresh <= end_h;
@UPDATE@
    end

  wire row_out = go && end_x;
  always @(posedge clk)
    if (rst) begin
      held <= {COUNT{1'b0}};
      available <= {COUNT{1'b0}};
      release_rows <= {COUNT{1'b0}};
    end else begin
      release_rows <= row_out ? freed : {COUNT{1'b0}};
      held <= held + {{(COUNT - 1) {1'b0}}, row_in} - release_rows;
      available <= available + {{(COUNT - 1) {1'b0}}, row_in} - (row_out ? freed : {COUNT{1'b0}});
    end

  // Three clocks from a step to its word: address, memory, register behind the padding.
  reg [STEP-1:0] step;
  reg [ADDRESS-1:0] address;
  reg [WIDTH-1:0] read;
  reg valid_1, first_1, last_1, valid_2, first_2, last_2;
@INSIDE_WIRES@
  always @(posedge clk)
    if (rst) step <= @STEP_FIRST@;
    else if (go) step <= @STEP_NEXT@;
  always @(posedge clk)
    if (rst) begin
      valid_1 <= 1'b0;
      valid_2 <= 1'b0;
      step_valid <= 1'b0;
    end else begin
      valid_1 <= go;
      valid_2 <= valid_1;
      step_valid <= valid_2;
    end
  always @(posedge clk) begin
    weight_at <= step;
    address <= @ADDRESS_OF_STEP@;
    first_1 <= fresh;
    last_1 <= end_h;@INSIDE_1@
    read <= memory[address];
    first_2 <= first_1;
    last_2 <= last_1;@INSIDE_2@
    data <= @WORD@;
    step_first <= first_2;
    step_last <= last_2;@INSIDE_3@
  end
endmodule
