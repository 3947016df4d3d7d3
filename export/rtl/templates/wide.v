// acc * mantissa * 2^exponent rounded to the nearest value of a minifloat, halves to even: ordinals, saturated.
// The product P is exact. Its leading one gives the step of the grid, 2^step units; step - exponent bits are dropped.
module @NAME@_wide #(
    parameter ACC = 32, MANTISSA = 15, EXPONENT = 8, ORDINAL = 8
) (
    input wire clk,
    input wire rst,
    input wire in_valid,
    input wire signed [ACC-1:0] in_acc,
    input wire [MANTISSA-1:0] in_mantissa,
    input wire signed [EXPONENT-1:0] in_exponent,
    input wire [2:0] mantissa_bits,
    input wire signed [ORDINAL-1:0] max_ordinal,
    output reg out_valid,
    output reg signed [ORDINAL-1:0] out_ordinal
);
  localparam PRODUCT = ACC + MANTISSA;
  localparam S = EXPONENT + 18;  // bits of steps and drops, signed

  reg [5:0] valid;
  reg a_sign, b_sign, c_sign, d_sign, e_sign, f_sign;
  reg [ACC-1:0] a_magnitude;
  reg [MANTISSA-1:0] a_mantissa;
  reg signed [EXPONENT-1:0] a_exponent, b_exponent, c_exponent, d_exponent;
  reg [PRODUCT-1:0] b_product, c_product, d_product, e_shifted;
  reg [6:0] d_length;
  reg signed [S-1:0] e_step, f_step;
  reg e_sticky;
  reg [3:0] e_left, f_left;
  reg [8:0] f_rounded;

  // Bit length of the product by halving: c_length[k] is whether the upper half of what is left holds a one.
  reg [127:0] field;
  reg [6:0] length;
  always @(*) begin
    field = {{(128 - PRODUCT) {1'b0}}, c_product};
    length = 7'd0;
    if (|field[127:64]) begin length = length | 7'd64; field = field >> 64; end
    if (|field[63:32]) begin length = length | 7'd32; field = field >> 32; end
    if (|field[31:16]) begin length = length | 7'd16; field = field >> 16; end
    if (|field[15:8]) begin length = length | 7'd8; field = field >> 8; end
    if (|field[7:4]) begin length = length | 7'd4; field = field >> 4; end
    if (|field[3:2]) begin length = length | 7'd2; field = field >> 2; end
    if (field[1]) length = length | 7'd1;
    if (|c_product) length = length + 7'd1;
  end

  wire signed [S-1:0] d_exponent_wide = {{18{d_exponent[EXPONENT-1]}}, d_exponent};
  wire signed [S-1:0] d_length_wide = {{(S - 7) {1'b0}}, d_length};
  wire signed [S-1:0] bits_wide = {{(S - 3) {1'b0}}, mantissa_bits};
  wire signed [S-1:0] one = {{(S - 1) {1'b0}}, 1'b1};
  wire signed [S-1:0] raw_step = d_length_wide - one + d_exponent_wide - bits_wide;
  wire signed [S-1:0] step = raw_step[S-1] || d_length == 7'd0 ? {S{1'b0}} : raw_step;
  wire signed [S-1:0] drop = step - d_exponent_wide;
  wire rounds = !drop[S-1] && |drop;  // drop > 0
  wire signed [S-1:0] guard_shift = drop - one;
  wire [6:0] cut = |guard_shift[S-1:7] ? 7'd127 : guard_shift[6:0];
  wire signed [S-1:0] left = -drop;
  // With a bit to round: the kept bits and, lowest, the guard bit. Without: the product and a guard of 0.
  wire [PRODUCT-1:0] shifted = rounds ? d_product >> cut : {d_product[PRODUCT-2:0], 1'b0};
  wire [PRODUCT-1:0] below = d_product & ~({PRODUCT{1'b1}} << cut);

  wire e_up = e_shifted[0] && (e_sticky || e_shifted[1]);
  wire [8:0] e_kept = e_shifted[9:1];
  wire [8:0] f_whole = f_rounded << f_left;
  wire [23:0] max_wide = {{(24 - ORDINAL) {1'b0}}, max_ordinal};
  // A step beyond every ordinal saturates; it is cut before the shift can overflow.
  wire signed [S-1:0] most = {{(S - ORDINAL) {1'b0}}, max_ordinal} + one;
  wire [23:0] f_cut = f_step > most ? max_wide + 24'd1 : {16'b0, f_step[7:0]};
  wire [23:0] f_magnitude = (f_cut << mantissa_bits) + {15'b0, f_whole};
  wire [23:0] f_saturated = f_magnitude > max_wide ? max_wide : f_magnitude;

  always @(posedge clk)
    if (rst) begin
      valid     <= 6'd0;
      out_valid <= 1'b0;
    end else begin
      valid     <= {valid[4:0], in_valid};
      out_valid <= valid[5];
    end

  always @(posedge clk) begin
    a_sign      <= in_acc[ACC-1];
    a_magnitude <= in_acc[ACC-1] ? -in_acc : in_acc;
    a_mantissa  <= in_mantissa;
    a_exponent  <= in_exponent;
    b_sign      <= a_sign;
    b_product   <= {{MANTISSA{1'b0}}, a_magnitude} * {{ACC{1'b0}}, a_mantissa};
    b_exponent  <= a_exponent;
    c_sign      <= b_sign;
    c_product   <= b_product;
    c_exponent  <= b_exponent;
    d_sign      <= c_sign;
    d_product   <= c_product;
    d_exponent  <= c_exponent;
    d_length    <= length;
    e_sign      <= d_sign;
    e_shifted   <= shifted;
    e_sticky    <= rounds && |below;
    e_left      <= drop[S-1] ? left[3:0] : 4'd0;
    e_step      <= step;
    f_sign      <= e_sign;
    f_step      <= e_step;
    f_left      <= e_left;
    f_rounded   <= e_kept + {8'b0, e_up};
    out_ordinal <= f_sign ? -$signed(f_saturated[ORDINAL-1:0]) : $signed(f_saturated[ORDINAL-1:0]);
  end
endmodule
