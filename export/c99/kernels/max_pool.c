/* Largest value of each window; positions outside the image never win. */
static void NAME(const X_T *restrict x, X_T *restrict y, const struct window *p)
{
    int32_t oy, ox, c, ky, kx;
    for (oy = 0; oy < p->out_height; oy++) {
        const int32_t top = oy * p->stride_y - p->pad_top;
        int32_t ky0, ky1;
        clip_window(top, p->height, p->kernel_height, 1, &ky0, &ky1);
        for (ox = 0; ox < p->out_width; ox++) {
            const int32_t left = ox * p->stride_x - p->pad_left;
            int32_t kx0, kx1;
            clip_window(left, p->width, p->kernel_width, 1, &kx0, &kx1);
            for (c = 0; c < p->channels; c++) {
                int32_t best = MIN_ORDINAL;
                for (ky = ky0; ky < ky1; ky++) {
                    const X_T *from = x + ((top + ky) * p->width + left + kx0) * p->channels + c;
                    for (kx = kx0; kx < kx1; kx++) {
                        const int32_t value = X_ORDINAL(*from);
                        best = value > best ? value : best;
                        from += p->channels;
                    }
                }
                *y++ = X_CODE(best);
            }
        }
    }
}
