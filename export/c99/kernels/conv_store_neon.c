#define TILE_REST(count) 1

/* Store four codes, or as many as are left. */
static inline void store_codes(int8_t *y, int32_t codes, int32_t left)
{
    int32_t i;
    if (left >= 4) {
        memcpy(y, &codes, sizeof codes);
    } else {
        for (i = 0; i < left; i++) {
            y[i] = (int8_t)(codes >> (8 * i));
        }
    }
}

/* Scale and store four output channels of four positions. */
static inline void finish_four(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d, const struct quad *q,
                               const struct view *v, int8_t *y, int32_t left)
{
    const int32x4_t m = vld1q_s32(q->mantissa), right = vmvnq_s32(vld1q_s32(q->shift));
    const int8x16_t codes = codes_of(scale_four(a, m, right), scale_four(b, m, right), scale_four(c, m, right),
                                     scale_four(d, m, right), vdupq_n_s16((int16_t)v->zero));
    const int32x4_t words = vreinterpretq_s32_s8(codes);
    store_codes(y, vgetq_lane_s32(words, 0), left);
    store_codes(y + v->outs, vgetq_lane_s32(words, 1), left);
    store_codes(y + 2 * v->outs, vgetq_lane_s32(words, 2), left);
    store_codes(y + 3 * v->outs, vgetq_lane_s32(words, 3), left);
}

static inline void finish_one(int32x4_t sums, const struct quad *q, const struct view *v, int8_t *y, int32_t left)
{
    const int32x4_t scaled = scale_quad(sums, q);
    const int8x16_t codes = codes_of(scaled, scaled, scaled, scaled, vdupq_n_s16((int16_t)v->zero));
    store_codes(y, vgetq_lane_s32(vreinterpretq_s32_s8(codes), 0), left);
}
