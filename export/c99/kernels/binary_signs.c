/* Store a bit for every value of a pixel that is not below 0; adding 0 makes one zero of two. */
static inline void NAME(const float *values, int32_t count, uint8_t *y_bits)
{
    int32_t i;
    for (i = 0; i < count; i += 8, values += 8) {
        uint32_t below = 0;
        int32_t some = count - i < 8 ? count - i : 8;
        const uint32_t all = 0xFFu >> (8 - some);
#if defined(BINARY_NEON)
        if (some == 8) {
            below = binary_eight(vcltzq_f32(vld1q_f32(values)), vcltzq_f32(vld1q_f32(values + 4)));
            some = 0;
        }
#endif
        while (some-- > 0) {
            const float value = values[some] + 0.0f;
            uint32_t word;
            memcpy(&word, &value, sizeof word);
            below += below + (word >> 31);
        }
        y_bits[i >> 3] = (uint8_t)(below ^ all);
    }
}
