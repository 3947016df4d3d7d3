/* Sixteen taps of one position and four output channels; each vector of weights holds four taps. */
static inline int32x4_t dot_sixteen(int32x4_t sums, int8x16_t u, int8x16x4_t t)
{
    sums = vdotq_laneq_s32(sums, t.val[0], u, 0);
    sums = vdotq_laneq_s32(sums, t.val[1], u, 1);
    sums = vdotq_laneq_s32(sums, t.val[2], u, 2);
    return vdotq_laneq_s32(sums, t.val[3], u, 3);
}

/* Sums a, b, c, d belong to four positions; their numbers, as those of weights, to groups of four output channels. */
#define DOT_SIXTEEN(n) \
    do { \
        const int8x16x4_t t = vld1q_s8_x4(w##n); \
        a##n = dot_sixteen(a##n, u0, t); \
        b##n = dot_sixteen(b##n, u1, t); \
        c##n = dot_sixteen(c##n, u2, t); \
        d##n = dot_sixteen(d##n, u3, t); \
        w##n += 64; \
        FRESH(w##n); \
        IN_ORDER; \
    } while (0)
#define LOAD_SIXTEEN \
    const int8x16_t u0 = vld1q_s8(x0), u1 = vld1q_s8(x1), u2 = vld1q_s8(x2), u3 = vld1q_s8(x3); \
    x0 += 16; \
    x1 += 16; \
    x2 += 16; \
    x3 += 16; \
    FRESH(x0); \
    FRESH(x1); \
    FRESH(x2); \
    FRESH(x3)
#define NEXT_ROW \
    x0 += skip0; \
    x1 += skip1; \
    x2 += skip2; \
    x3 += skip3
#define SUMS(n) int32x4_t a##n = vld1q_s32(q[n].bias), b##n = a##n, c##n = a##n, d##n = a##n
#define ADD_MORE(n) \
    do { \
        a##n = vaddq_s32(a##n, vdupq_n_s32(p[0].more)); \
        b##n = vaddq_s32(b##n, vdupq_n_s32(p[1].more)); \
        c##n = vaddq_s32(c##n, vdupq_n_s32(p[2].more)); \
        d##n = vaddq_s32(d##n, vdupq_n_s32(p[3].more)); \
    } while (0)
#define SCALE(n, scale) \
    do { \
        const int32x4_t m = vld1q_s32(q[n].mantissa), right = vmvnq_s32(vld1q_s32(q[n].shift)); \
        a##n = scale(a##n, m, right); \
        b##n = scale(b##n, m, right); \
        c##n = scale(c##n, m, right); \
        d##n = scale(d##n, m, right); \
    } while (0)
#define STORE_FOUR(to, code) \
    do { \
        vst1q_s8(to, code(a0, a1, a2, a3, zero)); \
        vst1q_s8((to) + outs, code(b0, b1, b2, b3, zero)); \
        vst1q_s8((to) + 2 * outs, code(c0, c1, c2, c3, zero)); \
        vst1q_s8((to) + 3 * outs, code(d0, d1, d2, d3, zero)); \
    } while (0)
#define FINISH_SIXTEEN(to) \
    do { \
        if (v->zero == -128) { \
            SCALE(0, scale_above); \
            SCALE(1, scale_above); \
            SCALE(2, scale_above); \
            SCALE(3, scale_above); \
            STORE_FOUR(to, codes_above); \
        } else { \
            SCALE(0, scale_four); \
            SCALE(1, scale_four); \
            SCALE(2, scale_four); \
            SCALE(3, scale_four); \
            STORE_FOUR(to, codes_of); \
        } \
    } while (0)

/* Output channels of `tiles` times four positions, sixteen at a time */
static APART void tile_wide(const struct place *p, struct run run, const int8_t *weight, const struct quad *q,
                            const struct view *v, int8_t *restrict y)
{
    const int32_t steps = v->row / 16, outs = v->outs, block = v->block;
    const int32_t skip0 = p[0].skip, skip1 = p[1].skip, skip2 = p[2].skip, skip3 = p[3].skip;
    const int16x8_t zero = vdupq_n_s16((int16_t)v->zero);
    int32_t left, k, i, tile;
    for (left = outs; left >= 16; left -= 16) {
        int8_t *to = y;
        int32_t done = 0;
        for (tile = run.tiles; tile > 0; tile--) {
            const int8_t *x0 = p[0].at + done, *x1 = p[1].at + done, *x2 = p[2].at + done, *x3 = p[3].at + done;
            const int8_t *w0 = weight, *w1 = w0 + block, *w2 = w1 + block, *w3 = w2 + block;
            SUMS(0);
            SUMS(1);
            SUMS(2);
            SUMS(3);
            k = v->rows;
            do {
                i = steps;
                do {
                    LOAD_SIXTEEN;
                    DOT_SIXTEEN(0);
                    DOT_SIXTEEN(1);
                    DOT_SIXTEEN(2);
                    DOT_SIXTEEN(3);
                } while (--i != 0);
                NEXT_ROW;
            } while (--k != 0);
            if (v->more) {
                ADD_MORE(0);
                ADD_MORE(1);
                ADD_MORE(2);
                ADD_MORE(3);
            }
            FINISH_SIXTEEN(to);
            to += 4 * outs;
            done += run.step;
        }
        weight += 4 * block;
        q += 4;
        y += 16;
    }
}

/* The last `left` output channels of `tiles` times four positions, four at a time. */
static APART void tile_narrow(const struct place *p, struct run run, const int8_t *weight, const struct quad *quads,
                              const struct view *v, int8_t *y, int32_t left)
{
    const int32_t steps = v->row / 16, outs = v->outs;
    const int32_t skip0 = p[0].skip, skip1 = p[1].skip, skip2 = p[2].skip, skip3 = p[3].skip;
    int32_t done, todo, k, i;
    for (done = 0; done < run.tiles * run.step; done += run.step) {
        const int8_t *blocks = weight;
        const struct quad *q = quads;
        for (todo = left; todo > 0; todo -= 4) {
            const int8_t *x0 = p[0].at + done, *x1 = p[1].at + done, *x2 = p[2].at + done, *x3 = p[3].at + done;
            const int8_t *w0 = blocks;
            SUMS(0);
            for (k = v->rows; k > 0; k--) {
                i = steps;
                do {
                    LOAD_SIXTEEN;
                    DOT_SIXTEEN(0);
                } while (--i != 0);
                NEXT_ROW;
            }
            if (v->more) {
                ADD_MORE(0);
            }
            finish_four(a0, b0, c0, d0, q, v, y + left - todo, todo);
            blocks += v->block;
            q++;
        }
        y += 4 * outs;
    }
}

/* All output channels of one position. */
static APART void tile_one(const struct place *p, const int8_t *weight, const struct quad *q, const struct view *v,
                           int8_t *y)
{
    const int32_t steps = v->row / 16;
    int32_t left, k, i;
    for (left = v->outs; left > 0; left -= 4) {
        const int8_t *x = p->at, *w = weight;
        int32x4_t sums = vaddq_s32(vld1q_s32(q->bias), vdupq_n_s32(p->more));
        for (k = v->rows; k > 0; k--) {
            for (i = steps; i > 0; i--) {
                sums = dot_sixteen(sums, vld1q_s8(x), vld1q_s8_x4(w));
                x += 16;
                w += 64;
            }
            x += p->skip;
        }
        finish_one(sums, q, v, y, left);
        weight += v->block;
        q++;
        y += 4;
    }
}

static void tile(const struct place *p, int32_t count, struct run run, const int8_t *weight, const struct quad *q,
                 const struct view *v, int8_t *y)
{
    if (count == 4) {
        const int32_t left = v->outs % 16, done = v->outs - left;
        if (done > 0) {
            tile_wide(p, run, weight, q, v, y);
        }
        if (left > 0) {
            tile_narrow(p, run, weight + done / 4 * v->block, q + done / 4, v, y + done, left);
        }
    } else {
        tile_one(p, weight, q, v, y);
    }
}
