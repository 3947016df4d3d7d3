/* The first elements of a sum, sixteen at a time; returns how many. One addend's scale is exactly one half. */
static int32_t add_vector(const int8_t *a, const int8_t *b, int8_t *y, int32_t count, const struct addends *p,
                          const struct requant *r)
{
    const int32_t whole = p->mantissa[0] == (int32_t)1 << 30 && p->exponent[0] == 0 ? 0 : 1, part = 1 - whole;
    const int8_t *from = whole == 0 ? a : b, *other = whole == 0 ? b : a;
    const int8x8_t zero = vdup_n_s8((int8_t)p->zero[whole]), other_zero = vdup_n_s8((int8_t)p->zero[part]);
    const int16x4_t unit = vdup_n_s16((int16_t)(1 << 14));
    /* A scale of one half that is not shifted, for which halves need no care, is one that doubles and is shifted. */
    const int32_t doubled = p->exponent[part] == 0;
    const int16x8_t half = vdupq_n_s16((int16_t)(p->left_shift - 15));
    const int16x8_t left = vdupq_n_s16((int16_t)(p->left_shift - 16 + doubled));
    const int32x4_t scale = vdupq_n_s32(p->mantissa[part]), right = vdupq_n_s32(p->exponent[part] - doubled);
    const int32x4_t mantissa = vdupq_n_s32(r->mantissa[0]), exponent = vdupq_n_s32(r->exponent[0]);
    const int16x8_t out_zero = vdupq_n_s16((int16_t)r->zero);
    const int8x16_t low = vdupq_n_s8((int8_t)r->low), high = vdupq_n_s8((int8_t)r->high);
    int32_t i;
    for (i = 0; i < count - 15; i += 16) {
        const int8x16_t u = vld1q_s8(from + i), v = vld1q_s8(other + i);
        const int16x8_t u0 = vshlq_s16(vsubl_s8(vget_low_s8(u), zero), half);
        const int16x8_t u1 = vshlq_s16(vsubl_s8(vget_high_s8(u), zero), half);
        const int16x8_t v0 = vshlq_s16(vsubl_s8(vget_low_s8(v), other_zero), left);
        const int16x8_t v1 = vshlq_s16(vsubl_s8(vget_high_s8(v), other_zero), left);
#define PART(half_of, n) scale_four(vshll_n_s16(half_of(v##n), 16), scale, right)
#define SUM(half_of, n) scale_four(vmlal_s16(PART(half_of, n), half_of(u##n), unit), mantissa, exponent)
        const int8x16_t codes = codes_of(SUM(vget_low_s16, 0), SUM(vget_high_s16, 0), SUM(vget_low_s16, 1),
                                         SUM(vget_high_s16, 1), out_zero);
#undef SUM
#undef PART
        vst1q_s8(y + i, vminq_s8(vmaxq_s8(codes, low), high));
    }
    return i;
}
