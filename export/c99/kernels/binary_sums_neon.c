/* Sums of a patch of WORDS words for all outputs, eight at a time, four to a vector: as many as there are terms, less
   2 for every bit that differs. A byte holds the bits of 31 words. */
static inline void NAME(const uint32_t *patch, const uint32_t *weight, int32_t outputs, int32_t terms, int32_t *sums)
{
    const uint32_t *w = weight, *v = weight + 4 * WORDS;
    int32_t output;
    for (output = 0; output < outputs; output += 8, w += 8 * WORDS, v += 8 * WORDS, sums += 8) {
        uint32x4_t first = vdupq_n_u32(0), second = vdupq_n_u32(0);
        int32_t k = 0;
        do {
            const int32_t end = WORDS - k > 31 ? k + 28 : WORDS;
            uint8x16_t a = vdupq_n_u8(0), b = vdupq_n_u8(0);
            for (; k + 4 <= end; k += 4) {
                const uint32x4_t x = vld1q_u32(patch + k);
                a = binary_unlike4(x, w + 4 * k, a);
                b = binary_unlike4(x, v + 4 * k, b);
            }
            for (; k < end; k++) {
                const uint32x4_t x = vdupq_n_u32(patch[k]);
                a = binary_unlike(x, w + 4 * k, a);
                b = binary_unlike(x, v + 4 * k, b);
            }
            first = vpadalq_u16(first, vpaddlq_u8(a));
            second = vpadalq_u16(second, vpaddlq_u8(b));
        } while (k < WORDS);
        vst1q_s32(sums, vsubq_s32(vdupq_n_s32(terms), vreinterpretq_s32_u32(vshlq_n_u32(first, 1))));
        vst1q_s32(sums + 4, vsubq_s32(vdupq_n_s32(terms), vreinterpretq_s32_u32(vshlq_n_u32(second, 1))));
    }
}
