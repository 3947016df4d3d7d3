/* Values of the sums of a pixel: gain and offset, plus the shortcut for as many channels as it has. */
static inline void NAME(const struct binary_conv *c, const int32_t *sums, const float *shortcut, float *values)
{
    const int32_t added = c->skip ? c->channels : 0;
    int32_t i = 0;
#if defined(BINARY_NEON)
    const float32x4_t low = vdupq_n_f32(-1.0f), high = vdupq_n_f32(1.0f);
    for (; i + 4 <= c->outputs && (i + 4 <= added || i >= added); i += 4) {
        const float32x4_t scaled = vmulq_f32(vld1q_f32(c->gain + i), vcvtq_f32_s32(vld1q_s32(sums + i)));
        float32x4_t made = vaddq_f32(scaled, vld1q_f32(c->offset + i));
        made = i < added ? vaddq_f32(made, vld1q_f32(shortcut + i)) : made;
        vst1q_f32(values + i, vminq_f32(vmaxq_f32(made, low), high));
    }
#endif
    for (; i < added; i++) {
        const float made = c->gain[i] * (float)sums[i] + c->offset[i];
        values[i] = binary_clip(made + shortcut[i]);
    }
    for (; i < c->outputs; i++) {
        values[i] = binary_clip(c->gain[i] * (float)sums[i] + c->offset[i]);
    }
}
