FIRST_LINE/* Copy the window whose first tap lies at `top`, `left`; outside the image stands the code of zero. Returns the end. */
static P_T *NAME(const int8_t *x, P_T *patch, const struct window *p, int32_t top, int32_t left)
{
    const int32_t depth = p->channels, row = p->dilation_y * p->width * depth;
    const int32_t bottom = top + (p->kernel_height - 1) * p->dilation_y;
    const int32_t right = left + (p->kernel_width - 1) * p->dilation_x;
    const int8_t *from = x + (top * p->width + left) * depth;
    int32_t ky, kx;
    if (p->dilation_x == 1 && top >= 0 && left >= 0 && bottom < p->height && right < p->width) {
        for (ky = p->kernel_height; ky > 0; ky--) {
            patch = PUT_CODES(from, patch, p->kernel_width * depth);
            from += row;
        }
        return patch;
    }
    for (ky = 0; ky < p->kernel_height; ky++) {
        const int32_t iy = top + ky * p->dilation_y;
        for (kx = 0; kx < p->kernel_width; kx++) {
            const int32_t ix = left + kx * p->dilation_x;
            if (iy >= 0 && iy < p->height && ix >= 0 && ix < p->width) {
                patch = PUT_CODES(x + (iy * p->width + ix) * depth, patch, depth);
            } else {
                patch = PUT_ZEROS(patch, depth, p->zero);
            }
        }
    }
    return patch;
}LAST_LINE
