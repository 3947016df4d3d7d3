/* Depthwise convolution, one output channel per input channel, BLOCK channels at a time. `weight` is tap by channel. */
static void NAME(const X_T *restrict x, const W_T *restrict weight, const B_T *restrict bias, Y_T *restrict y,
                 const struct window *p, const struct requant *r)
{
    /* A local copy: codes are characters, so the compiler must think that storing one changes what `r` points to. */
    const struct requant rule = *r;
    const int32_t channels = p->channels, blocks = channels - channels % BLOCK;
    struct taps t;
    int32_t oy, ox, c, i, ky, kx;
    t.from_step = p->dilation_x * channels;
    t.row_step = p->dilation_y * p->width * channels;
    t.tap_step = channels;
    t.zero = p->zero;
    for (oy = 0; oy < p->out_height; oy++) {
        const int32_t top = oy * p->stride_y - p->pad_top;
        int32_t ky0, ky1;
        clip_window(top, p->height, p->kernel_height, p->dilation_y, &ky0, &ky1);
        t.rows = ky1 - ky0;
        for (ox = 0; ox < p->out_width; ox++) {
            const int32_t left = ox * p->stride_x - p->pad_left;
            const X_T *corner;
            const W_T *first;
            int32_t kx0, kx1;
            clip_window(left, p->width, p->kernel_width, p->dilation_x, &kx0, &kx1);
            t.columns = kx1 - kx0;
            t.tap_skip = (p->kernel_width - t.columns) * channels;
            corner = x + ((top + ky0 * p->dilation_y) * p->width + left + kx0 * p->dilation_x) * channels;
            first = weight + (ky0 * p->kernel_width + kx0) * channels;
            for (c = 0; c < blocks; c += BLOCK) {
                ACC_T sums[BLOCK];
                for (i = 0; i < BLOCK; i++) {
                    sums[i] = (ACC_T)bias[c + i];
                }
                TAPS(corner + c, first + c, &t, sums);
                for (i = 0; i < BLOCK; i++) {
                    y[c + i] = REQUANT((SUM_T)sums[i], &rule, c + i);
                }
            }
            for (c = blocks; c < channels; c++) {
                ACC_T sum = (ACC_T)bias[c];
                const W_T *tap = first + c;
                for (ky = 0; ky < t.rows; ky++) {
                    const X_T *from = corner + c + ky * t.row_step;
                    for (kx = 0; kx < t.columns; kx++) {
                        sum += (ACC_T)(X_UNITS(*from) - t.zero) * (ACC_T)W_UNITS(*tap);
                        from += t.from_step;
                        tap += channels;
                    }
                    tap += t.tap_skip;
                }
                y[c] = REQUANT((SUM_T)sum, &rule, c);
            }
            y += channels;
        }
    }
}
