/* The same rule where every exponent is negative and accumulators stay below 2^30: fewer cases, same codes.
   Adding half and, for negative numbers, -1 before the shift rounds halves away from 0. */
static inline Y_T NAME(int32_t acc, const struct requant *r, int32_t channel)
{
    const int32_t at = r->per_channel ? channel : 0;
    const int32_t right = -r->exponent[at];
    const int32_t half = (int32_t)(((uint32_t)1 << right) >> 1);
    const int32_t high = (int32_t)(((int64_t)acc * r->mantissa[at] + ((int64_t)1 << 30)) >> 31);
    const int32_t value = ((high + half + (high >> 31)) >> right) + r->zero;
    return (Y_T)(value < r->low ? r->low : value > r->high ? r->high : value);
}
