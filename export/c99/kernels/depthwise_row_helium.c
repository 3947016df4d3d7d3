/* Depthwise rows in vectors of eight channels, whose products fit 16 bits, and so do two of them as no weight is -128.
   Sums of 32 bits are kept of even and of odd channels. */
enum { MOST_TAPS = 64, QUAD_WORDS = 12 };

/* Four numbers of eight neighbouring channels: those of channels 0, 2, 4, 6 for `first` 0, 1, 3, 5, 7 for `first` 1. */
static inline int32x4_t every_second(const int32_t *numbers, uint32_t first)
{
    const uint32x4_t places = {first, first + 2, first + QUAD_WORDS, first + QUAD_WORDS + 2};
    return vldrwq_gather_shifted_offset_s32(numbers, places);
}

/* Eight channels of a row with any kernel; `offsets` are those of the taps from the corner of a window. */
static APART void depthwise_eight(const struct ring *p, const int32_t *offsets, const int8_t *from,
                                  const int8_t *weight, const struct quad *q, int8_t *restrict y)
{
    const int32_t channels = p->channels, step = p->stride * channels, taps = p->kernel_height * p->kernel_width;
    const int32x4_t bias0 = every_second(q->bias, 0), bias1 = every_second(q->bias, 1);
    const int32x4_t mantissa0 = every_second(q->mantissa, 0), mantissa1 = every_second(q->mantissa, 1);
    const int32x4_t shift0 = every_second(q->shift, 0), shift1 = every_second(q->shift, 1);
    const int16_t zero = (int16_t)p->zero;
    int32_t n, i;
    for (n = p->count; n > 0; n--) {
        const int8_t *w = weight;
        const int32_t *offset = offsets;
        int32x4_t even = bias0, odd = bias1;
        int16x8_t codes;
        for (i = taps / 2; i > 0; i--) {
            int16x8_t products = vmulq_s16(vldrbq_s16(from + offset[0]), vldrbq_s16(w));
            products = vaddq_s16(products, vmulq_s16(vldrbq_s16(from + offset[1]), vldrbq_s16(w + channels)));
            even = vaddq_s32(even, vmovlbq_s16(products));
            odd = vaddq_s32(odd, vmovltq_s16(products));
            offset += 2;
            w += 2 * channels;
        }
        if (taps % 2 != 0) {
            const int16x8_t products = vmulq_s16(vldrbq_s16(from + offset[0]), vldrbq_s16(w));
            even = vaddq_s32(even, vmovlbq_s16(products));
            odd = vaddq_s32(odd, vmovltq_s16(products));
        }
        codes = vqmovnbq_s32(vdupq_n_s16(0), scale_four(even, mantissa0, shift0));
        codes = vqaddq_n_s16(vqmovntq_s32(codes, scale_four(odd, mantissa1, shift1)), zero);
        vstrbq_s16(y, vreinterpretq_s16_s8(vqmovnbq_s16(vdupq_n_s8(0), codes)));
        from += step;
        y += channels;
    }
}

static void depthwise_row(const struct ring *p, const int8_t *weight, const struct quad *quads, int8_t *y)
{
    const int32_t channels = p->channels, height = p->kernel_height, width = p->kernel_width;
    int32_t offsets[MOST_TAPS];
    int32_t c = 0, i, j;
    if (height * width > MOST_TAPS) {
        depthwise_rest(p, weight, quads, y, 0);
        return;
    }
    for (i = 0; i < height; i++) {
        const int32_t row = (p->first + i) % height * p->row_step;
        for (j = 0; j < width; j++) {
            offsets[i * width + j] = row + j * p->dilation * channels;
        }
    }
    for (; c < channels - 7; c += 8) {
        depthwise_eight(p, offsets, p->rows + c, weight + c, quads + c / 4, y + c);
    }
    if (c < channels) {
        depthwise_rest(p, weight, quads, y, c);
    }
}
