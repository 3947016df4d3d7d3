/* Windows of at most three rows of less than sixteen bytes, together at most 32 taps: two registers hold all of them.
   For each tap: its place among the rows (one that does not exist behind the last tap), its row and column in the
   window, and what it is outside the image. */
struct gather {
    uint8x16_t from[2], row[2], column[2];
    int8x16_t outside[2];
    int32_t possible, step;
};

static inline struct gather gather_of(const struct window *p)
{
    enum { ROWS = 3, TAPS = 32, NOWHERE = 255 };
    const int32_t run = p->kernel_width * p->channels, taps = p->kernel_height * run;
    uint8_t from[TAPS], row[TAPS], column[TAPS];
    int8_t outside[TAPS];
    struct gather g;
    int32_t i, j;
    g.possible = run < 16 && p->kernel_height <= ROWS && taps <= TAPS && p->dilation_x == 1;
    g.step = p->stride_x * p->channels;
    memset(from, NOWHERE, sizeof from);
    memset(row, 0, sizeof row);
    memset(column, 0, sizeof column);
    memset(outside, 0, sizeof outside);
    for (i = 0; g.possible && i < p->kernel_height; i++) {
        for (j = 0; j < run; j++) {
            from[i * run + j] = (uint8_t)(16 * i + j);
            row[i * run + j] = (uint8_t)i;
            column[i * run + j] = (uint8_t)(j / p->channels);
            outside[i * run + j] = (int8_t)p->zero;
        }
    }
    for (i = 0; i < 2; i++) {
        g.from[i] = vld1q_u8(from + 16 * i);
        g.row[i] = vld1q_u8(row + 16 * i);
        g.column[i] = vld1q_u8(column + 16 * i);
        g.outside[i] = vld1q_s8(outside + 16 * i);
    }
    return g;
}

/* Choose taps from three rows. GCC would write them to memory to read them back as neighbouring registers. */
static inline void choose_taps(const int8_t *x0, const int8_t *x1, const int8_t *x2, uint8x16_t from0, uint8x16_t from1,
                               int8x16_t *first, int8x16_t *second)
{
#if defined(__GNUC__)
    __asm__("ldr q0, [%2]\n\tldr q1, [%3]\n\tldr q2, [%4]\n\t"
            "tbx %0.16b, {v0.16b - v2.16b}, %5.16b\n\ttbx %1.16b, {v0.16b - v2.16b}, %6.16b"
            : "+&w"(*first), "+&w"(*second)
            : "r"(x0), "r"(x1), "r"(x2), "w"(from0), "w"(from1), "m"(*(const int8_t(*)[16])x0),
              "m"(*(const int8_t(*)[16])x1), "m"(*(const int8_t(*)[16])x2)
            : "v0", "v1", "v2");
#else
    const int8x16x3_t rows = {{vld1q_s8(x0), vld1q_s8(x1), vld1q_s8(x2)}};
    *first = vqtbx3q_s8(*first, rows, from0);
    *second = vqtbx3q_s8(*second, rows, from1);
#endif
}

static inline uint8x16_t unless(uint8x16_t numbers, int32_t low, int32_t high)
{
    return vorrq_u8(vcltq_u8(numbers, vdupq_n_u8((uint8_t)low)), vcgeq_u8(numbers, vdupq_n_u8((uint8_t)high)));
}

/* The rows that windows of one height have inside the image: the first of them from the corner of the image's row
   `top` + low, and the distances of the others, where there are any. */
struct band {
    int32_t low, high, row1, row2;
    uint8x16_t from[2];
};

static inline struct band band_of(const struct gather *g, const struct window *p, int32_t top)
{
    const int32_t line = p->width * p->channels;
    struct band b;
    b.low = top < 0 ? -top : 0;
    b.high = p->height - top < p->kernel_height ? p->height - top : p->kernel_height;
    b.row1 = b.low < 1 && b.high > 1 ? line : 0;
    b.row2 = b.high > 2 ? (2 - b.low) * line : b.row1;
    b.from[0] = vorrq_u8(g->from[0], unless(g->row[0], b.low, b.high));
    b.from[1] = vorrq_u8(g->from[1], unless(g->row[1], b.low, b.high));
    return b;
}

/* Where the taps of a window that begins at column `left` are. */
static inline uint8x16_t from_of(const struct gather *g, const struct band *b, const struct window *p, int32_t left,
                                 int32_t part)
{
    const int32_t begin = left < 0 ? (left < -p->kernel_width ? p->kernel_width : -left) : 0;
    const int32_t inside = p->width - left, end = inside < 0 ? 0 : inside < 255 ? inside : 255;
    return vorrq_u8(b->from[part], unless(g->column[part], begin, end));
}

/* Where the first row of the window at column `left` lies, or -1 where reading it and `more` windows to its right would
   leave the image's memory. */
static inline int32_t corner_of(const struct gather *g, const struct band *b, const struct window *p, int32_t top,
                                int32_t left, int32_t more)
{
    const int32_t line = p->width * p->channels, at = (top + b->low) * line + left * p->channels;
    const int32_t end = at + (b->high - 1 - b->low) * line + more * g->step + 16;
    return b->low < b->high && at >= 0 && end <= p->height * line ? at : -1;
}

/* Gather four windows side by side, some outside the image in part, into patches; 0 where that would read too far. */
static APART int32_t gather_four(const int8_t *x, const struct gather *g, const struct window *p, int32_t top,
                                 int32_t left, int8_t *patches, int32_t patch)
{
    const struct band b = band_of(g, p, top);
    const int32_t corner = corner_of(g, &b, p, top, left, 3);
    int32_t i;
    if (corner < 0) {
        return 0;
    }
    x += corner;
    for (i = 0; i < 4; i++) {
        int8x16_t first = g->outside[0], second = g->outside[1];
        choose_taps(x, x + b.row1, x + b.row2, from_of(g, &b, p, left, 0), from_of(g, &b, p, left, 1), &first, &second);
        vst1q_s8(patches, first);
        if (patch > 32) {
            vst1q_s8(patches + 16, second);
        }
        patches += patch;
        x += g->step;
        left += p->stride_x;
    }
    return 1;
}
