/* The first elements of a sum, four at a time; returns how many. One addend's scale is exactly one half. */
static int32_t add_vector(const int8_t *a, const int8_t *b, int8_t *y, int32_t count, const struct addends *p,
                          const struct requant *r)
{
    const int32_t whole = p->mantissa[0] == (int32_t)1 << 30 && p->exponent[0] == 0 ? 0 : 1, part = 1 - whole;
    const int8_t *from = whole == 0 ? a : b, *other = whole == 0 ? b : a;
    const int32_t zero = -p->zero[whole], other_zero = -p->zero[part];
    const int32_t half = (int32_t)1 << (p->left_shift - 1), left = p->left_shift;
    const int32_t scale = p->mantissa[part], right = p->exponent[part];
    const int32_t mantissa = r->mantissa[0], exponent = r->exponent[0], out_zero = r->zero;
    const int32x4_t low = vdupq_n_s32(r->low), high = vdupq_n_s32(r->high);
    /* Exponent 0 shifts nothing, and nothing may be taken from negative numbers then. */
    const int32x4_t shifts = vdupq_n_s32(right < 0 ? -1 : 0);
    int32_t i;
    for (i = 0; i < count - 3; i += 4) {
        int32x4_t sums = vqrdmulhq_n_s32(vshlq_r_s32(vaddq_n_s32(vldrbq_s32(other + i), other_zero), left), scale);
        sums = vrshlq_n_s32(vaddq_s32(sums, vshrq_n_s32(vandq_s32(sums, shifts), 31)), right);
        sums = vmlaq_n_s32(sums, vaddq_n_s32(vldrbq_s32(from + i), zero), half);
        sums = vqrdmulhq_n_s32(sums, mantissa);
        sums = vrshlq_n_s32(vaddq_s32(sums, vshrq_n_s32(sums, 31)), exponent);
        vstrbq_s32(y + i, vminq_s32(vmaxq_s32(vaddq_n_s32(sums, out_zero), low), high));
    }
    return i;
}
