/* Half of a number, rounded down and cut at the limits of a byte. */
static inline int8_t saturated_half(int32_t value)
{
#if defined(__ARM_FEATURE_SAT) && defined(__thumb2__) && defined(__GNUC__)
    int32_t code;
    __asm__("ssat %0, #8, %1, asr #1" : "=r"(code) : "r"(value));
    return (int8_t)code;
#else
    const int32_t half = value >> 1;
    return (int8_t)(half < -128 ? -128 : half > 127 ? 127 : half);
#endif
}

/* Sum to code where the result is a right shift of at least one: the high half of the doubled product, then a rounding
   shift by `shift` + 1, halves away from zero. */
static inline int8_t to_code(int32_t sum, int32_t mantissa, int32_t shift, int32_t zero)
{
#if defined(DUAL_MAC)
    const int32_t high = high_rounded(sum * 2, mantissa);
#else
    const int32_t high = (int32_t)(((int64_t)sum * mantissa + ((int64_t)1 << 30)) >> 31);
#endif
    const int32_t add = (int32_t)((uint32_t)(2 * zero + 1) << shift);
    return saturated_half((high + (high >> 31) + add) >> shift);
}
