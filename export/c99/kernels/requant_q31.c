static inline Y_T NAME(int32_t acc, const struct requant *r, int32_t channel)
{
    const int32_t at = r->per_channel ? channel : 0;
    const int32_t value = scale_q31(acc, r->mantissa[at], r->exponent[at]);
    /* Clamp before the zero point is added: the sum of both could leave int32. */
    if (value < r->low - r->zero) {
        return (Y_T)r->low;
    }
    if (value > r->high - r->zero) {
        return (Y_T)r->high;
    }
    return (Y_T)(value + r->zero);
}
