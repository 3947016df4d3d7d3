/* Signed bytes minus a zero point as 16-bit numbers. */
static inline void NAME(const int8_t *restrict from, int16_t *restrict to, int32_t count, int32_t zero)
{
    int32_t i = 0;
#if defined(DUAL_MAC)
    const int16x2_t base = (int16x2_t)((uint32_t)(-zero & 0xffff) * 0x10001u);
    for (; i < count - 3; i += 4) {
        const uint32_t word = load_word(from + i);
        const uint32_t even = (uint32_t)even_bytes_plus(base, word), odd = (uint32_t)odd_bytes_plus(base, word);
        const uint32_t low = (even & 0xffffu) | (odd << 16), high = (odd & 0xffff0000u) | (even >> 16);
        memcpy(to + i, &low, sizeof low);
        memcpy(to + i + 2, &high, sizeof high);
    }
#elif defined(NEON)
    const int16x8_t base = vdupq_n_s16((int16_t)zero);
    for (; i < count - 7; i += 8) {
        vst1q_s16(to + i, vsubq_s16(vmovl_s8(vld1_s8(from + i)), base));
    }
#endif
    for (; i < count; i++) {
        to[i] = (int16_t)(from[i] - zero);
    }
}
