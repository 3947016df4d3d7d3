/* Convolution of signed bytes, four positions at a time. `weight` holds blocks of four taps of four output channels;
   zero points are inside the biases. Windows inside the image are read in place where their rows are whole runs, small
   ones of three short rows are gathered in registers where there are any for it, others are copied to `scratch`, which
   has room for four of them, each rounded up to sixteen bytes and sixteen more where rows are shorter. */
static void conv_byte(const int8_t *x, const int8_t *weight, const struct quad *quads, int8_t *y, void *scratch,
                      const struct window *p)
{
    const int32_t depth = p->channels, outs = p->out_channels, stride = p->stride_x;
    const int32_t run = p->kernel_width * depth, taps = p->kernel_height * run;
    const int32_t whole = (taps + 15) / 16 * 16, patch = run < 16 ? whole + 16 : whole;
    const int32_t in_place = run % 16 == 0;
    const int32_t plain = in_place && p->dilation_x == 1 && p->dilation_y == 1 && depth % 16 == 0 &&
                          p->kernel_height < 128 && p->kernel_width < 128;
    const int32_t line = p->width * depth, skip = p->dilation_y * line;
    /* Rows shorter than a vector are copied as one where that stays inside the image. */
    const int32_t end_of_x = p->height * p->width * depth;
    const int32_t last = run < 16 ? end_of_x - (p->kernel_height - 1) * skip - 16 : -1;
    const int32_t top_end = p->dilation_x == 1 ? p->height - (p->kernel_height - 1) * p->dilation_y : 0;
    const int32_t positions = p->out_height * p->out_width;
    /* Single pixels, one after the other, are one long row. */
    const int32_t flat = in_place && taps == depth && stride == 1 && p->stride_y == 1 && p->pad_left == 0 &&
                         p->pad_top == 0 && positions == p->height * p->width;
    const int32_t left_end = flat ? positions : p->width < p->kernel_width ? 0 : p->width - p->kernel_width + 1;
    const int32_t first = -p->pad_left, right = flat ? positions : first + p->out_width * stride;
#if defined(NEON)
    const struct gather g = gather_of(p);
    const int32_t gathers = g.possible && p->dilation_y == 1;
#endif
    int8_t *const patches = (int8_t *)scratch;
    int8_t *to = y;
    int32_t left = first, top = -p->pad_top, todo = positions;
    int32_t end = top >= 0 && top < top_end ? left_end : 0, count, i;
    struct place places[4] = {{0, 0, 0}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}};
    /* Which taps of a patch hold what stands outside the image; at first none do. */
    uint32_t filled[4] = {NOT_FILLED, NOT_FILLED, NOT_FILLED, NOT_FILLED};
    struct view v;
    struct run run_of;
    v.rows = in_place ? p->kernel_height : 1;
    v.row = in_place ? run : whole;
    v.block = (taps + 3) / 4 * 16;
    v.outs = outs;
    v.zero = p->y_zero;
    v.more = p->weight_zero != 0;
    /* Weights are read sixteen taps at a time, also behind the last one, where patches hold 0. */
    run_of.step = 4 * stride * depth;
    memset(patches, 0, (size_t)(4 * patch));
    for (; todo > 0; todo -= count * run_of.tiles) {
        const int32_t start = left;
        count = todo < 4 ? TILE_REST(todo) : 4;
        i = 0;
#if defined(SDOT)
        if (gathers && count == 4) {
            run_of.tiles = short_tiles(&g, p, top, left);
            if (run_of.tiles > 0) {
                tile_short(x, &g, p, top, left, run_of.tiles, weight, quads, &v, to);
                to += 4 * run_of.tiles * outs;
                left += 4 * run_of.tiles * stride;
                if (left == right) {
                    left = first;
                    top += p->stride_y;
                    end = top >= 0 && top < top_end ? left_end : 0;
                }
                continue;
            }
        }
#endif
        if (count == 4 && !in_place && left >= 0 && left + 3 * stride < end &&
            top * line + (left + 3 * stride) * depth <= last) {
            copy_four(x + top * line + left * depth, stride * depth, skip, patches, patch, run, p->kernel_height);
            for (; i < 4; i++) {
                places[i].at = patches + i * patch;
                places[i].skip = 0;
            }
            left += 4 * stride;
        }
#if defined(NEON)
        if (i == 0 && gathers && count == 4 && left + 3 * stride < right &&
            gather_four(x, &g, p, top, left, patches, patch)) {
            for (; i < 4; i++) {
                places[i].at = patches + i * patch;
                places[i].skip = 0;
                filled[i] = NOT_FILLED;
            }
            left += 4 * stride;
        }
#endif
        if (plain && count == 4 && left + 3 * stride < right) {
            place_four(x, patches, patch, p, top, left, end, filled, places);
            left += 4 * stride;
            i = 4;
        }
        for (; i < count; i++) {
            const int8_t *at = patches + i * patch;
            int32_t gap = 0;
            if ((uint32_t)left >= (uint32_t)end) {
                filled[i] = in_place ? filled[i] : NOT_FILLED;
                copy_window(x, patches + i * patch, p, top, left, &filled[i]);
            } else {
                const int32_t corner = top * line + left * depth;
                if (in_place) {
                    at = x + corner;
                    gap = skip - run;
                } else if (corner <= last) {
                    copy_short_rows(x + corner, skip, patches + i * patch, run, p->kernel_height);
                } else {
                    copy_rows(x + corner, skip, patches + i * patch, run, p->kernel_height, run);
                }
            }
            places[i].at = at;
            places[i].skip = gap;
            left += stride;
            if (left == right && i < count - 1) {
                left = first;
                top += p->stride_y;
                end = top >= 0 && top < top_end ? left_end : 0;
            }
        }
        for (i = 0; v.more && i < count; i++) {
            places[i].more = p->weight_zero * sum_window(&places[i], &v);
        }
        /* Four windows in place, neighbours of one row: so are those behind them, up to the end of the row. */
        run_of.tiles = 1;
        if (in_place && p->weight_zero == 0 && start >= 0 && left == start + 4 * stride && left < end) {
            const int32_t more = (end - left + stride - 1) / stride / 4;
            run_of.tiles += more;
            left += 4 * stride * more;
        }
        if (left == right) {
            left = first;
            top += p->stride_y;
            end = top >= 0 && top < top_end ? left_end : 0;
        }
        tile(places, count, run_of, weight, quads, &v, to);
        to += count * run_of.tiles * outs;
    }
    if (p->low > -128 || p->high < 127) {
        clamp_bytes(y, p->out_height * p->out_width * outs, p->low, p->high);
    }
}
