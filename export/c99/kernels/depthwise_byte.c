/* Copy one input row and its padding; rows outside the image are all zero. */
static void put_row(const int8_t *x, int8_t *to, const struct window *p, int32_t row, int32_t width)
{
    const int32_t inside = width - p->pad_left < p->width ? width - p->pad_left : p->width;
    if (row < 0 || row >= p->height || inside <= 0) {
        put_equal_bytes(to, width * p->channels, p->zero);
        return;
    }
    to = put_equal_bytes(to, p->pad_left * p->channels, p->zero);
    to = put_bytes(x + row * p->width * p->channels, to, inside * p->channels);
    put_equal_bytes(to, (width - p->pad_left - inside) * p->channels, p->zero);
}

/* Depthwise convolution of signed bytes. `weight` is tap by channel; zero points are inside the biases. Input rows are
   copied into a ring of kernel_height rows before they are used, so that y may lie over x where export allows it. */
static void depthwise_byte(const int8_t *x, const int8_t *weight, const struct quad *quads, int8_t *y, int8_t *scratch,
                           const struct window *p)
{
    const int32_t width = (p->out_width - 1) * p->stride_x + (p->kernel_width - 1) * p->dilation_x + 1;
    const int32_t row = p->out_width * p->channels;
    struct ring ring;
    int32_t put = 0, oy;
    ring.rows = scratch;
    ring.row_step = width * p->channels;
    ring.kernel_height = p->kernel_height;
    ring.kernel_width = p->kernel_width;
    ring.stride = p->stride_x;
    ring.dilation = p->dilation_x;
    ring.channels = p->channels;
    ring.count = p->out_width;
    ring.zero = p->y_zero;
    ring.weight_zero = p->weight_zero;
    for (oy = 0; oy < p->out_height; oy++) {
        const int32_t top = oy * p->stride_y;
        put = put < top ? top : put;
        for (; put < top + p->kernel_height; put++) {
            put_row(x, scratch + put % p->kernel_height * ring.row_step, p, put - p->pad_top, width);
        }
        ring.first = top % p->kernel_height;
        depthwise_row(&ring, weight, quads, y + oy * row);
    }
    if (p->low > -128 || p->high < 127) {
        clamp_bytes(y, p->out_height * row, p->low, p->high);
    }
}
