/* Average the window of the shortcut that belongs to an output pixel; at the end of an image only what is inside. */
static inline void NAME(const struct binary_conv *c, const float *x, int32_t row, int32_t column, float *values)
{
    const int32_t first_row = row * c->row_stride, first_column = column * c->column_stride;
    int32_t i, y, z, count = 0;
    for (i = 0; i < c->channels; i++) {
        values[i] = 0.0f;
    }
    for (y = first_row; y < first_row + c->row_stride && y < c->rows; y++) {
        for (z = first_column; z < first_column + c->column_stride && z < c->columns; z++, count++) {
            const float *const from = x + (y * c->columns + z) * c->channels;
            i = 0;
#if defined(BINARY_NEON)
            for (; i + 4 <= c->channels; i += 4) {
                vst1q_f32(values + i, vaddq_f32(vld1q_f32(values + i), vld1q_f32(from + i)));
            }
#endif
            for (; i < c->channels; i++) {
                values[i] += from[i];
            }
        }
    }
    for (i = 0; i < c->channels; i++) {
        values[i] /= (float)count;
    }
}
