/* Values of the sums of a pixel: gain and offset, plus the shortcut for as many channels as it has. */
static inline void NAME(const struct binary_conv *c, const int32_t *sums, const float *shortcut, float *values)
{
    const int32_t added = c->skip ? c->channels : 0;
    int32_t i;
    for (i = 0; i < added; i++) {
        const float made = c->gain[i] * (float)sums[i] + c->offset[i];
        values[i] = binary_clip(made + shortcut[i]);
    }
    for (i = added; i < c->outputs; i++) {
        values[i] = binary_clip(c->gain[i] * (float)sums[i] + c->offset[i]);
    }
}
