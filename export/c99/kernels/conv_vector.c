/* Convolution of signed bytes, four positions at a time. `weight` holds blocks of four taps of four output channels;
   zero points are inside the biases. Windows inside the image are read in place where their rows are whole runs,
   others are copied to `scratch`, which has room for four of them, each rounded up to sixteen bytes. */
static void conv_byte(const int8_t *x, const int8_t *weight, const struct quad *quads, int8_t *y, void *scratch,
                      const struct window *p)
{
    const int32_t depth = p->channels, outs = p->out_channels, stride = p->stride_x;
    const int32_t run = p->kernel_width * depth, taps = p->kernel_height * run, patch = (taps + 15) / 16 * 16;
    const int32_t in_place = run % RUN_UNIT == 0 && (run >= 16 || p->kernel_height == 1);
    const int32_t line = p->width * depth, skip = p->dilation_y * line;
    /* Rows shorter than a vector are copied as one where that stays inside the image. */
    const int32_t last = run < 16 ? (p->height * p->width - 1) * depth - (p->kernel_height - 1) * skip + depth - 16 : -1;
    const int32_t top_end = p->dilation_x == 1 ? p->height - (p->kernel_height - 1) * p->dilation_y : 0;
    const int32_t left_end = p->width < p->kernel_width ? 0 : p->width - p->kernel_width + 1;
    const int32_t first = -p->pad_left, right = first + p->out_width * stride;
    int8_t *const patches = (int8_t *)scratch;
    int8_t *to = y;
    int32_t left = first, top = -p->pad_top, todo = p->out_height * p->out_width;
    int32_t end = top >= 0 && top < top_end ? left_end : 0, count, i;
    struct view v;
    v.rows = in_place ? p->kernel_height : 1;
    v.row = in_place ? run : patch;
    v.block = (taps + 3) / 4 * 16;
    v.outs = outs;
    v.zero = p->y_zero;
    /* Weights are read sixteen taps at a time, also behind the last one, where patches hold 0. */
    memset(patches, 0, (size_t)(4 * patch) + 16);
    for (; todo > 0; todo -= count) {
        struct place places[4];
        count = todo < 4 ? TILE_REST(todo) : 4;
        for (i = 0; i < count; i++) {
            int8_t *const own = patches + i * patch;
            const int32_t corner = top * line + left * depth;
            places[i].at = own;
            places[i].skip = 0;
            if ((uint32_t)left >= (uint32_t)end) {
                copy_window(x, own, p, top, left);
            } else if (in_place) {
                places[i].at = x + corner;
                places[i].skip = skip - run;
            } else if (corner <= last) {
                copy_short_rows(x + corner, skip, own, run, p->kernel_height);
            } else {
                copy_rows(x + corner, skip, own, run, p->kernel_height, run);
            }
            /* Weights may be short of what they mean by the same number. */
            places[i].more = p->weight_zero == 0 ? 0 : p->weight_zero * sum_window(&places[i], &v);
            left += stride;
            if (left == right) {
                left = first;
                top += p->stride_y;
                end = top >= 0 && top < top_end ? left_end : 0;
            }
        }
        tile(places, count, weight, quads, &v, to);
        to += count * outs;
    }
    if (p->low > -128 || p->high < 127) {
        clamp_bytes(y, p->out_height * p->out_width * outs, p->low, p->high);
    }
}
