// Terms to accumulators: decode, multiply exactly, shift, add. Sums of TFLite's ADD scale each term first; `pick`
// keeps the largest ordinal (or copies, with one term) instead of a sum. Of a product the first term is the factor of
// the second. One term per clock, no stalls.
module @NAME@_mac #(
    parameter CODE = 8, WEIGHT_CODE = 8, FORMAT = 1, WEIGHT_FORMAT = 1, SIGNIFICAND = 9, SHIFT = 1,
    parameter WEIGHT_SIGNIFICAND = 8, WEIGHT_SHIFT = 1, ACC = 32, ORDINAL = 8, COUNT = 8, TABLE = 8, HAS_ADD = 0
) (
    input wire clk,
    input wire rst,
    // a term, with its code and weight code
    input wire in_valid, in_covered, in_first, in_last, in_second,
    input wire [TABLE-1:0] in_channel,
    input wire [CODE-1:0] in_code,
    input wire [WEIGHT_CODE-1:0] in_weight,
    // constants of the operation
    input wire use_weights, is_add, is_pick,
    input wire [FORMAT-1:0] format_a, format_b,
    input wire [WEIGHT_FORMAT-1:0] format_w,
    input wire signed [SIGNIFICAND-1:0] zero_a, zero_b,
    input wire signed [WEIGHT_SIGNIFICAND-1:0] factor_a, factor_b,
    input wire [4:0] add_left, right_a, right_b,
    input wire [30:0] mantissa_a, mantissa_b,
    input wire signed [ORDINAL-1:0] fill,
    input wire is_product,
    input wire [CODE-1:0] index_mask,  // the bits of a code that index a table; 0: no table
    // where the accumulator starts: the bias arrives one clock after its channel
    output wire [TABLE-1:0] bias_channel,
    input wire signed [ACC-1:0] bias,
    // results
    output reg acc_valid,
    output reg signed [ACC-1:0] acc,
    output reg [COUNT-1:0] acc_count,  // terms inside the input
    output reg [TABLE-1:0] acc_channel,
    output reg pick_valid,
    output reg signed [ORDINAL-1:0] pick
);
  localparam PRODUCT = SIGNIFICAND + WEIGHT_SIGNIFICAND;  // never more than ACC

  wire signed [SIGNIFICAND-1:0] significand;
  wire [SHIFT-1:0] shift;
  wire signed [ORDINAL-1:0] ordinal;
  wire signed [WEIGHT_SIGNIFICAND-1:0] weight_significand;
  wire [WEIGHT_SHIFT-1:0] weight_shift;
  @NAME@_decode decode (
      .code(in_code), .format(in_second ? format_b : format_a),
      .significand(significand), .shift(shift), .ordinal(ordinal)
  );
  @NAME@_decode_weight decode_weight (
      .code(in_weight), .format(format_w), .significand(weight_significand), .shift(weight_shift)
  );

  reg b_valid, b_covered, b_first, b_last, b_second;
  reg [TABLE-1:0] b_channel;
  reg [CODE-1:0] b_index;
  reg signed [SIGNIFICAND-1:0] b_significand;
  reg [SHIFT-1:0] b_shift;
  reg signed [WEIGHT_SIGNIFICAND-1:0] b_weight;
  reg [WEIGHT_SHIFT-1:0] b_weight_shift;
  reg signed [ORDINAL-1:0] b_ordinal;

  reg c_valid, c_covered, c_first, c_last;
  reg [TABLE-1:0] c_channel;
  reg signed [PRODUCT-1:0] c_product;
  reg [SHIFT:0] c_shift;
  reg [WEIGHT_SHIFT-1:0] c_weight_shift;

  reg d_valid, d_covered, d_first, d_last;
  reg [TABLE-1:0] d_channel;
  reg signed [ACC-1:0] d_term;

  wire signed [ACC-1:0] c_extended = {{(ACC - PRODUCT) {c_product[PRODUCT-1]}}, c_product};
  assign bias_channel = c_channel;
  // A second factor meets the first one, which is one stage ahead of it.
  wire signed [SIGNIFICAND+WEIGHT_SIGNIFICAND-1:0] held = {{WEIGHT_SIGNIFICAND{b_significand[SIGNIFICAND-1]}}, b_significand};
  wire [SHIFT+WEIGHT_SHIFT-1:0] held_shift = {{WEIGHT_SHIFT{1'b0}}, b_shift};
  wire with_held = is_product && in_second;
  wire [CODE+TABLE-1:0] index = {{TABLE{1'b0}}, b_index};

  always @(posedge clk)
    if (rst) begin
      b_valid <= 1'b0;
      c_valid <= 1'b0;
      d_valid <= 1'b0;
    end else begin
      b_valid <= in_valid;
      c_valid <= b_valid && !is_add && !is_pick;
      d_valid <= c_valid;
    end

  always @(posedge clk) begin
    b_covered       <= in_covered;
    b_first        <= in_first;
    b_last         <= in_last;
    b_second       <= in_second;
    b_channel      <= in_channel;
    b_significand  <= in_covered ? significand - (in_second ? zero_b : zero_a) : {SIGNIFICAND{1'b0}};
    b_shift        <= shift;
    b_index        <= in_code & index_mask;
    b_weight       <= use_weights ? weight_significand : with_held ? held[WEIGHT_SIGNIFICAND-1:0]
        : in_second ? factor_b : factor_a;
    b_weight_shift <= use_weights ? weight_shift : with_held ? held_shift[WEIGHT_SHIFT-1:0] : {WEIGHT_SHIFT{1'b0}};
    b_ordinal      <= ordinal;
    c_covered       <= b_covered;
    c_first        <= b_first;
    c_last         <= b_last;
    c_channel      <= b_channel + index[TABLE-1:0];
    c_product      <= b_significand * b_weight;
    c_shift        <= {1'b0, b_shift};
    c_weight_shift <= b_weight_shift;
    d_covered       <= c_covered;
    d_first        <= c_first;
    d_last         <= c_last;
    d_channel      <= c_channel;
    d_term         <= (c_extended <<< c_shift) <<< c_weight_shift;
  end

  // The addends of an integer sum.
  wire scaled_valid, scaled_first, scaled_last;
  wire signed [33:0] scaled;
  generate
    if (HAS_ADD) begin : add
      wire signed [32:0] wide = {{(33 - SIGNIFICAND) {b_significand[SIGNIFICAND-1]}}, b_significand};
      @NAME@_scale #(.MANTISSA(31), .TAG(2)) scale (
          .clk(clk), .rst(rst), .in_valid(b_valid && is_add), .in_tag({b_first, b_last}), .in_value(wide <<< add_left),
          .in_mantissa(b_second ? mantissa_b : mantissa_a), .in_right(b_second ? right_b : right_a),
          .rounding(1'b1), .out_valid(scaled_valid), .out_tag({scaled_first, scaled_last}), .out_value(scaled)
      );
    end else begin : no_add
      assign {scaled_valid, scaled_first, scaled_last} = 3'b0;
      assign scaled = 34'sd0;
    end
  endgenerate

  wire term_valid = is_add ? scaled_valid : d_valid;
  wire term_first = is_add ? scaled_first : d_first;
  wire term_last = is_add ? scaled_last : d_last;
  wire signed [ACC+33:0] scaled_wide = {{ACC{scaled[33]}}, scaled};
  wire signed [ACC-1:0] term = is_add ? $signed(scaled_wide[ACC-1:0]) : d_term;
  wire signed [ACC-1:0] start = use_weights ? bias : {ACC{1'b0}};
  wire [COUNT-1:0] one = {{(COUNT - 1) {1'b0}}, d_covered};

  always @(posedge clk)
    if (rst) acc_valid <= 1'b0;
    else acc_valid <= term_valid && term_last;

  always @(posedge clk)
    if (term_valid) begin
      acc         <= (term_first ? start : acc) + term;
      acc_count   <= term_first ? one : acc_count + one;
      acc_channel <= d_channel;
    end

  reg seen;
  always @(posedge clk)
    if (rst) pick_valid <= 1'b0;
    else pick_valid <= b_valid && is_pick && b_last;

  always @(posedge clk)
    if (b_valid) begin
      if (b_covered) pick <= !b_first && seen && pick > b_ordinal ? pick : b_ordinal;
      else if (b_first) pick <= fill;
      seen <= b_covered || (seen && !b_first);
    end
endmodule
