/* How a window slides over an image: sizes in elements, layout height, width, channels. */
struct window {
    int32_t height, width, channels;
    int32_t out_height, out_width, out_channels;
    int32_t kernel_height, kernel_width;
    int32_t stride_y, stride_x;
    int32_t pad_top, pad_left;
    int32_t dilation_y, dilation_x;
    int32_t groups;
    int32_t zero;
    /* Of signed bytes: zero point and limits of the output; what every weight is short of, in even and in odd channels;
       bits of a weight; whether windows are single pixels inside the image. */
    int32_t y_zero, low, high, weight_zero, odd_zero, weight_bits, direct;
};

/* Accumulator to code: one multiplier, or one per output channel; low and high clamp the result. */
struct requant {
    const int32_t *mantissa;
    const int8_t *exponent;
    int32_t per_channel;
    int32_t zero, low, high;
};
