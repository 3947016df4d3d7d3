/* Bring the bits below a window side by side and return how many taps lie inside the image. Others become the sign
   around it; where that is 0, `inside` tells them apart. */
static inline int32_t NAME(const struct binary_conv *c, const uint8_t *bits, int32_t row, int32_t column,
                           uint8_t *patch, uint8_t *inside)
{
    const int32_t pixel = (c->channels + 7) / 8, span = c->kernel_columns * pixel, unused = 8 * pixel - c->channels;
    const int32_t beyond = column + c->kernel_columns - c->columns;
    const int32_t first = column < 0 ? -column : 0, last = c->kernel_columns - (beyond > 0 ? beyond : 0);
    int32_t ky, i, taps = 0;
    memset(inside, 0, (size_t)(c->kernel_rows * span));
    memset(patch, c->pad > 0 ? 0xFF : 0, (size_t)(c->kernel_rows * span));
    if (c->pad > 0 && unused > 0) {
        for (i = pixel - 1; i < c->kernel_rows * span; i += pixel) {
            patch[i] = (uint8_t)(0xFFu >> unused);
        }
    }
    for (ky = 0; ky < c->kernel_rows; ky++) {
        if (row + ky >= 0 && row + ky < c->rows && first < last) {
            const size_t size = (size_t)((last - first) * pixel);
            const int32_t at = ky * span + first * pixel;
            memcpy(patch + at, bits + ((row + ky) * c->columns + column + first) * pixel, size);
            memset(inside + at, 0xFF, size);
            taps += last - first;
        }
    }
    return c->pad != 0 ? c->kernel_rows * c->kernel_columns : taps;
}
