/* Store a bit for every sum of a pixel that reaches its threshold; thresholds lie just beyond the sums at most, so
   that a difference has the sign of the comparison. */
static inline void NAME(const int32_t *sums, const int32_t *least, int32_t count, uint8_t *y_bits)
{
    int32_t i, k;
    for (i = 0; i < count; i += 8) {
        const int32_t some = count - i < 8 ? count - i : 8;
        uint32_t below = 0;
        if (some == 8) {
#if defined(BINARY_NEON)
            below = binary_eight(vcltq_s32(vld1q_s32(sums + i), vld1q_s32(least + i)),
                                 vcltq_s32(vld1q_s32(sums + i + 4), vld1q_s32(least + i + 4)));
#else
#define BELOW(k) below |= ((uint32_t)(sums[i + k] - least[i + k]) >> 31) << k;
            BELOW(0) BELOW(1) BELOW(2) BELOW(3) BELOW(4) BELOW(5) BELOW(6) BELOW(7)
#undef BELOW
#endif
        } else {
            for (k = 0; k < some; k++) {
                below |= ((uint32_t)(sums[i + k] - least[i + k]) >> 31) << k;
            }
        }
        y_bits[i >> 3] = (uint8_t)(below ^ (0xFFu >> (8 - some)));
    }
}
