/* Bring the bits below a window that reaches over a border side by side. Taps outside are +1 where `pad` is, else -1. */
static inline void NAME(const struct binary_conv *c, const uint8_t *bits, int32_t row, int32_t column, uint8_t *patch)
{
    const int32_t pixel = (c->channels + 7) / 8, span = c->kernel_columns * pixel, unused = 8 * pixel - c->channels;
    const int32_t beyond = column + c->kernel_columns - c->columns;
    const int32_t first = column < 0 ? -column : 0, last = c->kernel_columns - (beyond > 0 ? beyond : 0);
    int32_t ky, i;
    memset(patch, c->pad > 0 ? 0xFF : 0, (size_t)(c->kernel_rows * span));
    if (c->pad > 0 && unused > 0) {
        for (i = pixel - 1; i < c->kernel_rows * span; i += pixel) {
            patch[i] = (uint8_t)(0xFFu >> unused);
        }
    }
    for (ky = 0; ky < c->kernel_rows; ky++) {
        if (row + ky >= 0 && row + ky < c->rows && first < last) {
            memcpy(patch + ky * span + first * pixel, bits + ((row + ky) * c->columns + column + first) * pixel,
                   (size_t)((last - first) * pixel));
        }
    }
}
