// Accumulators to codes by the rule of the operation, the zero point, the clamp, and the encoding of the format.
module @NAME@_requantise #(
    parameter ACC = 32, MANTISSA = 31, EXPONENT = 8, ORDINAL = 8, COUNT = 8, CODE = 8, HAS_SCALE = 0, HAS_WIDE = 0
) (
    input wire clk,
    input wire rst,
    input wire sum_valid,
    input wire signed [ACC-1:0] sum,
    input wire [COUNT-1:0] sum_count,
    input wire [MANTISSA-1:0] mantissa,
    input wire signed [EXPONENT-1:0] exponent,
    input wire pick_valid,
    input wire signed [ORDINAL-1:0] pick,
    input wire is_wide, is_divide, is_pick,
    input wire signed [ORDINAL-1:0] zero, low, high,
    input wire minifloat,
    input wire [4:0] sign_bit,
    input wire [2:0] mantissa_bits,
    input wire signed [ORDINAL-1:0] max_ordinal,
    output reg code_valid,
    output reg [CODE-1:0] code
);
  localparam WIDE = ORDINAL + 35;

  // Integers: a 31-bit multiplier with double rounding, or an exact division by the count.
  wire scaled_valid, scaled_sign;
  wire signed [33:0] scaled;
  generate
    if (HAS_SCALE) begin : scale
      wire signed [ACC+32:0] sum_wide = {{33{sum[ACC-1]}}, sum};
      wire signed [32:0] value = sum_wide[32:0];
      wire signed [COUNT+32:0] count_wide = {33'b0, sum_count};
      wire signed [32:0] half = $signed(count_wide[32:0]) >>> 1;
      wire signed [EXPONENT+4:0] exponent_wide = {{5{exponent[EXPONENT-1]}}, exponent};
      wire signed [EXPONENT+4:0] negated = -exponent_wide;
      wire [4:0] left = exponent[EXPONENT-1] ? 5'd0 : exponent_wide[4:0];
      wire [4:0] right = exponent[EXPONENT-1] ? negated[4:0] : 5'd0;
      wire signed [32:0] magnitude = value[32] ? -value : value;
      wire sign = is_divide && value[32];
      wire signed [32:0] operand = is_divide ? magnitude + half : value <<< left;
      @NAME@_scale #(.MANTISSA(MANTISSA), .TAG(1)) scale (
          .clk(clk), .rst(rst), .in_valid(sum_valid && !is_wide), .in_tag(sign), .in_value(operand),
          .in_mantissa(mantissa), .in_right(right), .rounding(!is_divide), .out_valid(scaled_valid),
          .out_tag(scaled_sign), .out_value(scaled)
      );
    end else begin : no_scale
      assign scaled_valid = 1'b0;
      assign scaled_sign = 1'b0;
      assign scaled = 34'sd0;
    end
  endgenerate

  // Minifloats: one rounding to nearest even on their own grid.
  wire rounded_valid;
  wire signed [ORDINAL-1:0] rounded;
  generate
    if (HAS_WIDE) begin : wide
      wire [MANTISSA+14:0] mantissa_wide = {15'b0, mantissa};
      @NAME@_wide #(.ACC(ACC), .MANTISSA(15), .EXPONENT(EXPONENT), .ORDINAL(ORDINAL)) wide (
          .clk(clk), .rst(rst), .in_valid(sum_valid && is_wide), .in_acc(sum), .in_mantissa(mantissa_wide[14:0]),
          .in_exponent(exponent), .mantissa_bits(mantissa_bits), .max_ordinal(max_ordinal),
          .out_valid(rounded_valid), .out_ordinal(rounded)
      );
    end else begin : no_wide
      assign rounded_valid = 1'b0;
      assign rounded = {ORDINAL{1'b0}};
    end
  endgenerate

  // What all rules share.
  wire signed [WIDE-1:0] rounded_wide = {{35{rounded[ORDINAL-1]}}, rounded};
  wire signed [WIDE-1:0] pick_wide = {{35{pick[ORDINAL-1]}}, pick};
  wire signed [WIDE-1:0] scaled_wide = {{(WIDE - 34) {scaled[33]}}, scaled};
  wire signed [WIDE-1:0] zero_wide = {{35{zero[ORDINAL-1]}}, zero};
  wire signed [WIDE-1:0] low_wide = {{35{low[ORDINAL-1]}}, low};
  wire signed [WIDE-1:0] high_wide = {{35{high[ORDINAL-1]}}, high};
  wire signed [WIDE-1:0] result = is_pick ? pick_wide
      : is_wide ? rounded_wide : (scaled_sign ? -scaled_wide : scaled_wide) + zero_wide;

  reg last_valid;
  reg signed [WIDE-1:0] last_result;
  wire signed [WIDE-1:0] raised = last_result < low_wide ? low_wide : last_result;
  wire signed [WIDE-1:0] clamped = raised > high_wide ? high_wide : raised;
  wire [ORDINAL-1:0] magnitude = clamped[WIDE-1] ? -clamped[ORDINAL-1:0] : clamped[ORDINAL-1:0];
  wire [ORDINAL+CODE-1:0] integer_code = {{CODE{clamped[ORDINAL-1]}}, clamped[ORDINAL-1:0]};
  wire [ORDINAL+CODE-1:0] minifloat_code = {{CODE{1'b0}}, magnitude}
      | ({{(ORDINAL + CODE - 1) {1'b0}}, clamped[WIDE-1]} << sign_bit);

  always @(posedge clk)
    if (rst) begin
      last_valid <= 1'b0;
      code_valid <= 1'b0;
    end else begin
      last_valid <= is_pick ? pick_valid : is_wide ? rounded_valid : scaled_valid;
      code_valid <= last_valid;
    end

  always @(posedge clk) begin
    last_result <= result;
    code        <= minifloat ? minifloat_code[CODE-1:0] : integer_code[CODE-1:0];
  end
endmodule
