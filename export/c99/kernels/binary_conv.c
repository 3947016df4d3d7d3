/* A binary convolution with KERNEL_ROWS rows of SPAN bytes below its window, pixel by pixel: bits in, bits out, and
   values where a shortcut or the mean needs them. */
static void NAME(const struct binary_conv *c, const uint8_t *x_bits, const float *x, uint8_t *y_bits, float *y,
                 uint32_t *patch, int32_t *sums, float *values)
{
    const int32_t pixel = (c->channels + 7) / 8, out_pixel = (c->outputs + 7) / 8, pitch = c->columns * pixel;
    const int32_t terms = c->kernel_rows * c->kernel_columns * c->channels;
    int32_t out_row, out_column, ky;
    memset(patch, 0, WORDS * sizeof *patch);
    for (out_row = 0; out_row < c->out_rows; out_row++) {
        for (out_column = 0; out_column < c->out_columns; out_column++) {
            const int32_t row = out_row * c->row_stride - c->top, column = out_column * c->column_stride - c->left;
            if (row >= 0 && column >= 0 && row + KERNEL_ROWS <= c->rows && column + c->kernel_columns <= c->columns) {
                const uint8_t *from = x_bits + row * pitch + column * pixel;
                for (ky = 0; ky < KERNEL_ROWS; ky++, from += pitch) {
                    memcpy((uint8_t *)patch + ky * SPAN, from, SPAN);
                }
            } else {
                binary_patch(c, x_bits, row, column, (uint8_t *)patch);
            }
            SUMS(patch, c->weight, c->outputs, terms, sums);
            if (c->border != NULL && c->row_kind[out_row] + c->column_kind[out_column] > 0) {
                const int32_t kind = c->row_kind[out_row] * c->column_kinds + c->column_kind[out_column] - 1;
                binary_border(c->border + kind * c->outputs, c->outputs, sums);
            }
            TAP(c->step, sums, c->outputs * 4);
            if (c->least != NULL) {
                binary_reach(sums, c->least, c->outputs, y_bits);
                y_bits += out_pixel;
            } else {
                float *const made = y != NULL ? y : values;
                const float *shortcut = values;
                if (c->skip && c->row_stride * c->column_stride == 1) {
                    shortcut = x + (out_row * c->columns + out_column) * c->channels;
                } else if (c->skip) {
                    binary_average(c, x, out_row, out_column, values);
                }
                binary_affine(c, sums, shortcut, made);
                if (y_bits != NULL) {
                    binary_signs(made, c->outputs, y_bits);
                    y_bits += out_pixel;
                }
                y = y == NULL ? NULL : y + c->outputs;
            }
        }
    }
}
