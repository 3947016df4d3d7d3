/* Depthwise rows in vectors of eight channels, whose products fit 16 bits, and so do two of them as no weight is -128.
   Sums of 32 bits are kept of even and of odd channels. */
enum { MOST_TAPS = 64, QUAD_WORDS = 12 };

/* Four numbers of eight neighbouring channels: those of channels 0, 2, 4, 6 for `first` 0, 1, 3, 5, 7 for `first` 1. */
static inline int32x4_t every_second(const int32_t *numbers, uint32_t first)
{
    const uint32x4_t places = {first, first + 2, first + QUAD_WORDS, first + QUAD_WORDS + 2};
    return vldrwq_gather_shifted_offset_s32(numbers, places);
}

/* Eight sums as codes. */
static inline int16x8_t byte_codes(int32x4_t even, int32x4_t odd, int32_t zero)
{
    const int16x8_t codes = vqmovntq_s32(vqmovnbq_s32(vreinterpretq_s16_s32(even), even), odd);
    const int16x8_t moved = vqaddq_n_s16(codes, (int16_t)zero);
    return vreinterpretq_s16_s8(vqmovnbq_s16(vreinterpretq_s8_s16(moved), moved));
}

/* What a 3x3 kernel needs for eight channels, in the order in which it is read: numbers of even channels before those
   of odd ones. */
struct nine_taps {
    int32_t bias[8];
    int16_t weight[72];
    int32_t scale[16];
};

static inline void nine_taps(const struct ring *p, const int8_t *weight, const struct quad *q, struct nine_taps *t)
{
    uint32_t i;
    for (i = 0; i < 2; i++) {
        vstrwq_s32(t->bias + 4 * i, every_second(q->bias, i));
        vstrwq_s32(t->scale + 8 * i, every_second(q->mantissa, i));
        vstrwq_s32(t->scale + 8 * i + 4, vmvnq_s32(every_second(q->shift, i)));
    }
    for (i = 0; i < 9; i++) {
        vstrhq_s16(t->weight + 8 * i, vldrbq_s16(weight));
        weight += p->channels;
    }
}

/* Products of two taps with the next weights are added in 16 bits, and those sums in 32. */
#define ADD_EIGHT(sums) \
    do { \
        const int16x8_t eight = sums; \
        even = vaddq_s32(even, vmovlbq_s16(eight)); \
        odd = vaddq_s32(odd, vmovltq_s16(eight)); \
        HOLD(even); \
        HOLD(odd); \
        IN_ORDER; \
    } while (0)
#define ADD_PAIR(from, next) \
    do { \
        const int16x8_t first = vmulq_s16(vldrbq_s16(from), vldrhq_s16(w)); \
        ADD_EIGHT(vaddq_s16(first, vmulq_s16(vldrbq_s16(next), vldrhq_s16(w + 8)))); \
        w += 16; \
    } while (0)

/* Eight channels of a row with a kernel of 3x3. */
static APART void depthwise_three(const struct ring *p, const int32_t *offsets, const int8_t *from,
                                  const struct nine_taps *t, int8_t *restrict y)
{
    const int32_t channels = p->channels, step = p->stride * channels, near = p->dilation * channels, far = 2 * near;
    const int32_t zero = p->zero;
    const int8_t *top = from + offsets[0], *middle = from + offsets[3], *bottom = from + offsets[6];
    int32_t n;
    for (n = p->count; n > 0; n--) {
        const int16_t *w = t->weight;
        const int32_t *s;
        int32x4_t even = vldrwq_s32(t->bias), odd = vldrwq_s32(t->bias + 4), mantissa;
        FRESH(w);
        ADD_PAIR(top, top + near);
        ADD_PAIR(top + far, middle);
        ADD_PAIR(middle + near, middle + far);
        ADD_PAIR(bottom, bottom + near);
        ADD_EIGHT(vmulq_s16(vldrbq_s16(bottom + far), vldrhq_s16(w)));
        w += 8;
        s = (const int32_t *)(const void *)w;
        mantissa = vldrwq_s32(s);
        s += 4;
        even = scale_by(even, mantissa, vldrwq_s32(s));
        s += 4;
        mantissa = vldrwq_s32(s);
        s += 4;
        odd = scale_by(odd, mantissa, vldrwq_s32(s));
        vstrbq_s16(y, byte_codes(even, odd, zero));
        top += step;
        middle += step;
        bottom += step;
        y += channels;
    }
}

/* Eight channels of a row with any kernel; `offsets` are those of the taps from the corner of a window. */
static APART void depthwise_eight(const struct ring *p, const int32_t *offsets, const int8_t *from,
                                  const int8_t *weight, const struct quad *q, int8_t *restrict y)
{
    const int32_t channels = p->channels, step = p->stride * channels, taps = p->kernel_height * p->kernel_width;
    const int32x4_t bias0 = every_second(q->bias, 0), bias1 = every_second(q->bias, 1);
    const int32x4_t mantissa0 = every_second(q->mantissa, 0), mantissa1 = every_second(q->mantissa, 1);
    const int32x4_t shift0 = every_second(q->shift, 0), shift1 = every_second(q->shift, 1);
    int32_t n, i;
    for (n = p->count; n > 0; n--) {
        const int8_t *w = weight;
        const int32_t *offset = offsets;
        int32x4_t even = bias0, odd = bias1;
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
        vstrbq_s16(y, byte_codes(scale_four(even, mantissa0, shift0), scale_four(odd, mantissa1, shift1), p->zero));
        from += step;
        y += channels;
    }
}

/* Eight channels of a row whose weights are short of an offset, with which they fit no byte: products of 16 bits. */
static APART void depthwise_eight_wide(const struct ring *p, const int32_t *offsets, const int8_t *from,
                                       const int8_t *weight, const struct quad *q, int8_t *restrict y)
{
    const int32_t channels = p->channels, step = p->stride * channels, taps = p->kernel_height * p->kernel_width;
    const int32x4_t bias0 = every_second(q->bias, 0), bias1 = every_second(q->bias, 1);
    const int32x4_t mantissa0 = every_second(q->mantissa, 0), mantissa1 = every_second(q->mantissa, 1);
    const int32x4_t shift0 = every_second(q->shift, 0), shift1 = every_second(q->shift, 1);
    const int16_t missing = (int16_t)p->weight_zero;
    int32_t n, i;
    for (n = p->count; n > 0; n--) {
        const int8_t *w = weight;
        int32x4_t even = bias0, odd = bias1;
        for (i = 0; i < taps; i++) {
            const int16x8_t x = vldrbq_s16(from + offsets[i]), whole = vaddq_n_s16(vldrbq_s16(w), missing);
            even = vaddq_s32(even, vmullbq_int_s16(x, whole));
            odd = vaddq_s32(odd, vmulltq_int_s16(x, whole));
            w += channels;
        }
        vstrbq_s16(y, byte_codes(scale_four(even, mantissa0, shift0), scale_four(odd, mantissa1, shift1), p->zero));
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
        if (p->weight_zero != 0) {
            depthwise_eight_wide(p, offsets, p->rows + c, weight + c, quads + c / 4, y + c);
        } else if (height == 3 && width == 3) {
            struct nine_taps taps;
            nine_taps(p, weight + c, quads + c / 4, &taps);
            depthwise_three(p, offsets, p->rows + c, &taps, y + c);
        } else {
            depthwise_eight(p, offsets, p->rows + c, weight + c, quads + c / 4, y + c);
        }
    }
    if (c < channels) {
        depthwise_rest(p, weight, quads, y, c);
    }
}
