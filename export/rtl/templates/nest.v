// Seven nested counters that walk one operation, one term per clock, without a multiplier: every level adds its own
// precomputed step to the read address. Outputs describe the term of this clock.
module @NAME@_nest #(
    parameter G = 1, O = 1, Y = 1, X = 1, C = 1, H = 1, W = 1,  // counter widths
    parameter ADDRESS = 8, POSITION = 8, WEIGHT = 8, TABLE = 8
) (
    input wire clk,
    input wire start,  // load the bases
    input wire run,    // go to the next term
    input wire [G-1:0] last_g,
    input wire [O-1:0] last_o,
    input wire [Y-1:0] last_y,
    input wire [X-1:0] last_x,
    input wire [C-1:0] last_c,
    input wire [H-1:0] last_h,
    input wire [W-1:0] last_w,
    input wire [ADDRESS-1:0] read_base, step_g, step_o, step_y, step_x, step_c, step_h, step_w,
    input wire checked,  // terms may lie outside the input
    input wire signed [POSITION-1:0] g_origin, g_stride, g_size,
    input wire signed [POSITION-1:0] y_origin, y_stride, y_dilation, y_size,
    input wire signed [POSITION-1:0] x_origin, x_stride, x_dilation, x_size,
    input wire [WEIGHT-1:0] weight_base, weight_rewind,
    input wire [TABLE-1:0] table_base,
    input wire per_channel,
    output reg [ADDRESS-1:0] address,
    output reg [WEIGHT-1:0] weight,
    output reg [TABLE-1:0] channel,
    output wire covered,   // the term is inside the input
    output wire second,   // the term comes from an odd index of the channel loop
    output wire first,    // first term of an output
    output wire last,     // last term of an output
    output wire done      // last term of the operation
);
  reg [G-1:0] g;
  reg [O-1:0] o;
  reg [Y-1:0] y;
  reg [X-1:0] x;
  reg [C-1:0] c;
  reg [H-1:0] h;
  reg [W-1:0] w;
  reg signed [POSITION-1:0] g_at, y_at, x_at, y_in, x_in;

  wire end_w = w == last_w;
  wire end_h = end_w && h == last_h;
  wire end_c = end_h && c == last_c;
  wire end_x = end_c && x == last_x;
  wire end_y = end_x && y == last_y;
  wire end_o = end_y && o == last_o;
  wire signed [POSITION-1:0] row = y_at + y_in;
  wire signed [POSITION-1:0] column = x_at + x_in;

  assign first = w == {W{1'b0}} && h == {H{1'b0}} && c == {C{1'b0}};
  assign last = end_c;
  assign done = end_o && g == last_g;
  assign second = c[0];
  assign covered = !checked || (!g_at[POSITION-1] && g_at < g_size && !row[POSITION-1] && row < y_size
      && !column[POSITION-1] && column < x_size);

  always @(posedge clk)
    if (start) begin
      g <= {G{1'b0}};
      o <= {O{1'b0}};
      y <= {Y{1'b0}};
      x <= {X{1'b0}};
      c <= {C{1'b0}};
      h <= {H{1'b0}};
      w <= {W{1'b0}};
    end else if (run) begin
      w <= end_w ? {W{1'b0}} : w + 1'b1;
      if (end_w) h <= end_h ? {H{1'b0}} : h + 1'b1;
      if (end_h) c <= end_c ? {C{1'b0}} : c + 1'b1;
      if (end_c) x <= end_x ? {X{1'b0}} : x + 1'b1;
      if (end_x) y <= end_y ? {Y{1'b0}} : y + 1'b1;
      if (end_y) o <= end_o ? {O{1'b0}} : o + 1'b1;
      if (end_o) g <= g + 1'b1;
    end

  always @(posedge clk)
    if (start) address <= read_base;
    else if (run)
      address <= address + (!end_w ? step_w : !end_h ? step_h : !end_c ? step_c : !end_x ? step_x
          : !end_y ? step_y : !end_o ? step_o : step_g);

  always @(posedge clk)
    if (start) begin
      g_at <= g_origin;
      y_at <= y_origin;
      x_at <= x_origin;
      y_in <= {POSITION{1'b0}};
      x_in <= {POSITION{1'b0}};
    end else if (run) begin
      x_in <= end_w ? {POSITION{1'b0}} : x_in + x_dilation;
      if (end_w) y_in <= end_h ? {POSITION{1'b0}} : y_in + y_dilation;
      if (end_c) x_at <= end_x ? x_origin : x_at + x_stride;
      if (end_x) y_at <= end_y ? y_origin : y_at + y_stride;
      if (end_o) g_at <= g_at + g_stride;
    end

  // The weights of a channel are read again for each of its pixels.
  always @(posedge clk)
    if (start) begin
      weight  <= weight_base;
      channel <= table_base;
    end else if (run) begin
      weight <= end_c && !end_y ? weight - weight_rewind : weight + 1'b1;
      if (end_y && per_channel) channel <= channel + 1'b1;
    end
endmodule
