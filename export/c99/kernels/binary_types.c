/* A binary convolution: sizes of its input, window and output, and its constants. `least` is NULL or what sums are
   compared with; else `gain` and `offset` make values of them, to which the input is added when `skip` is 1.
   `border` is NULL where windows never meet zeros around the image: else it has, for every kind of row and of column
   but the first of both, what to add to the sum of each output. */
struct binary_conv {
    int32_t step, rows, columns, channels, kernel_rows, kernel_columns, row_stride, column_stride, top, left, pad;
    int32_t out_rows, out_columns, outputs, skip, column_kinds;
    const uint8_t *row_kind, *column_kind;
    const int16_t *border;
    const uint32_t *weight;
    const int32_t *least;
    const float *gain, *offset;
};

/* The float convolution in front: weights of eight outputs take turns. */
struct binary_stem {
    int32_t rows, columns, channels, kernel_rows, kernel_columns, row_stride, column_stride, top, left;
    int32_t out_rows, out_columns, outputs;
    const float *weight, *offset;
};
