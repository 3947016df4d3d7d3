/* acc * mantissa * 2^exponent rounded half to even on the grid of a minifloat with MANTISSA_BITS bits of fraction.
   The mantissa has 15 bits, so a product that is not 0 has more bits than any fraction: bits are always dropped. */
static inline Y_T NAME(int64_t acc, const struct requant *r, int32_t channel)
{
    const int32_t at = r->per_channel ? channel : 0;
    const uint64_t product = (uint64_t)(acc < 0 ? -acc : acc) * (uint32_t)r->mantissa[at];
    const int32_t exponent = r->exponent[at];
    int32_t ordinal = 0;
    if (product != 0) {
        int32_t step = bit_length(product) - 1 + exponent - MANTISSA_BITS;
        uint64_t kept = 0;
        int32_t drop;
        step = step > 0 ? step : 0;
        drop = step - exponent;
        if (drop < 64) {
            const uint64_t half = (uint64_t)1 << (drop - 1);
            const uint64_t rest = product & (half * 2u - 1u);
            kept = product >> drop;
            kept += (rest > half || (rest == half && (kept & 1u) != 0u)) ? 1u : 0u;
        }
        ordinal = step > MAX_ORDINAL ? MAX_ORDINAL : (int32_t)(step * (1 << MANTISSA_BITS)) + (int32_t)kept;
        ordinal = ordinal > MAX_ORDINAL ? MAX_ORDINAL : ordinal;
        ordinal = acc < 0 ? -ordinal : ordinal;
    }
    ordinal = ordinal < r->low ? r->low : ordinal;
    ordinal = ordinal > r->high ? r->high : ordinal;
    return Y_CODE(ordinal);
}
