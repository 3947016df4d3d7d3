/* Copy the window of one output position into a patch of units minus the zero point; outside the image stands 0. */
static void NAME(const X_T *restrict x, U_T *restrict patch, const struct window *p, int32_t position, int32_t group)
{
    const int32_t depth = p->channels / p->groups;
    const int32_t top = position / p->out_width * p->stride_y - p->pad_top;
    const int32_t left = position % p->out_width * p->stride_x - p->pad_left;
    const int32_t whole_row = p->groups == 1 && p->dilation_x == 1 && left >= 0 && left + p->kernel_width <= p->width;
    const int32_t runs = whole_row ? 1 : p->kernel_width;
    const int32_t run = whole_row ? p->kernel_width * depth : depth;
    int32_t ky, kx;
    for (ky = 0; ky < p->kernel_height; ky++) {
        const int32_t iy = top + ky * p->dilation_y;
        for (kx = 0; kx < runs; kx++) {
            const int32_t ix = left + kx * p->dilation_x;
            if (iy >= 0 && iy < p->height && ix >= 0 && ix < p->width) {
                WIDEN(x + (iy * p->width + ix) * p->channels + group * depth, patch, run, p->zero);
            } else {
                memset(patch, 0, (size_t)run * sizeof(U_T));
            }
            patch += run;
        }
    }
}
