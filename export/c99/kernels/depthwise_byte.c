/* Depthwise convolution of signed bytes. `weight` is tap by channel; zero points are inside the biases. Input rows are
   copied into a ring of kernel_height rows before they are used, so that y may lie over x where export allows it. */
static void depthwise_byte(const int8_t *x, const int8_t *weight, const struct quad *quads, int8_t *y, int8_t *scratch,
                           const struct window *p)
{
    const int32_t row = p->out_width * p->channels;
    struct ring ring;
    const int32_t width = start_ring(&ring, scratch, p);
    int32_t put = 0, oy;
    for (oy = 0; oy < p->out_height; oy++) {
        const int32_t top = oy * p->stride_y;
        put = put < top ? top : put;
        for (; put < top + p->kernel_height; put++) {
            const int32_t at = put - p->pad_top;
            const int8_t *const from = at >= 0 && at < p->height ? x + at * p->width * p->channels : NULL;
            put_row(from, scratch + put % p->kernel_height * ring.row_step, p, width);
        }
        ring.first = top % p->kernel_height;
        depthwise_row(&ring, weight, quads, y + oy * row);
    }
    if (p->low > -128 || p->high < 127) {
        clamp_bytes(y, p->out_height * row, p->low, p->high);
    }
}
