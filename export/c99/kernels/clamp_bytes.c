/* Cut codes at limits that are narrower than a byte's. */
static void clamp_bytes(int8_t *y, int32_t count, int32_t low, int32_t high)
{
    int32_t i = 0;
#if defined(HELIUM)
    for (; i < count - 15; i += 16) {
        const int8x16_t codes = vmaxq_s8(vldrbq_s8(y + i), vdupq_n_s8((int8_t)low));
        vstrbq_s8(y + i, vminq_s8(codes, vdupq_n_s8((int8_t)high)));
    }
#elif defined(NEON)
    for (; i < count - 15; i += 16) {
        const int8x16_t codes = vmaxq_s8(vld1q_s8(y + i), vdupq_n_s8((int8_t)low));
        vst1q_s8(y + i, vminq_s8(codes, vdupq_n_s8((int8_t)high)));
    }
#endif
    for (; i < count; i++) {
        y[i] = (int8_t)(y[i] < low ? low : y[i] > high ? high : y[i]);
    }
}
