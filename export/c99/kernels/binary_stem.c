/* The float convolution in front, pixel by pixel, eight outputs at a time, whose weights take turns by tap; every sum
   in the order channels, rows, columns. Taps outside the image are left out: they would add a zero, which changes no
   sum. */
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
            float *const made = y != NULL ? y : values;
            for (output = 0; output < s->outputs; output += 8) {
                const float *weight = s->weight + output * s->channels * taps;
#if defined(BINARY_NEON)
                float32x4_t first = vdupq_n_f32(0.0f), second = first;
#else
                float a = 0.0f, b = 0.0f, c = 0.0f, d = 0.0f, e = 0.0f, f = 0.0f, g = 0.0f, h = 0.0f;
#endif
                for (channel = 0; channel < s->channels; channel++, weight += 8 * taps) {
                    for (ky = top; ky < bottom; ky++) {
                        const float *from = x + ((row + ky) * s->columns + column + left) * s->channels + channel;
                        const float *w = weight + 8 * (ky * s->kernel_columns + left);
                        for (kx = left; kx < right; kx++, from += s->channels, w += 8) {
                            const float value = *from;
#if defined(BINARY_NEON)
                            first = vaddq_f32(first, vmulq_n_f32(vld1q_f32(w), value));
                            second = vaddq_f32(second, vmulq_n_f32(vld1q_f32(w + 4), value));
#else
                            a += value * w[0];
                            b += value * w[1];
                            c += value * w[2];
                            d += value * w[3];
                            e += value * w[4];
                            f += value * w[5];
                            g += value * w[6];
                            h += value * w[7];
#endif
                        }
                    }
                }
#if defined(BINARY_NEON)
                vst1q_f32(values + output, first);
                vst1q_f32(values + output + 4, second);
#else
                values[output] = a;
                values[output + 1] = b;
                values[output + 2] = c;
                values[output + 3] = d;
                values[output + 4] = e;
                values[output + 5] = f;
                values[output + 6] = g;
                values[output + 7] = h;
#endif
            }
            for (i = 0; i < s->outputs; i++) {
                made[i] = binary_clip(values[i] + s->offset[i]);
            }
            if (y_bits != NULL) {
                binary_signs(made, s->outputs, y_bits);
                y_bits += out_pixel;
            }
            y = y == NULL ? NULL : y + s->outputs;
        }
    }
}
