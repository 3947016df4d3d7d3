/* Depthwise rows in vectors of sixteen or eight channels. Two products of 8 bits fit 16 bits, as no weight is -128. */
enum { MOST_TAPS = 64 };

/* Sums of sixteen channels: four vectors, to which products of 16 bits are added. */
#define ADD_SIXTEEN(low, high) \
    do { \
        a = vaddw_s16(a, vget_low_s16(low)); \
        b = vaddw_high_s16(b, low); \
        c = vaddw_s16(c, vget_low_s16(high)); \
        d = vaddw_high_s16(d, high); \
    } while (0)
#define PAIR(u, w, u2, w2) \
    do { \
        const int8x16_t first = vld1q_s8(u), second = vld1q_s8(u2); \
        ADD_SIXTEEN(vmlal_s8(vmull_s8(vget_low_s8(first), vget_low_s8(w)), vget_low_s8(second), vget_low_s8(w2)), \
                    vmlal_high_s8(vmull_high_s8(first, w), second, w2)); \
        IN_ORDER; \
    } while (0)

/* Sixteen channels of a row with a kernel of 3x3: the weights stay in registers. */
static APART void depthwise_three(const struct ring *p, const int8_t *const *rows, const int8_t *weight,
                                  const struct quad *q, int8_t *restrict y)
{
    const int32_t channels = p->channels, near = p->dilation * channels, far = 2 * near, step = p->stride * channels;
    const int8_t *top = rows[0], *middle = rows[1], *bottom = rows[2];
    const int8x16_t w0 = vld1q_s8(weight), w1 = vld1q_s8(weight + channels), w2 = vld1q_s8(weight + 2 * channels);
    const int8x16_t w3 = vld1q_s8(weight + 3 * channels), w4 = vld1q_s8(weight + 4 * channels);
    const int8x16_t w5 = vld1q_s8(weight + 5 * channels), w6 = vld1q_s8(weight + 6 * channels);
    const int8x16_t w7 = vld1q_s8(weight + 7 * channels), w8 = vld1q_s8(weight + 8 * channels);
    const int16x8_t zero = vdupq_n_s16((int16_t)p->zero);
    int32_t n;
    for (n = p->count; n > 0; n--) {
        const int8x16_t last = vld1q_s8(bottom + far);
        int32x4_t a = vld1q_s32(q[0].bias), b = vld1q_s32(q[1].bias);
        int32x4_t c = vld1q_s32(q[2].bias), d = vld1q_s32(q[3].bias);
        PAIR(top, w0, top + near, w1);
        PAIR(top + far, w2, middle, w3);
        PAIR(middle + near, w4, middle + far, w5);
        PAIR(bottom, w6, bottom + near, w7);
        ADD_SIXTEEN(vmull_s8(vget_low_s8(last), vget_low_s8(w8)), vmull_high_s8(last, w8));
        vst1q_s8(y, codes_of(scale_quad(a, q), scale_quad(b, q + 1), scale_quad(c, q + 2), scale_quad(d, q + 3), zero));
        top += step;
        middle += step;
        bottom += step;
        y += channels;
    }
}

#define ADD_EIGHT(eight) \
    do { \
        a = vaddw_s16(a, vget_low_s16(eight)); \
        b = vaddw_high_s16(b, eight); \
    } while (0)
#define PAIR_OF_EIGHT(u, w, u2, w2) \
    do { \
        const int16x8_t products = vmlal_s8(vmull_s8(vld1_s8(u), w), vld1_s8(u2), w2); \
        ADD_EIGHT(products); \
        IN_ORDER; \
    } while (0)

