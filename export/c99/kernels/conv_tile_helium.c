#define TILE_REST(count) (count)

/* All output channels of up to four positions. */
static APART void tile_four(const struct place *p, int32_t count, const int8_t *weight, const struct quad *q,
                            const struct view *v, int8_t *y)
{
    const int32_t rows = v->rows, row = v->row >> 4, outs = v->outs, block = v->block, zero = v->zero;
    int32_t left = outs;
    do {
        const struct place *at = p;
        const int32x4_t low = vdupq_n_s32(-128), high = vdupq_n_s32(127);
        int32x4_t mantissa, shift;
        int32_t all[16], i = count;
        int32_t *sums = all;
        int8_t *to = y;
        mve_pred16_t some;
        do {
            const int8_t *x = at->at, *w = weight;
            int32_t a = q->bias[0], b = q->bias[1], c = q->bias[2], d = q->bias[3];
            int32_t k = rows;
            do {
                int32_t n = row;
                do {
                    const int8x16_t u = vldrbq_s8(x);
                    const int32x4x4_t t = vld4q_s32((const int32_t *)(const void *)w);
                    a = vmladavaq_s8(a, u, vreinterpretq_s8_s32(t.val[0]));
                    b = vmladavaq_s8(b, u, vreinterpretq_s8_s32(t.val[1]));
                    c = vmladavaq_s8(c, u, vreinterpretq_s8_s32(t.val[2]));
                    d = vmladavaq_s8(d, u, vreinterpretq_s8_s32(t.val[3]));
                    x += 16;
                    w += 64;
                } while (--n != 0);
                x += at->skip;
            } while (--k != 0);
            /* Two pairs: four at once would be stored twice, to make a vector of them. */
            sums[0] = a;
            sums[1] = b;
            IN_ORDER;
            sums[2] = c;
            sums[3] = d;
            sums += 4;
            at++;
        } while (--i != 0);
        mantissa = vldrwq_s32(q->mantissa);
        shift = vldrwq_s32(q->shift);
        some = vctp32q((uint32_t)left);
        sums = all;
        at = p;
        i = count;
        do {
            const int32x4_t total = vaddq_n_s32(vldrwq_s32(sums), at->more);
            const int32x4_t codes = vaddq_n_s32(scale_four(total, mantissa, shift), zero);
            vstrbq_p_s32(to, vminq_s32(vmaxq_s32(codes, low), high), some);
            sums += 4;
            at++;
            to += outs;
        } while (--i != 0);
        weight += block;
        q++;
        y += 4;
        left -= 4;
    } while (left > 0);
}

static void tile(struct place *p, int32_t count, struct run run, const int8_t *weight, const struct quad *q,
                 const struct view *v, int8_t *y)
{
    int32_t i;
    for (; run.tiles > 0; run.tiles--) {
        tile_four(p, count, weight, q, v, y);
        for (i = 0; i < count; i++) {
            p[i].at += run.step;
        }
        y += count * v->outs;
    }
}
