// value * mantissa * 2^-(31 + right) in five clocks. With `rounding` as TFLite's MultiplyByQuantizedMultiplier: the
// product is rounded half up to 2^31, then the rest half away from zero. Without: the floor (value must not be negative).
module @NAME@_scale #(
    parameter MANTISSA = 31, TAG = 1
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    input wire [TAG-1:0] in_tag,
    input wire signed [32:0] in_value,
    input wire [MANTISSA-1:0] in_mantissa,
    input wire [4:0] in_right,
    input wire rounding,
    output reg out_valid,
    output reg [TAG-1:0] out_tag,
    output reg signed [33:0] out_value
);
  localparam PRODUCT = 33 + MANTISSA + 1;

  reg a_valid, b_valid, c_valid, d_valid;
  reg [TAG-1:0] a_tag, b_tag, c_tag, d_tag;
  reg [4:0] a_right, b_right, c_right, d_right;
  reg signed [32:0] a_value;
  reg signed [MANTISSA:0] a_mantissa;
  reg signed [PRODUCT-1:0] b_product, c_product;
  reg signed [33:0] d_high;

  wire signed [PRODUCT-1:0] half = rounding ? {{(PRODUCT - 31) {1'b0}}, 1'b1, 30'b0} : {PRODUCT{1'b0}};
  wire signed [PRODUCT-1:0] rounded = c_product + half;
  wire signed [PRODUCT+33:0] extended = {{34{rounded[PRODUCT-1]}}, rounded};
  wire [33:0] mask = ~({34{1'b1}} << d_right);
  wire [33:0] rest = d_high & mask;
  wire [33:0] threshold = (mask >> 1) + {33'b0, d_high[33]};
  wire signed [33:0] shifted = d_high >>> d_right;
  wire signed [33:0] up = {33'b0, rounding && rest > threshold};

  always @(posedge clk)
    if (rst) begin
      a_valid   <= 1'b0;
      b_valid   <= 1'b0;
      c_valid   <= 1'b0;
      d_valid   <= 1'b0;
      out_valid <= 1'b0;
    end else begin
      a_valid   <= in_valid;
      b_valid   <= a_valid;
      c_valid   <= b_valid;
      d_valid   <= c_valid;
      out_valid <= d_valid;
    end

  always @(posedge clk) begin
    a_tag      <= in_tag;
    a_value    <= in_value;
    a_mantissa <= {1'b0, in_mantissa};
    a_right    <= in_right;
    b_tag      <= a_tag;
    b_product  <= a_value * a_mantissa;
    b_right    <= a_right;
    c_tag      <= b_tag;
    c_product  <= b_product;
    c_right    <= b_right;
    d_tag      <= c_tag;
    d_high     <= extended[64:31];
    d_right    <= c_right;
    out_tag    <= d_tag;
    out_value  <= shifted + up;
  end
endmodule
