/* Fill one patch. Its length is rounded up to a multiple of four by zeros, whose weights are 0. */
static void fill_patch(const int8_t *x, patch_t *patch, int8_t *spare, const struct window *p, int32_t groups,
                       int32_t top, int32_t left)
{
#if defined(DUAL_MAC)
    int8_t *const bytes = spare;
#else
    int8_t *const bytes = patch;
#endif
    int8_t *end;
#if defined(DUAL_MAC)
    if (p->channels % 4 == 0) {
        gather_words(x, patch, p, top, left);
        return;
    }
#else
    (void)spare;
#endif
    end = gather_bytes(x, bytes, p, top, left);
    while (end != bytes + 4 * groups) {
        *end++ = 0;
    }
#if defined(DUAL_MAC)
    put_codes(spare, patch, 4 * groups);
#endif
}

/* Convolution of signed bytes, TILE output positions at a time. `weight` holds blocks of four taps of four output
   channels; zero points are inside the biases. `patches` has room for TILE windows and one more in bytes. */
static void conv_byte(const int8_t *x, const int8_t *weight, const struct quad *quads, int8_t *y, void *scratch,
                      const struct window *p)
{
    const int32_t depth = p->channels, outs = p->out_channels;
    const int32_t groups = (p->kernel_height * p->kernel_width * depth + 3) / 4;
    const int32_t count = p->out_height * p->out_width * outs;
    patch_t *const patches = (patch_t *)scratch;
    int8_t *to = y;
    int32_t held = 0, oy, ox;
    for (oy = 0; oy < p->out_height; oy++) {
        const int32_t top = oy * p->stride_y - p->pad_top;
#if !defined(DUAL_MAC)
        if (p->direct != 0) {
            const int32_t rows = p->stride_x * p->stride_y == 1 ? p->out_height : 1;
            conv_block(x + top * p->width * depth, p->stride_x * depth, rows * p->out_width, weight, quads, groups,
                       p, to);
            to += rows * p->out_width * outs;
            oy += rows - 1;
            continue;
        }
#endif
        for (ox = 0; ox < p->out_width; ox++) {
            patch_t *const patch = PATCH(patches, held, groups);
            const int32_t left = ox * p->stride_x - p->pad_left;
            fill_patch(x, patch, (int8_t *)scratch + 16 * groups, p, groups, top, left);
            held++;
            if (held == TILE) {
                conv_block(patches, 4 * groups, held, weight, quads, groups, p, to);
                to += held * outs;
                held = 0;
            }
        }
    }
    if (held != 0) {
        conv_block(patches, 4 * groups, held, weight, quads, groups, p, to);
    }
    if (p->low > -128 || p->high < 127) {
        clamp_bytes(y, count, p->low, p->high);
    }
}
