/* Number of bits of a value above 0. */
static inline int32_t bit_length(uint64_t value)
{
#if defined(__GNUC__)
    return 64 - (int32_t)__builtin_clzll((unsigned long long)value);
#else
    int32_t bits = 0;
    while (value != 0) {
        value >>= 1;
        bits++;
    }
    return bits;
#endif
}
