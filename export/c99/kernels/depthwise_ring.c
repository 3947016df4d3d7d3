/* Copy one input row and its padding; NULL stands for a row outside the image, which is all zero. */
static void put_row(const int8_t *from, int8_t *to, const struct window *p, int32_t width)
{
    const int32_t inside = width - p->pad_left < p->width ? width - p->pad_left : p->width;
    if (from == NULL || inside <= 0) {
        put_equal_bytes(to, width * p->channels, p->zero);
        return;
    }
    to = put_equal_bytes(to, p->pad_left * p->channels, p->zero);
    to = put_bytes(from, to, inside * p->channels);
    put_equal_bytes(to, (width - p->pad_left - inside) * p->channels, p->zero);
}

/* A ring of kernel_height rows; returns how many pixels a row has with its padding. */
static int32_t start_ring(struct ring *ring, const int8_t *rows, const struct window *p)
{
    const int32_t width = (p->out_width - 1) * p->stride_x + (p->kernel_width - 1) * p->dilation_x + 1;
    ring->rows = rows;
    ring->row_step = width * p->channels;
    ring->first = 0;
    ring->kernel_height = p->kernel_height;
    ring->kernel_width = p->kernel_width;
    ring->stride = p->stride_x;
    ring->dilation = p->dilation_x;
    ring->channels = p->channels;
    ring->count = p->out_width;
    ring->zero = p->y_zero;
    ring->weight_zero = p->weight_zero;
    return width;
}
