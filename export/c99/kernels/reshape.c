/* Elements in the order channel, row, column move to the same place of that order in an image of another shape. */
static void NAME(const X_T *restrict x, X_T *restrict y, const struct window *p)
{
    int32_t c, i, to_channel = 0, to_pixel = 0;
    const int32_t pixels = p->height * p->width, to_pixels = p->out_height * p->out_width;
    for (c = 0; c < p->channels; c++) {
        for (i = 0; i < pixels; i++) {
            y[to_pixel * p->out_channels + to_channel] = x[i * p->channels + c];
            to_pixel++;
            if (to_pixel == to_pixels) {
                to_pixel = 0;
                to_channel++;
            }
        }
    }
}
