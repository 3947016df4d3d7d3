static inline int32_t sum_taps(int8x16_t first, int8x16_t second)
{
    return vaddvq_s32(vdotq_s32(vdotq_s32(vdupq_n_s32(0), first, vdupq_n_s8(1)), second, vdupq_n_s8(1)));
}

#define TAPS_OF(n, from) \
    int8x16_t first##n = g->outside[0], second##n = g->outside[1]; \
    choose_taps(x + n * g->step, x + n * g->step + b.row1, x + n * g->step + b.row2, (from)[0], (from)[1], &first##n, \
                &second##n)
#define CHOOSE(part) const int8x16_t u0 = part##0, u1 = part##1, u2 = part##2, u3 = part##3

/* How many tiles of four windows `tile_short` can do from column `left` on: all but the first and the last window must
   lie inside the columns of the image. */
static inline int32_t short_tiles(const struct gather *g, const struct window *p, int32_t top, int32_t left)
{
    const struct band b = band_of(g, p, top);
    const int32_t stride = p->stride_x, right = p->out_width * stride - p->pad_left;
    const int32_t inside = p->width - p->kernel_width, columns = (right - left) / stride;
    const int32_t whole = inside < left + stride ? 0 : (inside - left) / stride + 1;
    int32_t tiles = (whole < columns ? whole + 1 : columns) / 4;
    if (left + stride < 0 || corner_of(g, &b, p, top, left, 3) < 0) {
        return 0;
    }
    while (corner_of(g, &b, p, top, left, 4 * tiles - 1) < 0) {
        tiles--;
    }
    return tiles;
}

/* All output channels of `tiles` times four positions side by side, whose windows are gathered in registers. */
static APART void tile_short(const int8_t *x, const struct gather *g, const struct window *window, int32_t top,
                             int32_t column, int32_t tiles, const int8_t *weight, const struct quad *quads,
                             const struct view *v, int8_t *y)
{
    const int32_t outs = v->outs, block = v->block, both = v->row > 16;
    const int32_t end = column + (4 * tiles - 1) * window->stride_x;
    const struct band b = band_of(g, window, top);
    const int16x8_t zero = vdupq_n_s16((int16_t)v->zero);
    uint8x16_t begins[2], ends[2];
    struct place p[4] = {{0, 0, 0}, {0, 0, 0}, {0, 0, 0}, {0, 0, 0}};
    int32_t left;
    begins[0] = from_of(g, &b, window, column, 0);
    begins[1] = from_of(g, &b, window, column, 1);
    ends[0] = b.from[0];
    ends[1] = b.from[1];
    x += corner_of(g, &b, window, top, column, 3);
    for (; tiles > 0; tiles--) {
        const int8_t *w = weight;
        const struct quad *q = quads;
        int8_t *to = y;
        if (tiles == 1) {
            ends[0] = from_of(g, &b, window, end, 0);
            ends[1] = from_of(g, &b, window, end, 1);
        }
        TAPS_OF(0, begins);
        TAPS_OF(1, b.from);
        TAPS_OF(2, b.from);
        TAPS_OF(3, ends);
        begins[0] = b.from[0];
        begins[1] = b.from[1];
        if (v->more) {
            p[0].more = window->weight_zero * sum_taps(first0, second0);
            p[1].more = window->weight_zero * sum_taps(first1, second1);
            p[2].more = window->weight_zero * sum_taps(first2, second2);
            p[3].more = window->weight_zero * sum_taps(first3, second3);
        }
        for (left = outs; left >= 16; left -= 16) {
            const int8_t *w0 = w, *w1 = w0 + block, *w2 = w1 + block, *w3 = w2 + block;
            SUMS(0);
            SUMS(1);
            SUMS(2);
            SUMS(3);
            {
                CHOOSE(first);
                DOT_SIXTEEN(0);
                DOT_SIXTEEN(1);
                DOT_SIXTEEN(2);
                DOT_SIXTEEN(3);
            }
            if (both) {
                CHOOSE(second);
                DOT_SIXTEEN(0);
                DOT_SIXTEEN(1);
                DOT_SIXTEEN(2);
                DOT_SIXTEEN(3);
            }
            if (v->more) {
                ADD_MORE(0);
                ADD_MORE(1);
                ADD_MORE(2);
                ADD_MORE(3);
            }
            FINISH_SIXTEEN(to);
            w += 4 * block;
            q += 4;
            to += 16;
        }
        for (; left > 0; left -= 4) {
            const int8_t *w0 = w;
            SUMS(0);
            {
                CHOOSE(first);
                DOT_SIXTEEN(0);
            }
            if (both) {
                CHOOSE(second);
                DOT_SIXTEEN(0);
            }
            if (v->more) {
                ADD_MORE(0);
            }
            finish_four(a0, b0, c0, d0, q, v, to, left);
            w += block;
            q++;
            to += 4;
        }
        x += 4 * g->step;
        y += 4 * outs;
    }
}
