// @TITLE@
//
// AXI-Stream in: one code per beat, tensor '@INPUT@' @IN_SHAPE@ (@IN_FORMAT@) in C order, tlast on beat @IN_LAST@. A frame whose
// tlast comes early or late is dropped whole and frame_error is high for one clock.
// AXI-Stream out: one code per beat, tensor '@OUTPUT@' @OUT_SHAPE@ (@OUT_FORMAT@) in C order, tlast on beat @OUT_LAST@.
// Integer codes are two's complement, sign-extended to the stream's bytes; minifloat codes are bit patterns.
// One frame at a time, one multiply-accumulate per clock; @CYCLES@ clocks from the first beat in to the last beat
// out when neither side waits. Reset is synchronous, active high. Read-only memories are loaded from @FILES@.
module @NAME@ (
    input wire clk,
    input wire rst,
    input wire [@IN_TOP@:0] s_axis_tdata,
    input wire s_axis_tvalid,
    output wire s_axis_tready,
    input wire s_axis_tlast,
    output reg [@OUT_TOP@:0] m_axis_tdata,
    output reg m_axis_tvalid,
    input wire m_axis_tready,
    output reg m_axis_tlast,
`ifdef EDGEMILL_TAP
    output wire tap_valid,  // a code is written: to which address, by which step (0: the input, k: step k - 1)
    output wire [15:0] tap_step,
    output wire [31:0] tap_address,
    output wire [15:0] tap_code,
`endif
    output reg frame_error
);
@PARAMETERS@

  // Constants of the current operation.
@DECLARATIONS@

  localparam LOAD = 3'd0, FETCH = 3'd1, START = 3'd2, RUN = 3'd3, DRAIN = 3'd4, STORE = 3'd5;
  reg [2:0] state;
  reg [OPERATION-1:0] operation;
  wire finished;  // the last code of the operation is being written
  wire stored;    // the last beat is being taken

  always @(posedge clk)
    if (state == FETCH)
      case (operation)