/* Eight channels of a row with a kernel of 3x3. */
static APART void depthwise_three_eight(const struct ring *p, const int8_t *const *rows, const int8_t *weight,
                                        const struct quad *q, int8_t *restrict y)
{
    const int32_t channels = p->channels, near = p->dilation * channels, far = 2 * near, step = p->stride * channels;
    const int8_t *top = rows[0], *middle = rows[1], *bottom = rows[2];
    const int8x8_t w0 = vld1_s8(weight), w1 = vld1_s8(weight + channels), w2 = vld1_s8(weight + 2 * channels);
    const int8x8_t w3 = vld1_s8(weight + 3 * channels), w4 = vld1_s8(weight + 4 * channels);
    const int8x8_t w5 = vld1_s8(weight + 5 * channels), w6 = vld1_s8(weight + 6 * channels);
    const int8x8_t w7 = vld1_s8(weight + 7 * channels), w8 = vld1_s8(weight + 8 * channels);
    const int16x8_t zero = vdupq_n_s16((int16_t)p->zero);
    int32_t n;
    for (n = p->count; n > 0; n--) {
        int32x4_t a = vld1q_s32(q[0].bias), b = vld1q_s32(q[1].bias);
        int16x8_t last, codes;
        PAIR_OF_EIGHT(top, w0, top + near, w1);
        PAIR_OF_EIGHT(top + far, w2, middle, w3);
        PAIR_OF_EIGHT(middle + near, w4, middle + far, w5);
        PAIR_OF_EIGHT(bottom, w6, bottom + near, w7);
        last = vmull_s8(vld1_s8(bottom + far), w8);
        ADD_EIGHT(last);
        codes = vqmovn_high_s32(vqmovn_s32(scale_quad(a, q)), scale_quad(b, q + 1));
        vst1_s8(y, vqmovn_s16(vqaddq_s16(codes, zero)));
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
    const int16x8_t zero = vdupq_n_s16((int16_t)p->zero);
    int32_t n, i;
    for (n = p->count; n > 0; n--) {
        const int8_t *w = weight;
        int32x4_t a = vld1q_s32(q[0].bias), b = vld1q_s32(q[1].bias);
        int8x16_t codes;
        for (i = 0; i < taps - 1; i += 2) {
            int16x8_t products = vmull_s8(vld1_s8(from + offsets[i]), vld1_s8(w));
            products = vmlal_s8(products, vld1_s8(from + offsets[i + 1]), vld1_s8(w + channels));
            ADD_EIGHT(products);
            w += 2 * channels;
        }
        if (i < taps) {
            const int16x8_t products = vmull_s8(vld1_s8(from + offsets[i]), vld1_s8(w));
            ADD_EIGHT(products);
        }
        a = scale_quad(a, q);
        b = scale_quad(b, q + 1);
        codes = codes_of(a, b, a, b, zero);
        vst1_s8(y, vget_low_s8(codes));
        from += step;
        y += channels;
    }
}

/* Eight channels of a row whose weights are short of an offset, with which they fit no byte: products of 16 bits. */
static APART void depthwise_eight_wide(const struct ring *p, const int32_t *offsets, const int8_t *from,
                                       const int8_t *weight, const struct quad *q, int8_t *restrict y)
{
    const int32_t channels = p->channels, step = p->stride * channels, taps = p->kernel_height * p->kernel_width;
    const int16x8_t zero = vdupq_n_s16((int16_t)p->zero), missing = vdupq_n_s16((int16_t)p->weight_zero);
    int32_t n, i;
    for (n = p->count; n > 0; n--) {
        const int8_t *w = weight;
        int32x4_t a = vld1q_s32(q[0].bias), b = vld1q_s32(q[1].bias);
        int16x8_t codes;
        for (i = 0; i < taps; i++) {
            const int16x8_t whole = vaddw_s8(missing, vld1_s8(w)), x = vmovl_s8(vld1_s8(from + offsets[i]));
            a = vmlal_s16(a, vget_low_s16(x), vget_low_s16(whole));
            b = vmlal_high_s16(b, x, whole);
            w += channels;
        }
        codes = vqmovn_high_s32(vqmovn_s32(scale_quad(a, q)), scale_quad(b, q + 1));
        vst1_s8(y, vqmovn_s16(vqaddq_s16(codes, zero)));
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
    for (; p->weight_zero != 0 && c < channels - 7; c += 8) {
        depthwise_eight_wide(p, offsets, p->rows + c, weight + c, quads + c / 4, y + c);
    }
    while (height == 3 && width == 3 && c < channels - 7) {
        const int8_t *const rows[3] = {p->rows + offsets[0] + c, p->rows + offsets[3] + c, p->rows + offsets[6] + c};
        if (c < channels - 15) {
            depthwise_three(p, rows, weight + c, quads + c / 4, y + c);
            c += 16;
        } else {
            depthwise_three_eight(p, rows, weight + c, quads + c / 4, y + c);
            c += 8;
        }
    }
    for (; c < channels - 7; c += 8) {
        depthwise_eight(p, offsets, p->rows + c, weight + c, quads + c / 4, y + c);
    }
    if (c < channels) {
        depthwise_rest(p, weight, quads, y, c);
    }
}
