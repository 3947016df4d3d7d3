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
    output reg step_inside,  // not padding
    output reg [WIDTH-1:0] data
);
@PARAMETERS@

  // Rows in. A slot is free again a clock after its last word was read.
  reg [WORD-1:0] word;
  reg [ADDRESS-1:0] write_at;
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
      word <= {WORD{1'b0}};
      write_at <= {ADDRESS{1'b0}};
    end else if (take) begin
      word <= row_in ? {WORD{1'b0}} : word + 1'b1;
      write_at <= write_at == ADDRESS_LAST ? {ADDRESS{1'b0}} : write_at + 1'b1;
    end

  // The walk: output row y and column x, group n (in its part p), kernel row h and column w, word c.
  reg fresh;  // the next step is the first of a group
  reg [Y-1:0] y;
  reg [X-1:0] x;
  reg [N-1:0] n;
  reg [P-1:0] p;
  reg [H-1:0] h;
  reg [W-1:0] w;
  reg [C-1:0] c;
  reg [COUNT-1:0] needed, freed;
  always @(*)
    case (y)
@ROWS@
    endcase

  wire go = !fresh || (room && available >= needed);
  wire end_c = c == C_LAST;
  wire end_w = end_c && w == W_LAST;
  wire end_h = end_w && h == H_LAST;
  wire end_p = end_h && p == P_LAST;
  wire end_n = end_h && n == N_LAST;
  wire end_x = end_n && x == X_LAST;
  wire end_y = end_x && y == Y_LAST;
  assign reserve = fresh && go;

  always @(posedge clk)
    if (rst) begin
      fresh <= 1'b1;
      c <= {C{1'b0}};
      w <= {W{1'b0}};
      h <= {H{1'b0}};
      p <= {P{1'b0}};
      n <= {N{1'b0}};
      x <= {X{1'b0}};
      y <= {Y{1'b0}};
    end else if (go) begin
      fresh <= end_h;
      c <= end_c ? {C{1'b0}} : c + 1'b1;
      if (end_c) w <= end_w ? {W{1'b0}} : w + 1'b1;
      if (end_w) h <= end_h ? {H{1'b0}} : h + 1'b1;
      if (end_h) p <= end_p || end_n ? {P{1'b0}} : p + 1'b1;
      if (end_h) n <= end_n ? {N{1'b0}} : n + 1'b1;
      if (end_n) x <= end_x ? {X{1'b0}} : x + 1'b1;
      if (end_x) y <= end_y ? {Y{1'b0}} : y + 1'b1;
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

  // Addresses, as sums of the slot of a row, of a column and of a word; all modulo 2^ADDRESS.
  reg [ADDRESS-1:0] slot, top_slot, frame_slot, column, pixel, channel, part;
  reg signed [ROW-1:0] row, top_row;
  reg signed [COL-1:0] col, pixel_col;
@SLOTS@
  wire [ADDRESS-1:0] next_top = end_y ? next_frame : next_row;
  wire [ADDRESS-1:0] next_pixel = end_x ? PIXEL_FIRST : pixel + PIXEL_STEP;
  wire [ADDRESS-1:0] next_part = end_n ? {ADDRESS{1'b0}} : end_p ? part + PART_STEP : part;
  wire signed [ROW-1:0] next_top_row = end_y ? ROW_FIRST : top_row + ROW_STRIDE;
  wire signed [COL-1:0] next_pixel_col = end_x ? COL_FIRST : pixel_col + COL_STRIDE;

  always @(posedge clk)
    if (rst) begin
      slot <= SLOT_FIRST;
      top_slot <= SLOT_FIRST;
      frame_slot <= SLOT_FIRST;
      row <= ROW_FIRST;
      top_row <= ROW_FIRST;
      column <= PIXEL_FIRST;
      pixel <= PIXEL_FIRST;
      col <= COL_FIRST;
      pixel_col <= COL_FIRST;
      channel <= {ADDRESS{1'b0}};
      part <= {ADDRESS{1'b0}};
    end else if (go) begin
      channel <= !end_c ? channel + 1'b1 : end_h ? next_part : part;
      if (end_h) part <= next_part;
      if (end_c) column <= !end_w ? column + COLUMN_STEP : end_n ? next_pixel : pixel;
      if (end_c) col <= !end_w ? col + COL_DILATION : end_n ? next_pixel_col : pixel_col;
      if (end_n) pixel <= next_pixel;
      if (end_n) pixel_col <= next_pixel_col;
      if (end_w) slot <= !end_h ? next_kernel : end_x ? next_top : top_slot;
      if (end_w) row <= !end_h ? row + ROW_DILATION : end_x ? next_top_row : top_row;
      if (end_x) top_slot <= next_top;
      if (end_x) top_row <= next_top_row;
      if (end_y) frame_slot <= next_frame;
    end

  // Three clocks from a step to its word: address, memory, register behind the padding.
  reg [STEP-1:0] step;
  reg [ADDRESS-1:0] address;
  reg [WIDTH-1:0] read;
  reg valid_1, first_1, last_1, inside_1, valid_2, first_2, last_2, inside_2;
  always @(posedge clk)
    if (rst) step <= {STEP{1'b0}};
    else if (go) step <= end_n ? {STEP{1'b0}} : step + 1'b1;
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
    address <= slot + column + channel;
    first_1 <= fresh;
    last_1 <= end_h;
    inside_1 <= !row[ROW-1] && row < ROW_END && !col[COL-1] && col < COL_END;
    read <= memory[address];
    first_2 <= first_1;
    last_2 <= last_1;
    inside_2 <= inside_1;
    data <= inside_2 ? read : FILL;
    step_first <= first_2;
    step_last <= last_2;
    step_inside <= inside_2;
  end
endmodule
