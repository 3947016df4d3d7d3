  // The second input is a vector: it is kept, and used again for every pixel of the first.
  reg [@WIDTH@-1:0] vector[0:@BEATS@-1];
  reg [@BITS@-1:0] filled, pixel_at;
  reg [@PIXEL@-1:0] pixel;
  reg whole;
  assign b_ready = !whole;
  wire go = a_valid && whole && room;
  assign a_ready = whole && room;
  wire end_pixel = pixel_at == @BITS@'d@LAST@;
  wire end_frame = end_pixel && pixel == @PIXEL@'d@PIXEL_LAST@;
  wire [@WIDTH@-1:0] b_word = vector[pixel_at];
  always @(posedge clk) if (b_valid && b_ready) vector[filled] <= b_data;
  always @(posedge clk)
    if (rst) begin
      filled <= @BITS@'d0;
      pixel_at <= @BITS@'d0;
      pixel <= @PIXEL@'d0;
      whole <= 1'b0;
    end else begin
      if (b_valid && b_ready) filled <= filled == @BITS@'d@LAST@ ? @BITS@'d0 : filled + 1'b1;
      if (go) pixel_at <= end_pixel ? @BITS@'d0 : pixel_at + 1'b1;
      if (go && end_pixel) pixel <= end_frame ? @PIXEL@'d0 : pixel + 1'b1;
      whole <= whole ? !(go && end_frame) : b_valid && filled == @BITS@'d@LAST@;
    end
