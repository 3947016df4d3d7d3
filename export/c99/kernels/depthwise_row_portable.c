/* Channels `begin` and on of one output row, up to four at a time. */
static void depthwise_rest(const struct ring *p, const int8_t *weight, const struct quad *quads, int8_t *y,
                           int32_t begin)
{
    const int32_t channels = p->channels, tap_step = p->dilation * channels, zero = p->weight_zero;
    int32_t n, c, i, j, k;
    for (c = begin; c < channels; c += 4) {
        const int32_t depth = channels - c < 4 ? channels - c : 4;
        const struct quad *q = quads + c / 4;
        for (n = 0; n < p->count; n++) {
            const int8_t *const start = p->rows + n * p->stride * channels + c;
            const int8_t *row = start + p->first * p->row_step, *tap = weight + c;
            int8_t *to = y + n * channels + c;
            int32_t a = q->bias[0], b = q->bias[1], d = q->bias[2], e = q->bias[3];
            for (i = p->first; i < p->first + p->kernel_height; i++) {
                const int8_t *from = row;
                for (j = p->kernel_width; j > 0; j--) {
                    if (depth == 4) {
                        a += from[0] * (tap[0] + zero);
                        b += from[1] * (tap[1] + zero);
                        d += from[2] * (tap[2] + zero);
                        e += from[3] * (tap[3] + zero);
                    } else {
                        a += from[0] * (tap[0] + zero);
                        b += depth > 1 ? from[1] * (tap[1] + zero) : 0;
                        d += depth > 2 ? from[2] * (tap[2] + zero) : 0;
                    }
                    from += tap_step;
                    tap += channels;
                }
                row = i + 1 == p->kernel_height ? start : row + p->row_step;
            }
            for (k = 0; k < depth; k++) {
                const int32_t sum = k == 0 ? a : k == 1 ? b : k == 2 ? d : e;
                to[k] = to_code(sum, q->mantissa[k], q->shift[k], p->zero);
            }
        }
    }
}

#if !defined(DUAL_MAC) && !defined(VECTOR)
static void depthwise_row(const struct ring *p, const int8_t *weight, const struct quad *quads, int8_t *y)
{
    depthwise_rest(p, weight, quads, y, 0);
}
#endif
