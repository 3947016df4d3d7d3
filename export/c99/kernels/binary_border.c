/* Put right the sums of a window that meets zeros around the image, where its patch has minus ones. */
static inline void NAME(const int16_t *border, int32_t outputs, int32_t *sums)
{
    int32_t i = 0;
#if defined(BINARY_NEON)
    for (; i + 4 <= outputs; i += 4) {
        vst1q_s32(sums + i, vaddw_s16(vld1q_s32(sums + i), vld1_s16(border + i)));
    }
#endif
    for (; i < outputs; i++) {
        sums[i] += border[i];
    }
}
