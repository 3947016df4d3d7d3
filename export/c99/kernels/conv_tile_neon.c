/* Sixteen products are added to four sums. Two products of 8 bits fit 16 bits, as no weight is -128. */
static inline int32x4_t mul_sixteen(int32x4_t sums, int8x16_t u, int8x16_t t)
{
    const int16x8_t products = vmull_s8(vget_low_s8(u), vget_low_s8(t));
    return vpadalq_s16(sums, vmlal_high_s8(products, u, t));
}

/* Sums a, b, c, d belong to four positions, their numbers to four output channels. */
#define MUL_SIXTEEN(n) \
    do { \
        const int8x16_t taps = vreinterpretq_s8_s32(t.val[n]); \
        a##n = mul_sixteen(a##n, u0, taps); \
        b##n = mul_sixteen(b##n, u1, taps); \
        c##n = mul_sixteen(c##n, u2, taps); \
        d##n = mul_sixteen(d##n, u3, taps); \
        HOLD(u0); \
        HOLD(u1); \
        HOLD(u2); \
        HOLD(u3); \
    } while (0)
#define TOTAL(s, place) \
    vaddq_s32(vpaddq_s32(vpaddq_s32(s##0, s##1), vpaddq_s32(s##2, s##3)), \
              vaddq_s32(vld1q_s32(q->bias), vdupq_n_s32((place).more)))

/* All output channels of four positions. */
static APART void tile_four(const struct place *p, const int8_t *weight, const struct quad *q, const struct view *v,
                            int8_t *y)
{
    const int32_t row = v->row;
    int32_t left, k, i;
    for (left = v->outs; left > 0; left -= 4) {
        const int8_t *x0 = p[0].at, *x1 = p[1].at, *x2 = p[2].at, *x3 = p[3].at, *w = weight;
        int32x4_t a0 = vdupq_n_s32(0), a1 = a0, a2 = a0, a3 = a0, b0 = a0, b1 = a0, b2 = a0, b3 = a0;
        int32x4_t c0 = a0, c1 = a0, c2 = a0, c3 = a0, d0 = a0, d1 = a0, d2 = a0, d3 = a0;
        for (k = v->rows; k > 0; k--) {
            for (i = row; i > 0; i -= 16) {
                int8x16_t u0 = vld1q_s8(x0), u1 = vld1q_s8(x1), u2 = vld1q_s8(x2), u3 = vld1q_s8(x3);
                const int32x4x4_t t = vld4q_s32((const int32_t *)(const void *)w);
                MUL_SIXTEEN(0);
                MUL_SIXTEEN(1);
                MUL_SIXTEEN(2);
                MUL_SIXTEEN(3);
                x0 += 16;
                x1 += 16;
                x2 += 16;
                x3 += 16;
                w += 64;
            }
            x0 += p[0].skip;
            x1 += p[1].skip;
            x2 += p[2].skip;
            x3 += p[3].skip;
        }
        finish_four(TOTAL(a, p[0]), TOTAL(b, p[1]), TOTAL(c, p[2]), TOTAL(d, p[3]), q, v, y, left);
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
        int32x4_t a0 = vdupq_n_s32(0), a1 = a0, a2 = a0, a3 = a0;
        for (k = v->rows; k > 0; k--) {
            for (i = row; i > 0; i -= 16) {
                const int8x16_t u = vld1q_s8(x);
                const int32x4x4_t t = vld4q_s32((const int32_t *)(const void *)w);
                a0 = mul_sixteen(a0, u, vreinterpretq_s8_s32(t.val[0]));
                a1 = mul_sixteen(a1, u, vreinterpretq_s8_s32(t.val[1]));
                a2 = mul_sixteen(a2, u, vreinterpretq_s8_s32(t.val[2]));
                a3 = mul_sixteen(a3, u, vreinterpretq_s8_s32(t.val[3]));
                x += 16;
                w += 64;
            }
            x += p->skip;
        }
        finish_one(TOTAL(a, *p), q, v, y, left);
        weight += v->block;
        q++;
        y += 4;
    }
}

static void tile(struct place *p, int32_t count, struct run run, const int8_t *weight, const struct quad *q,
                 const struct view *v, int8_t *y)
{
    int32_t i;
    if (count < 4) {
        tile_one(p, weight, q, v, y);
        return;
    }
    for (; run.tiles > 0; run.tiles--) {
        tile_four(p, weight, q, v, y);
        for (i = 0; i < 4; i++) {
            p[i].at += run.step;
        }
        y += 4 * v->outs;
    }
}
