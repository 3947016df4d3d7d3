#define RUN_UNIT 4
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
        IN_ORDER; \
    } while (0)
#define DOT_FOUR(n) \
    do { \
        const int8x16_t t = vld1q_s8(w##n); \
        a##n = vdotq_s32(a##n, t, u0); \
        b##n = vdotq_s32(b##n, t, u1); \
        c##n = vdotq_s32(c##n, t, u2); \
        d##n = vdotq_s32(d##n, t, u3); \
        w##n += 16; \
        IN_ORDER; \
    } while (0)
#define FOUR_CODES(from) vreinterpretq_s8_s32(four_bytes(from))
#define LOAD(load, bytes) \
    const int8x16_t u0 = load(x0), u1 = load(x1), u2 = load(x2), u3 = load(x3); \
    x0 += bytes; \
    x1 += bytes; \
    x2 += bytes; \
    x3 += bytes
#define NEXT_ROW \
    x0 += p[0].skip; \
    x1 += p[1].skip; \
    x2 += p[2].skip; \
    x3 += p[3].skip
#define SUMS(n) \
    const int32x4_t bias##n = vld1q_s32(q[n].bias); \
    int32x4_t a##n = vaddq_s32(a, bias##n), b##n = vaddq_s32(b, bias##n); \
    int32x4_t c##n = vaddq_s32(c, bias##n), d##n = vaddq_s32(d, bias##n)
#define SCALE(n) \
    do { \
        const int32x4_t m = vld1q_s32(q[n].mantissa), right = vmvnq_s32(vld1q_s32(q[n].shift)); \
        a##n = scale_four(a##n, m, right); \
        b##n = scale_four(b##n, m, right); \
        c##n = scale_four(c##n, m, right); \
        d##n = scale_four(d##n, m, right); \
    } while (0)

/* Output channels of four positions, sixteen at a time; returns how many are left. */
static APART int32_t tile_wide(const struct place *p, const int8_t *weight, const struct quad *q, const struct view *v,
                               int8_t *restrict y)
{
    const int32_t row = v->row, outs = v->outs, block = v->block;
    const int16x8_t zero = vdupq_n_s16((int16_t)v->zero);
    int32_t left, k, i;
    for (left = outs; left >= 16; left -= 16) {
        const int8_t *x0 = p[0].at, *x1 = p[1].at, *x2 = p[2].at, *x3 = p[3].at;
        const int8_t *w0 = weight, *w1 = w0 + block, *w2 = w1 + block, *w3 = w2 + block;
        const int32x4_t a = vdupq_n_s32(p[0].more), b = vdupq_n_s32(p[1].more);
        const int32x4_t c = vdupq_n_s32(p[2].more), d = vdupq_n_s32(p[3].more);
        SUMS(0);
        SUMS(1);
        SUMS(2);
        SUMS(3);
        for (k = v->rows; k > 0; k--) {
            for (i = row; i >= 16; i -= 16) {
                LOAD(vld1q_s8, 16);
                DOT_SIXTEEN(0);
                DOT_SIXTEEN(1);
                DOT_SIXTEEN(2);
                DOT_SIXTEEN(3);
            }
            for (; i > 0; i -= 4) {
                LOAD(FOUR_CODES, 4);
                DOT_FOUR(0);
                DOT_FOUR(1);
                DOT_FOUR(2);
                DOT_FOUR(3);
            }
            NEXT_ROW;
        }
        SCALE(0);
        SCALE(1);
        SCALE(2);
        SCALE(3);
        vst1q_s8(y, codes_of(a0, a1, a2, a3, zero));
        vst1q_s8(y + outs, codes_of(b0, b1, b2, b3, zero));
        vst1q_s8(y + 2 * outs, codes_of(c0, c1, c2, c3, zero));
        vst1q_s8(y + 3 * outs, codes_of(d0, d1, d2, d3, zero));
        weight += 4 * block;
        q += 4;
        y += 16;
    }
    return left;
}

/* The last `left` output channels of four positions, four at a time. */
static APART void tile_narrow(const struct place *p, const int8_t *weight, const struct quad *q,
                              const struct view *v, int8_t *y, int32_t left)
{
    const int32_t row = v->row;
    int32_t k, i;
    for (; left > 0; left -= 4) {
        const int8_t *x0 = p[0].at, *x1 = p[1].at, *x2 = p[2].at, *x3 = p[3].at, *w0 = weight;
        const int32x4_t a = vdupq_n_s32(p[0].more), b = vdupq_n_s32(p[1].more);
        const int32x4_t c = vdupq_n_s32(p[2].more), d = vdupq_n_s32(p[3].more);
        SUMS(0);
        for (k = v->rows; k > 0; k--) {
            for (i = row; i >= 16; i -= 16) {
                LOAD(vld1q_s8, 16);
                DOT_SIXTEEN(0);
            }
            for (; i > 0; i -= 4) {
                LOAD(FOUR_CODES, 4);
                DOT_FOUR(0);
            }
            NEXT_ROW;
        }
        finish_four(a0, b0, c0, d0, q, v, y, left);
        weight += v->block;
        q++;
        y += 4;
    }
}

/* All output channels of one position. */
static APART void tile_one(const struct place *p, const int8_t *weight, const struct quad *q, const struct view *v,
                           int8_t *y)
{
    const int32_t row = v->row;
    int32_t left, k, i;
    for (left = v->outs; left > 0; left -= 4) {
        const int8_t *x = p->at, *w = weight;
        int32x4_t sums = vaddq_s32(vld1q_s32(q->bias), vdupq_n_s32(p->more));
        for (k = v->rows; k > 0; k--) {
            for (i = row; i >= 16; i -= 16) {
                sums = dot_sixteen(sums, vld1q_s8(x), vld1q_s8_x4(w));
                x += 16;
                w += 64;
            }
            for (; i > 0; i -= 4) {
                sums = vdotq_s32(sums, vld1q_s8(w), FOUR_CODES(x));
                x += 4;
                w += 16;
            }
            x += p->skip;
        }
        finish_one(sums, q, v, y, left);
        weight += v->block;
        q++;
        y += 4;
    }
}

static void tile(const struct place *p, int32_t count, const int8_t *weight, const struct quad *q,
                 const struct view *v, int8_t *y)
{
    if (count == 4) {
        const int32_t left = tile_wide(p, weight, q, v, y), done = v->outs - left;
        if (left > 0) {
            tile_narrow(p, weight + done / 4 * v->block, q + done / 4, v, y + done, left);
        }
    } else {
        tile_one(p, weight, q, v, y);
    }
}
