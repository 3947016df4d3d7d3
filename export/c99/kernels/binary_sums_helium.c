/* Sums of a patch of WORDS words for all outputs, four to a vector: as many as there are terms, less 2 for every bit
   that differs. */
static inline void NAME(const uint32_t *patch, const uint32_t *weight, int32_t outputs, int32_t terms, int32_t *sums)
{
    const struct binary_masks m = {vdupq_n_u32(0x55555555u), vdupq_n_u32(0x33333333u), vdupq_n_u32(0x0F0F0F0Fu)};
    int32_t output;
    for (output = 0; output < outputs; output += 4, weight += 4 * WORDS, sums += 4) {
        uint32x4_t unlike = vdupq_n_u32(0), bytes;
COUNTS
        vst1q_s32(sums, vsubq_s32(vdupq_n_s32(terms), vreinterpretq_s32_u32(vshlq_n_u32(unlike, 1))));
    }
}
