/* Store a bit for every value of a pixel that is not below 0; adding 0 makes one zero of two. */
static inline void NAME(const float *values, int32_t count, uint8_t *y_bits)
{
    int32_t i, k;
    for (i = 0; i < count; i += 8) {
        const int32_t some = count - i < 8 ? count - i : 8;
        uint32_t below = 0;
#if defined(BINARY_NEON)
        if (some == 8) {
            const uint32x4_t zero = vcltzq_f32(vld1q_f32(values + i)), one = vcltzq_f32(vld1q_f32(values + i + 4));
            y_bits[i >> 3] = (uint8_t)(0xFFu ^ binary_eight(zero, one));
            continue;
        }
#endif
        for (k = 0; k < some; k++) {
            const float value = values[i + k] + 0.0f;
            uint32_t word;
            memcpy(&word, &value, sizeof word);
            below |= (word >> 31) << k;
        }
        y_bits[i >> 3] = (uint8_t)(below ^ (0xFFu >> (8 - some)));
    }
}
