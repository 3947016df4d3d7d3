#if defined(DUAL_MAC)
#define MAX_TAPS 25

/* Weights of four channels as 16-bit numbers, even channels before odd ones, in the order in which rows lie in the ring. */
static void widen_taps(const struct ring *p, const int8_t *weight, uint32_t *taps)
{
    const int16x2_t zero = (int16x2_t)(((uint32_t)p->weight_zero & 0xffffu) * 0x10001u);
    int32_t i, j;
    for (i = 0; i < p->kernel_height; i++) {
        const int32_t row = i - p->first + (i < p->first ? p->kernel_height : 0);
        const int8_t *from = weight + row * p->kernel_width * p->channels;
        for (j = p->kernel_width; j > 0; j--) {
            const uint32_t word = load_word(from);
            *taps++ = (uint32_t)even_bytes_plus(zero, word);
            *taps++ = (uint32_t)odd_bytes_plus(zero, word);
            from += p->channels;
        }
    }
}

/* Add the products of one tap with four channels, sums of channels 0 to 3; returns the next tap. */
static inline const uint32_t *add_tap(const int8_t *from, const uint32_t *tap, int32_t *sums)
{
    const uint32_t word = load_word(from);
    const int16x2_t u02 = even_bytes(word), u13 = odd_bytes(word);
    uint64_t pair;
    LOAD_PAIR(pair, tap, 8);
    sums[0] = __smlabb(u02, (int16x2_t)(uint32_t)pair, sums[0]);
    sums[2] = __smlatt(u02, (int16x2_t)(uint32_t)pair, sums[2]);
    sums[1] = __smlabb(u13, (int16x2_t)(uint32_t)(pair >> 32), sums[1]);
    sums[3] = __smlatt(u13, (int16x2_t)(uint32_t)(pair >> 32), sums[3]);
    IN_ORDER;
    return tap;
}

/* Four channels of one output row under a kernel of three rows and columns. */
static APART void four_channels_3x3(const struct ring *p, const uint32_t *taps, const struct quad *q, int8_t *y,
                                    const int8_t *rows)
{
    const int32_t channels = p->channels, tap_step = p->dilation * channels, step = p->stride * channels;
    const int32_t row_step = p->row_step, zero = p->zero;
    int32_t n;
    for (n = p->count; n > 0; n--) {
        const int8_t *row = rows;
        const uint32_t *tap = taps;
        int32_t sums[4];
        sums[0] = q->bias[0];
        sums[1] = q->bias[1];
        sums[2] = q->bias[2];
        sums[3] = q->bias[3];
        tap = add_tap(row, tap, sums);
        tap = add_tap(row + tap_step, tap, sums);
        tap = add_tap(row + 2 * tap_step, tap, sums);
        row += row_step;
        tap = add_tap(row, tap, sums);
        tap = add_tap(row + tap_step, tap, sums);
        tap = add_tap(row + 2 * tap_step, tap, sums);
        row += row_step;
        tap = add_tap(row, tap, sums);
        tap = add_tap(row + tap_step, tap, sums);
        add_tap(row + 2 * tap_step, tap, sums);
        y[0] = to_code(sums[0], q->mantissa[0], q->shift[0], zero);
        y[1] = to_code(sums[1], q->mantissa[1], q->shift[1], zero);
        y[2] = to_code(sums[2], q->mantissa[2], q->shift[2], zero);
        y[3] = to_code(sums[3], q->mantissa[3], q->shift[3], zero);
        y += channels;
        rows += step;
    }
}

/* Four channels of one output row under any kernel. */
static APART void four_channels(const struct ring *p, const uint32_t *taps, const struct quad *q, int8_t *y,
                                const int8_t *rows)
{
    const int32_t channels = p->channels, tap_step = p->dilation * channels;
    int32_t n, i, j;
    for (n = p->count; n > 0; n--) {
        const int8_t *row = rows;
        const uint32_t *tap = taps;
        int32_t sums[4];
        sums[0] = q->bias[0];
        sums[1] = q->bias[1];
        sums[2] = q->bias[2];
        sums[3] = q->bias[3];
        for (i = p->kernel_height; i > 0; i--) {
            const int8_t *from = row;
            for (j = p->kernel_width; j > 0; j--) {
                tap = add_tap(from, tap, sums);
                from += tap_step;
            }
            row += p->row_step;
        }
        y[0] = to_code(sums[0], q->mantissa[0], q->shift[0], p->zero);
        y[1] = to_code(sums[1], q->mantissa[1], q->shift[1], p->zero);
        y[2] = to_code(sums[2], q->mantissa[2], q->shift[2], p->zero);
        y[3] = to_code(sums[3], q->mantissa[3], q->shift[3], p->zero);
        y += channels;
        rows += p->stride * channels;
    }
}

static void depthwise_row(const struct ring *p, const int8_t *weight, const struct quad *quads, int8_t *y)
{
    const int32_t whole = p->kernel_height * p->kernel_width > MAX_TAPS ? 0 : p->channels & ~3;
    uint64_t taps[MAX_TAPS];
    int32_t c;
    for (c = 0; c < whole; c += 4) {
        uint32_t *const words = (uint32_t *)(void *)taps;
        widen_taps(p, weight + c, words);
        if (p->kernel_height == 3 && p->kernel_width == 3) {
            four_channels_3x3(p, words, quads + c / 4, y + c, p->rows + c);
        } else {
            four_channels(p, words, quads + c / 4, y + c, p->rows + c);
        }
    }
    depthwise_rest(p, weight, quads, y, whole);
}
#endif
