/* Products of eight or four taps of one position with four output channels, which lie in two halves: channels 0, 1 and
   2, 3, each pair of sums side by side. Two products of 8 bits fit 16 bits, as no weight is -128. */
#define MUL_EIGHT(s, from) \
    do { \
        const int8x16_t u0 = vreinterpretq_s8_s32(four_bytes(from)), u1 = vreinterpretq_s8_s32(four_bytes(from + 4)); \
        const int16x8_t first = vmull_s8(vget_low_s8(u0), vget_low_s8(t0)); \
        s##01 = vpadalq_s16(s##01, vmlal_s8(first, vget_low_s8(u1), vget_low_s8(t1))); \
        s##23 = vpadalq_s16(s##23, vmlal_high_s8(vmull_high_s8(u0, t0), u1, t1)); \
    } while (0)
#define MUL_FOUR(s, from) \
    do { \
        const int8x16_t u0 = vreinterpretq_s8_s32(four_bytes(from)); \
        s##01 = vpadalq_s16(s##01, vmull_s8(vget_low_s8(u0), vget_low_s8(t0))); \
        s##23 = vpadalq_s16(s##23, vmull_high_s8(u0, t0)); \
    } while (0)
#define TOTAL(s) vaddq_s32(vpaddq_s32(s##01, s##23), vld1q_s32(q->bias))

/* All output channels of four positions. */
static APART void tile_four(const struct place *p, const int8_t *weight, const struct quad *q, const struct view *v,
                            int8_t *y)
{
    const int32_t row = v->row;
    int32_t left, k, i;
    for (left = v->outs; left > 0; left -= 4) {
        const int8_t *x0 = p[0].at, *x1 = p[1].at, *x2 = p[2].at, *x3 = p[3].at, *w = weight;
        int32x4_t a01 = vdupq_n_s32(0), b01 = a01, c01 = a01, d01 = a01, a23 = a01, b23 = a01, c23 = a01, d23 = a01;
        for (k = v->rows; k > 0; k--) {
            for (i = row; i >= 8; i -= 8) {
                const int8x16_t t0 = vld1q_s8(w), t1 = vld1q_s8(w + 16);
                MUL_EIGHT(a, x0);
                MUL_EIGHT(b, x1);
                MUL_EIGHT(c, x2);
                MUL_EIGHT(d, x3);
                x0 += 8;
                x1 += 8;
                x2 += 8;
                x3 += 8;
                w += 32;
            }
            if (i > 0) {
                const int8x16_t t0 = vld1q_s8(w);
                MUL_FOUR(a, x0);
                MUL_FOUR(b, x1);
                MUL_FOUR(c, x2);
                MUL_FOUR(d, x3);
                x0 += 4;
                x1 += 4;
                x2 += 4;
                x3 += 4;
                w += 16;
            }
            x0 += p[0].skip;
            x1 += p[1].skip;
            x2 += p[2].skip;
            x3 += p[3].skip;
        }
        finish_four(TOTAL(a), TOTAL(b), TOTAL(c), TOTAL(d), q, v, y, left);
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
        int32x4_t a01 = vdupq_n_s32(0), a23 = a01;
        for (k = v->rows; k > 0; k--) {
            for (i = row; i >= 8; i -= 8) {
                const int8x16_t t0 = vld1q_s8(w), t1 = vld1q_s8(w + 16);
                MUL_EIGHT(a, x);
                x += 8;
                w += 32;
            }
            if (i > 0) {
                const int8x16_t t0 = vld1q_s8(w);
                MUL_FOUR(a, x);
                x += 4;
                w += 16;
            }
            x += p->skip;
        }
        finish_one(TOTAL(a), q, v, y, left);
        weight += v->block;
        q++;
        y += 4;
    }
}

static void tile(const struct place *p, int32_t count, const int8_t *weight, const struct quad *q,
                 const struct view *v, int8_t *y)
{
    if (count == 4) {
        tile_four(p, weight, q, v, y);
    } else {
        tile_one(p, weight, q, v, y);
    }
}
