/* Where the window of one output position lies: its first row, and the bytes from the end of a row to the next; and
   what is added to all its sums. */
struct place {
    const int8_t *at;
    int32_t skip, more;
};

/* Tiles side by side whose windows all lie in place: so many, the first of which is told by its places, and the bytes
   from one to the next. */
struct run {
    int32_t tiles, step;
};

/* What a tile reads: `rows` runs of `row` bytes of each window, `block` bytes of weights for four output channels;
   `more` says whether anything is added to the sums of a window. */
struct view {
    int32_t rows, row, block, outs, zero, more;
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
    for (; count >= 64 && rows > 0; rows--) {
        for (i = 0; i < count - 64; i += 64) {
            vst1q_s8_x4(to + i, vld1q_s8_x4(from + i));
        }
        vst1q_s8_x4(to + count - 64, vld1q_s8_x4(from + count - 64));
        from += from_step;
        to += to_step;
    }
    for (; count >= 16 && rows > 0; rows--) {
        for (i = 0; i < count - 16; i += 16) {
            vst1q_s8(to + i, vld1q_s8(from + i));
        }
        vst1q_s8(to + count - 16, vld1q_s8(from + count - 16));
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
    const int8x16_t codes = vdupq_n_s8((int8_t)code);
    const int8x16x4_t four = {{codes, codes, codes, codes}};
    int32_t i;
    for (i = 0; i < taps - 63; i += 64) {
        vst1q_s8_x4(patch + i, four);
    }
    for (; i < taps - 15; i += 16) {
        vst1q_s8(patch + i, codes);
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

/* The same for four windows `next` bytes apart, into patches `patch` bytes apart. */
static inline void copy_four(const int8_t *from, int32_t next, int32_t from_step, int8_t *to, int32_t patch,
                             int32_t to_step, int32_t rows)
{
    for (; rows > 0; rows--) {
        COPY_VECTOR(from, to);
        COPY_VECTOR(from + next, to + patch);
        COPY_VECTOR(from + 2 * next, to + 2 * patch);
        COPY_VECTOR(from + 3 * next, to + 3 * patch);
        from += from_step;
        to += to_step;
    }
    ZERO_VECTOR(to);
    ZERO_VECTOR(to + patch);
    ZERO_VECTOR(to + 2 * patch);
    ZERO_VECTOR(to + 3 * patch);
}

/* What no window has that lies inside the image in part, where kernels have at most 127 rows and columns: no patch yet,
   and a patch of a window outside. */
#define NOT_FILLED 0xffffffffu
#define OUTSIDE 0xfffffffeu

/* As `clip_window`, shorter where nothing is dilated. */
static inline void clip_taps(int32_t start, int32_t size, int32_t taps, int32_t dilation, int32_t *first, int32_t *last)
{
    if (dilation != 1) {
        clip_window(start, size, taps, dilation, first, last);
        return;
    }
    *first = start < 0 ? -start : 0;
    *first = *first > taps ? taps : *first;
    *last = start + taps > size ? size - start : taps;
    *last = *last < *first ? *first : *last;
}

/* Copy a window that is not, or not all, inside the image, or whose columns are dilated. `filled` tells which taps of
   the patch are outside already. */
static APART void copy_window(const int8_t *restrict x, int8_t *restrict patch, const struct window *p, int32_t top,
                              int32_t left, uint32_t *filled)
{
    const int32_t depth = p->channels, row = p->kernel_width * depth, line = p->width * depth;
    int32_t ky, ky1, kx, kx1;
    const int8_t *from;
    uint32_t taps;
    clip_taps(top, p->height, p->kernel_height, p->dilation_y, &ky, &ky1);
    clip_taps(left, p->width, p->kernel_width, p->dilation_x, &kx, &kx1);
    taps = ((uint32_t)ky << 24) ^ ((uint32_t)ky1 << 16) ^ ((uint32_t)kx << 8) ^ (uint32_t)kx1;
    if (taps != *filled || p->kernel_height > 127 || p->kernel_width > 127) {
        *filled = taps;
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

/* Find four windows side by side, those outside the image in part by copying them: those that do not begin
   before `end`. For kernels of at most 127 rows and columns that are not dilated, and pixels of whole vectors. */
static APART void place_four(const int8_t *x, int8_t *patch, int32_t patch_bytes, const struct window *p, int32_t top,
                             int32_t left, int32_t end, uint32_t *filled, struct place *places)
{
    const int32_t depth = p->channels, row = p->kernel_width * depth, line = p->width * depth;
    const int32_t ky = top < 0 ? -top : 0;
    const int32_t ky1 = p->height - top < p->kernel_height ? p->height - top : p->kernel_height, rows = ky1 - ky;
    int32_t i;
    for (i = 0; i < 4; i++) {
        if ((uint32_t)left < (uint32_t)end) {
            places[i].at = x + top * line + left * depth;
            places[i].skip = line - row;
        } else {
            const int32_t kx = left < 0 ? -left : 0;
            const int32_t kx1 = p->width - left < p->kernel_width ? p->width - left : p->kernel_width;
            const int32_t count = rows > 0 ? (kx1 - kx) * depth : 0;
            const uint32_t taps = ((uint32_t)ky << 24) ^ ((uint32_t)ky1 << 16) ^ ((uint32_t)kx << 8) ^ (uint32_t)kx1;
            const uint32_t fill = count > 0 ? taps : OUTSIDE;
            if (fill != filled[i]) {
                filled[i] = fill;
                fill_patch(patch, p->kernel_height * row, p->zero);
            }
            if (count > 0) {
                const int8_t *from = x + (top + ky) * line + (left + kx) * depth;
                int8_t *to = patch + ky * row + kx * depth;
                int32_t k, j;
                for (k = rows; k > 0; k--) {
                    for (j = 0; j < count; j += 16) {
                        COPY_VECTOR(from + j, to + j);
                    }
                    from += line;
                    to += row;
                }
            }
            places[i].at = patch;
            places[i].skip = 0;
        }
        left += p->stride_x;
        patch += patch_bytes;
    }
}

/* Sum of the codes of a window, whose rows are whole vectors; behind the taps of a patch they hold 0. */
static APART int32_t sum_window(const struct place *p, const struct view *v)
{
    const int8_t *x = p->at;
    int32_t k, i;
#if defined(HELIUM)
    int32_t sum = 0;
#else
    int32x4_t sums = vdupq_n_s32(0);
#endif
    for (k = v->rows; k > 0; k--) {
        for (i = v->row; i > 0; i -= 16) {
#if defined(HELIUM)
            sum = vaddvaq_s8(sum, vldrbq_s8(x));
#elif defined(SDOT)
            sums = vdotq_s32(sums, vld1q_s8(x), vdupq_n_s8(1));
#else
            sums = vpadalq_s16(sums, vpaddlq_s8(vld1q_s8(x)));
#endif
            x += 16;
        }
        x += p->skip;
    }
#if defined(HELIUM)
    return sum;
#else
    return vaddvq_s32(sums);
#endif
}
