/* acc * mantissa * 2^(exponent - 31): high half of the doubled product, then a rounding shift, halves away from 0. */
static inline int32_t scale_q31(int32_t acc, int32_t mantissa, int32_t exponent)
{
    const int32_t left = exponent > 0 ? exponent : 0;
    const int32_t right = left - exponent;
    const int64_t product = (int64_t)(acc * ((int32_t)1 << left)) * mantissa;
    const int32_t high = (int32_t)((product + ((int64_t)1 << 30)) >> 31);
    const int32_t mask = (int32_t)(((uint32_t)1 << right) - 1u);
    const int32_t threshold = (mask >> 1) + (high < 0 ? 1 : 0);
    return (high >> right) + ((high & mask) > threshold ? 1 : 0);
}
