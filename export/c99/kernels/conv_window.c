/* Where the window of one output position lies: its first row, and the bytes from the end of a row to the next; and
   what is added to all its sums. */
struct place {
    const int8_t *at;
    int32_t skip, more;
};

/* What a tile reads: `rows` runs of `row` bytes of each window, `block` bytes of weights for four output channels. */
struct view {
    int32_t rows, row, block, outs, zero;
};

#if defined(HELIUM)
static APART void copy_rows(const int8_t *restrict from, int32_t from_step, int8_t *restrict to, int32_t to_step,
                            int32_t rows, int32_t count)
{
    const int32_t last = (count - 1) / 16 * 16;
    const mve_pred16_t some = vctp8q((uint32_t)(count - last));
    int32_t i;
    for (; rows > 0; rows--) {
        for (i = 0; i < last; i += 16) {
            vstrbq_s8(to + i, vldrbq_s8(from + i));
        }
        vstrbq_p_s8(to + last, vldrbq_z_s8(from + last, some), some);
        from += from_step;
        to += to_step;
    }
}

/* Copy sixteen bytes, or set them to 0. */
#define COPY_VECTOR(from, to) vstrbq_s8(to, vldrbq_s8(from))
#define ZERO_VECTOR(to) vstrbq_s8(to, vdupq_n_s8(0))

static inline void fill_patch(int8_t *patch, int32_t taps, int32_t code)
{
    int32_t i;
    for (i = 0; i < taps; i += 16) {
        vstrbq_p_s8(patch + i, vdupq_n_s8((int8_t)code), vctp8q((uint32_t)(taps - i)));
    }
}
#else
/* Pieces have one size; the last of a row may overlap the one before. */
static APART void copy_rows(const int8_t *restrict from, int32_t from_step, int8_t *restrict to, int32_t to_step,
                            int32_t rows, int32_t count)
{
    int32_t i;
    for (; count >= 16 && rows > 0; rows--) {
        for (i = 0; i < count - 16; i += 16) {
            memcpy(to + i, from + i, 16);
        }
        memcpy(to + count - 16, from + count - 16, 16);
        from += from_step;
        to += to_step;
    }
    for (; count >= 8 && rows > 0; rows--) {
        memcpy(to, from, 8);
        memcpy(to + count - 8, from + count - 8, 8);
        from += from_step;
        to += to_step;
    }
    for (; count >= 4 && rows > 0; rows--) {
        memcpy(to, from, 4);
        memcpy(to + count - 4, from + count - 4, 4);
        from += from_step;
        to += to_step;
    }
    for (; rows > 0; rows--) {
        to[0] = from[0];
        to[count / 2] = from[count / 2];
        to[count - 1] = from[count - 1];
        from += from_step;
        to += to_step;
    }
}

#define COPY_VECTOR(from, to) vst1q_s8(to, vld1q_s8(from))
#define ZERO_VECTOR(to) vst1q_s8(to, vdupq_n_s8(0))

static inline void fill_patch(int8_t *patch, int32_t taps, int32_t code)
{
    int32_t i;
    for (i = 0; i < taps - 15; i += 16) {
        vst1q_s8(patch + i, vdupq_n_s8((int8_t)code));
    }
    for (; i < taps; i++) {
        patch[i] = (int8_t)code;
    }
}
#endif

/* Copy rows of less than sixteen bytes as sixteen: each covers what the one before left behind it, and 0 the last. */
static inline void copy_short_rows(const int8_t *from, int32_t from_step, int8_t *to, int32_t to_step, int32_t rows)
{
    for (; rows > 0; rows--) {
        COPY_VECTOR(from, to);
        from += from_step;
        to += to_step;
    }
    ZERO_VECTOR(to);
}

/* Copy a window that is not, or not all, inside the image, or whose columns are dilated. */
static APART void copy_window(const int8_t *restrict x, int8_t *restrict patch, const struct window *p, int32_t top,
                              int32_t left)
{
    const int32_t depth = p->channels, row = p->kernel_width * depth, line = p->width * depth;
    int32_t ky, ky1, kx, kx1;
    const int8_t *from;
    clip_window(top, p->height, p->kernel_height, p->dilation_y, &ky, &ky1);
    clip_window(left, p->width, p->kernel_width, p->dilation_x, &kx, &kx1);
    if (ky1 - ky < p->kernel_height || kx1 - kx < p->kernel_width) {
        fill_patch(patch, p->kernel_height * row, p->zero);
    }
    if (ky == ky1 || kx == kx1) {
        return;
    }
    from = x + (top + ky * p->dilation_y) * line + (left + kx * p->dilation_x) * depth;
    patch += ky * row + kx * depth;
    if (p->dilation_x == 1) {
        copy_rows(from, p->dilation_y * line, patch, row, ky1 - ky, (kx1 - kx) * depth);
        return;
    }
    for (; ky < ky1; ky++) {
        copy_rows(from, p->dilation_x * depth, patch, depth, kx1 - kx, depth);
        from += p->dilation_y * line;
        patch += row;
    }
}

/* Sum of the codes of a window. */
static APART int32_t sum_window(const struct place *p, const struct view *v)
{
    const int8_t *x = p->at;
    int32_t sum = 0, k, i;
    for (k = v->rows; k > 0; k--) {
        for (i = v->row; i > 0; i--) {
            sum += *x++;
        }
        x += p->skip;
    }
    return sum;
}
