/* acc * mantissa * 2^(exponent - 31) for exponents of at most 0 and accumulators below 2^30. Half is added before the
   shift, and 1 taken from negative numbers, so that halves go away from 0. */
static inline int32_t scale_right(int32_t acc, int32_t mantissa, int32_t exponent)
{
    const int32_t right = -exponent;
    const int32_t half = (int32_t)(((uint32_t)1 << right) >> 1);
    const int32_t away = right > 0 ? -1 : 0;
    const int32_t high = (int32_t)(((int64_t)acc * mantissa + ((int64_t)1 << 30)) >> 31);
    return (high + half + ((high >> 31) & away)) >> right;
}
