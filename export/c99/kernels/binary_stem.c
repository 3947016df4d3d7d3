/* The float convolution in front, pixel by pixel, every sum in the order channels, rows, columns. Taps outside the
   image are left out: they would add a zero, which changes no sum. */
static void NAME(const struct binary_stem *s, const float *x, float *y, uint8_t *y_bits, float *values)
{
    const int32_t taps = s->kernel_rows * s->kernel_columns, out_pixel = (s->outputs + 7) / 8;
    int32_t out_row, out_column, output, channel, ky, kx, i;
    for (out_row = 0; out_row < s->out_rows; out_row++) {
        const int32_t row = out_row * s->row_stride - s->top;
        const int32_t top = row < 0 ? -row : 0;
        const int32_t bottom = row + s->kernel_rows > s->rows ? s->rows - row : s->kernel_rows;
        for (out_column = 0; out_column < s->out_columns; out_column++) {
            const int32_t column = out_column * s->column_stride - s->left;
            const int32_t left = column < 0 ? -column : 0;
            const int32_t right = column + s->kernel_columns > s->columns ? s->columns - column : s->kernel_columns;
            for (output = 0; output < s->outputs; output += 4) {
                const float *weight = s->weight + output * s->channels * taps;
                float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f;
                for (channel = 0; channel < s->channels; channel++, weight += 4 * taps) {
                    for (ky = top; ky < bottom; ky++) {
                        const float *from = x + ((row + ky) * s->columns + column + left) * s->channels + channel;
                        const float *w = weight + 4 * (ky * s->kernel_columns + left);
                        for (kx = left; kx < right; kx++, from += s->channels, w += 4) {
                            a += *from * w[0];
                            b += *from * w[1];
                            c += *from * w[2];
                            d += *from * w[3];
                        }
                    }
                }
                values[output] = a;
                values[output + 1] = b;
                values[output + 2] = c;
                values[output + 3] = d;
            }
            for (i = 0; i < s->outputs; i++) {
                values[i] = binary_clip(values[i] + s->offset[i]);
            }
            binary_put(values, s->outputs, y, y_bits);
            y_bits = y_bits == NULL ? NULL : y_bits + out_pixel;
            y = y == NULL ? NULL : y + s->outputs;
        }
    }
}
