/* A convolution whose rows go straight into the ring of the depthwise convolution behind it: in memory is one row.
   `step` is the number of the convolution. */
static void conv_depthwise(const int8_t *x, const int8_t *weight, const struct quad *quads, void *patches,
                           const struct window *p, int8_t *row, int32_t step, const int8_t *taps,
                           const struct quad *scales, int8_t *y, int8_t *scratch, const struct window *q)
{
    const int32_t size = q->out_width * q->channels;
    struct window one = *p;
    struct ring ring;
    const int32_t width = start_ring(&ring, scratch, q);
    int32_t put = 0, oy;
    (void)step;
    one.out_height = 1;
    for (oy = 0; oy < q->out_height; oy++) {
        const int32_t top = oy * q->stride_y;
        for (; put < top + q->kernel_height; put++) {
            const int32_t at = put - q->pad_top;
            const int8_t *made = NULL;
            if (at >= 0 && at < q->height) {
                one.pad_top = p->pad_top - at * p->stride_y;
                conv_byte(x, weight, quads, row, patches, &one);
                TAP(step, row, q->width * q->channels);
                made = row;
            }
            put_row(made, scratch + put % q->kernel_height * ring.row_step, q, width);
        }
        ring.first = top % q->kernel_height;
        depthwise_row(&ring, taps, scales, y + oy * size);
    }
    if (q->low > -128 || q->high < 127) {
        clamp_bytes(y, q->out_height * size, q->low, q->high);
    }
}
