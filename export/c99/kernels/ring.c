/* One output row of a depthwise convolution: the padded input rows it sees, in a ring, and what it does with them.
   Tap (i, j) of position n, channel c is rows[(first + i) % kernel_height * row_step + (n * stride + j * dilation) *
   channels + c]. */
struct ring {
    const int8_t *rows;
    int32_t row_step, first, kernel_height, kernel_width;
    int32_t stride, dilation, channels, count, zero, weight_zero;
};
