/* The first elements of a sum, sixteen at a time; returns how many. One addend's scale is exactly one half. */
static int32_t add_vector(const int8_t *a, const int8_t *b, int8_t *y, int32_t count, const struct addends *p,
                          const struct requant *r)
{
    const int32_t whole = p->mantissa[0] == (int32_t)1 << 30 && p->exponent[0] == 0 ? 0 : 1, part = 1 - whole;
    const int8_t *from = whole == 0 ? a : b, *other = whole == 0 ? b : a;
    const int8x16_t zero = vdupq_n_s8((int8_t)p->zero[whole]), other_zero = vdupq_n_s8((int8_t)p->zero[part]);
    const int16x8_t unit = vdupq_n_s16((int16_t)(1 << 14));
    /* A scale of one half that is not shifted, for which halves need no care, is one that doubles and is shifted. */
    const int32_t doubled = p->exponent[part] == 0;
    const int16x8_t half = vdupq_n_s16((int16_t)(p->left_shift - 15));
    const int16x8_t left = vdupq_n_s16((int16_t)(p->left_shift - 16 + doubled));
    const int32x4_t scale = vdupq_n_s32(p->mantissa[part]), right = vdupq_n_s32(p->exponent[part] - doubled);
    const int32x4_t mantissa = vdupq_n_s32(r->mantissa[0]), exponent = vdupq_n_s32(r->exponent[0]);
    const int16x8_t out_zero = vdupq_n_s16((int16_t)r->zero);
    const int8x16_t low = vdupq_n_s8((int8_t)r->low), high = vdupq_n_s8((int8_t)r->high);
    const int32_t above = r->zero == -128 && r->low == -128 && r->high == 127;
    int32_t i;
#define PART(wide) scale_four(wide, scale, right)
#define SUM(part, of, n, scaled) scaled(of(part, u##n, unit), mantissa, exponent)
#define LOW(part, u, unit) vmlal_s16(part, vget_low_s16(u), vget_low_s16(unit))
#define SIXTEEN(scaled, coded) \
    const int8x16_t u = vld1q_s8(from + i), v = vld1q_s8(other + i); \
    const int16x8_t u0 = vshlq_s16(vsubl_s8(vget_low_s8(u), vget_low_s8(zero)), half); \
    const int16x8_t u1 = vshlq_s16(vsubl_high_s8(u, zero), half); \
    const int16x8_t v0 = vshlq_s16(vsubl_s8(vget_low_s8(v), vget_low_s8(other_zero)), left); \
    const int16x8_t v1 = vshlq_s16(vsubl_high_s8(v, other_zero), left); \
    const int8x16_t codes = coded(SUM(PART(vshll_n_s16(vget_low_s16(v0), 16)), LOW, 0, scaled), \
                                  SUM(PART(vshll_high_n_s16(v0, 16)), vmlal_high_s16, 0, scaled), \
                                  SUM(PART(vshll_n_s16(vget_low_s16(v1), 16)), LOW, 1, scaled), \
                                  SUM(PART(vshll_high_n_s16(v1, 16)), vmlal_high_s16, 1, scaled), out_zero)
    for (i = 0; above && i < count - 15; i += 16) {
        SIXTEEN(scale_above, codes_above);
        vst1q_s8(y + i, codes);
    }
    for (; i < count - 15; i += 16) {
        SIXTEEN(scale_four, codes_of);
        vst1q_s8(y + i, vminq_s8(vmaxq_s8(codes, low), high));
    }
#undef SIXTEEN
#undef LOW
#undef SUM
#undef PART
    return i;
}
