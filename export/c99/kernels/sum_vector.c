/* Sums of eight neighbouring channels over the positions of an image. As many as fit 16 bits are added there. */
static void sum_eight(const int8_t *x, int32_t positions, int32_t channels, int32_t *sums)
{
    int32_t done, i;
    memset(sums, 0, 8 * sizeof *sums);
    for (done = 0; done < positions; done += 255) {
        int32_t count = positions - done < 255 ? positions - done : 255;
        int16_t part[8];
#if defined(HELIUM)
        int16x8_t total = vdupq_n_s16(0);
        for (; count > 0; count--) {
            total = vaddq_s16(total, vldrbq_s16(x));
            x += channels;
        }
#else
        int16x8_t total = vdupq_n_s16(0);
        for (; count > 0; count--) {
            total = vaddw_s8(total, vld1_s8(x));
            x += channels;
        }
#endif
        vst1q_s16(part, total);
        for (i = 0; i < 8; i++) {
            sums[i] += part[i];
        }
    }
}
