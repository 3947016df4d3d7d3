/* The first elements of a sum, sixteen at a time; returns how many. One addend's scale is exactly one half. */
static int32_t add_vector(const int8_t *a, const int8_t *b, int8_t *y, int32_t count, const struct addends *p,
                          const struct requant *r)
{
    const int32_t whole = p->mantissa[0] == (int32_t)1 << 30 && p->exponent[0] == 0 ? 0 : 1, part = 1 - whole;
    const int8_t *from = whole == 0 ? a : b, *other = whole == 0 ? b : a;
    const int8x8_t zero = vdup_n_s8((int8_t)p->zero[whole]), other_zero = vdup_n_s8((int8_t)p->zero[part]);
    const int32x4_t half = vdupq_n_s32((int32_t)1 << (p->left_shift - 1)), left = vdupq_n_s32(p->left_shift);
    const int32x4_t scale = vdupq_n_s32(p->mantissa[part]), right = vdupq_n_s32(p->exponent[part]);
    const int32x4_t mantissa = vdupq_n_s32(r->mantissa[0]), exponent = vdupq_n_s32(r->exponent[0]);
    const int16x8_t out_zero = vdupq_n_s16((int16_t)r->zero);
    const int8x16_t low = vdupq_n_s8((int8_t)r->low), high = vdupq_n_s8((int8_t)r->high);
    int32_t i;
    for (i = 0; i < count - 15; i += 16) {
        const int8x16_t u = vld1q_s8(from + i), v = vld1q_s8(other + i);
        const int16x8_t u0 = vsubl_s8(vget_low_s8(u), zero), u1 = vsubl_s8(vget_high_s8(u), zero);
        const int16x8_t v0 = vsubl_s8(vget_low_s8(v), other_zero), v1 = vsubl_s8(vget_high_s8(v), other_zero);
        const int32x4_t u32[4] = {vmovl_s16(vget_low_s16(u0)), vmovl_high_s16(u0), vmovl_s16(vget_low_s16(u1)),
                                  vmovl_high_s16(u1)};
        const int32x4_t v32[4] = {vmovl_s16(vget_low_s16(v0)), vmovl_high_s16(v0), vmovl_s16(vget_low_s16(v1)),
                                  vmovl_high_s16(v1)};
#define SUM(n) scale_four(vmlaq_s32(scale_any(vshlq_s32(v32[n], left), scale, right), u32[n], half), mantissa, exponent)
        const int8x16_t codes = codes_of(SUM(0), SUM(1), SUM(2), SUM(3), out_zero);
#undef SUM
        vst1q_s8(y + i, vminq_s8(vmaxq_s8(codes, low), high));
    }
    return i;
}
