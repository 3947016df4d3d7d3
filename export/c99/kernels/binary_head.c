/* The mean over the image, pixel by pixel, then the linear layer, channel by channel: weights are [channel][class]. */
static inline void NAME(const float *x, int32_t pixels, int32_t channels, const float *weight, const float *bias,
                        int32_t classes, float *mean, float *y)
{
    int32_t pixel, channel, i;
    memset(mean, 0, (size_t)channels * sizeof *mean);
    for (pixel = 0; pixel < pixels; pixel++, x += channels) {
        for (channel = 0; channel < channels; channel++) {
            mean[channel] += x[channel];
        }
    }
    memcpy(y, bias, (size_t)classes * sizeof *y);
    for (channel = 0; channel < channels; channel++, weight += classes) {
        const float value = mean[channel] / (float)pixels;
        for (i = 0; i < classes; i++) {
            y[i] += value * weight[i];
        }
    }
}