@CASES@
      endcase

  // Frames in.
  reg [ADDRESS-1:0] beat;
  reg skip;
  wire accept = s_axis_tvalid && s_axis_tready;
  wire end_of_frame = beat == INPUT_LAST;
  wire complete = accept && s_axis_tlast && end_of_frame && !skip;
  assign s_axis_tready = state == LOAD;

  always @(posedge clk)
    if (rst) begin
      beat <= {ADDRESS{1'b0}};
      skip <= 1'b0;
      frame_error <= 1'b0;
    end else begin
      frame_error <= accept && !skip && s_axis_tlast != end_of_frame;
      if (accept) begin
        beat <= s_axis_tlast || end_of_frame ? {ADDRESS{1'b0}} : beat + 1'b1;
        skip <= !s_axis_tlast && (skip || end_of_frame);
      end
    end

  // Operations one after the other.
  wire done;
  always @(posedge clk)
    if (rst) begin
      state <= LOAD;
      operation <= {OPERATION{1'b0}};
    end else
      case (state)
        LOAD: if (complete) state <= FETCH;
        FETCH: state <= START;
        START: state <= RUN;
        RUN: if (done) state <= DRAIN;
        DRAIN:
        if (finished) begin
          operation <= operation == OPERATION_LAST ? {OPERATION{1'b0}} : operation + 1'b1;
          state <= operation == OPERATION_LAST ? STORE : FETCH;
        end
        default: if (stored) state <= LOAD;
      endcase

  // Walk.
  wire [ADDRESS-1:0] term_address;
  wire [WEIGHT_ADDRESS-1:0] weight_address;
  wire [TABLE_ADDRESS-1:0] channel;
  wire covered, second, first, last;
  wire run = state == RUN;
  @NAME@_nest #(
      .G(LOOP_G), .O(LOOP_O), .Y(LOOP_Y), .X(LOOP_X), .C(LOOP_C), .H(LOOP_H), .W(LOOP_W),
      .ADDRESS(ADDRESS), .POSITION(POSITION), .WEIGHT(WEIGHT_ADDRESS), .TABLE(TABLE_ADDRESS)
  ) nest (
      .clk(clk), .start(state == START), .run(run),
      .last_g(last_g), .last_o(last_o), .last_y(last_y), .last_x(last_x), .last_c(last_c), .last_h(last_h),
      .last_w(last_w), .read_base(read_base), .step_g(step_g), .step_o(step_o), .step_y(step_y), .step_x(step_x),
      .step_c(step_c), .step_h(step_h), .step_w(step_w), .checked(checked),
      .g_origin(g_origin), .g_stride(g_stride), .g_size(g_size),
      .y_origin(y_origin), .y_stride(y_stride), .y_dilation(y_dilation), .y_size(y_size),
      .x_origin(x_origin), .x_stride(x_stride), .x_dilation(x_dilation), .x_size(x_size),
      .weight_base(weight_base), .weight_rewind(weight_rewind), .table_base(table_base), .per_channel(per_channel),
      .address(term_address), .weight(weight_address), .channel(channel),
      .covered(covered), .second(second), .first(first), .last(last), .done(done)
  );

  // Memories.
  wire written;
  wire [CODE-1:0] written_code;
  reg [ADDRESS-1:0] write_address;
  reg [ADDRESS-1:0] read_at;
  wire move;  // frames out: the pipeline behind the memory goes on
  wire [CODE-1:0] code;
  wire [WEIGHT_CODE-1:0] weight_code;
  wire [CODE-1:0] loaded_code;
  wire [ADDRESS-1:0] load_address = INPUT_BASE + beat;
  @NAME@_load load (.data(s_axis_tdata), .code(loaded_code));
  @NAME@_ram #(.WIDTH(CODE), .DEPTH(WORDS), .ADDRESS(ADDRESS)) activations (
      .clk(clk), .write(written || (accept && !skip)),
      .write_address(state == LOAD ? load_address : write_address),
      .write_data(state == LOAD ? loaded_code : written_code),
      .read(state == STORE ? move : 1'b1), .read_address(state == STORE ? read_at : term_address), .read_data(code)
  );
  @NAME@_rom #(.WIDTH(WEIGHT_CODE), .DEPTH(WEIGHT_WORDS), .ADDRESS(WEIGHT_ADDRESS), .FILE("@NAME@_weights.mem")) weights (
      .clk(clk), .address(weight_address), .data(weight_code)
  );

  // Accumulate.
  reg term_valid, term_covered, term_second, term_first, term_last;
  reg [TABLE_ADDRESS-1:0] term_channel;
  always @(posedge clk) begin
    term_valid   <= run && !rst;
    term_covered  <= covered;
    term_second  <= second;
    term_first   <= first;
    term_last    <= last;
    term_channel <= channel;
  end

  wire [TABLE_ADDRESS-1:0] bias_channel, acc_channel;
  wire signed [ACC-1:0] bias, acc;
  wire acc_valid, pick_valid;
  wire [COUNT-1:0] acc_count;
  wire signed [ORDINAL-1:0] pick;
  @NAME@_rom #(.WIDTH(ACC), .DEPTH(TABLE_WORDS), .ADDRESS(TABLE_ADDRESS), .FILE("@NAME@_bias.mem")) biases (
      .clk(clk), .address(bias_channel), .data(bias)
  );
  @NAME@_mac #(
      .CODE(CODE), .WEIGHT_CODE(WEIGHT_CODE), .FORMAT(FORMAT), .WEIGHT_FORMAT(WEIGHT_FORMAT),
      .SIGNIFICAND(SIGNIFICAND), .SHIFT(SHIFT), .WEIGHT_SIGNIFICAND(WEIGHT_SIGNIFICAND), .WEIGHT_SHIFT(WEIGHT_SHIFT),
      .ACC(ACC), .ORDINAL(ORDINAL), .COUNT(COUNT), .TABLE(TABLE_ADDRESS), .HAS_ADD(HAS_ADD)
  ) mac (
      .clk(clk), .rst(rst), .in_valid(term_valid), .in_covered(term_covered), .in_first(term_first),
      .in_last(term_last), .in_second(term_second), .in_channel(term_channel), .in_code(code),
      .in_weight(weight_code), .use_weights(use_weights), .is_add(is_add), .is_pick(is_pick),
      .format_a(format_a), .format_b(format_b), .format_w(format_w), .zero_a(zero_a), .zero_b(zero_b),
      .factor_a(factor_a), .factor_b(factor_b), .add_left(add_left), .right_a(right_a), .right_b(right_b),
      .mantissa_a(mantissa_a), .mantissa_b(mantissa_b), .fill(fill), .is_product(is_product), .index_mask(index_mask),
      .bias_channel(bias_channel), .bias(bias),
      .acc_valid(acc_valid), .acc(acc), .acc_count(acc_count), .acc_channel(acc_channel),
      .pick_valid(pick_valid), .pick(pick)
  );

  // Requantise: the multiplier is that of the channel, or that of the count of terms.
  wire [TABLE_ADDRESS+COUNT-1:0] count_wide = {{TABLE_ADDRESS{1'b0}}, acc_count};
  wire [TABLE_ADDRESS-1:0] entry = by_count ? table_base + count_wide[TABLE_ADDRESS-1:0] - 1'b1 : acc_channel;
  wire [EXPONENT+MANTISSA-1:0] multiplier;
  @NAME@_rom #(
      .WIDTH(EXPONENT + MANTISSA), .DEPTH(TABLE_WORDS), .ADDRESS(TABLE_ADDRESS), .FILE("@NAME@_scale.mem")
  ) multipliers (.clk(clk), .address(entry), .data(multiplier));
  reg sum_valid;
  reg signed [ACC-1:0] sum;
  reg [COUNT-1:0] sum_count;
  always @(posedge clk) begin
    sum_valid <= acc_valid && !rst;
    sum       <= acc;
    sum_count <= acc_count;
  end
  // The bias is read one clock after its channel: when a picked code is clamped, it is that code's own limit. In a
  // table the channel is the code itself, and the limit of the largest code is the entry.
  wire signed [ORDINAL-1:0] limit = limited ? bias[ORDINAL-1:0] : out_high;
  @NAME@_requantise #(
      .ACC(ACC), .MANTISSA(MANTISSA), .EXPONENT(EXPONENT), .ORDINAL(ORDINAL), .COUNT(COUNT), .CODE(CODE),
      .HAS_SCALE(HAS_SCALE), .HAS_WIDE(HAS_WIDE)
  ) requantise (
      .clk(clk), .rst(rst), .sum_valid(sum_valid), .sum(sum), .sum_count(sum_count),
      .mantissa(multiplier[MANTISSA-1:0]), .exponent($signed(multiplier[EXPONENT+MANTISSA-1:MANTISSA])),
      .pick_valid(pick_valid), .pick(pick), .is_wide(is_wide), .is_divide(is_divide), .is_pick(is_pick),
      .zero(out_zero), .low(out_low), .high(limit), .minifloat(out_minifloat), .sign_bit(out_sign),
      .mantissa_bits(out_mantissa), .max_ordinal(out_max), .code_valid(written), .code(written_code)
  );

  reg [PER_GROUP-1:0] output_index;
  assign finished = written && write_address == write_last;
  always @(posedge clk)
    if (state == START) begin
      write_address <= write_base;
      output_index  <= {PER_GROUP{1'b0}};
    end else if (written) begin
      write_address <= write_address + (output_index == outputs_per_group ? write_jump : {{(ADDRESS - 1) {1'b0}}, 1'b1});
      output_index  <= output_index == outputs_per_group ? {PER_GROUP{1'b0}} : output_index + 1'b1;
    end

  // Frames out: memory, then the output register; both hold while a beat is refused.
  reg [ADDRESS-1:0] send;
  reg pending, pending_last, sending;
  assign move = !m_axis_tvalid || m_axis_tready;
  assign stored = m_axis_tvalid && m_axis_tready && m_axis_tlast;
  wire [CODE-1:0] code_out = code;
  wire [@OUT_TOP@:0] stream_code;
  @NAME@_store store (.code(code_out), .data(stream_code));
  always @(*) read_at = OUTPUT_BASE + send;
  always @(posedge clk)
    if (rst || state != STORE || stored) begin
      send <= {ADDRESS{1'b0}};
      sending <= 1'b1;
      pending <= 1'b0;
      pending_last <= 1'b0;
      m_axis_tvalid <= 1'b0;
      m_axis_tlast <= 1'b0;
    end else if (move) begin
      if (sending) send <= send + 1'b1;
      if (send == OUTPUT_LAST) sending <= 1'b0;
      pending <= sending;
      pending_last <= send == OUTPUT_LAST;
      m_axis_tvalid <= pending;
      m_axis_tlast <= pending && pending_last;
      m_axis_tdata <= stream_code;
    end
@TAPS@
endmodule
