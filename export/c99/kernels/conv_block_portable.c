#if !defined(DUAL_MAC)
/* Codes of one channel `c` at two positions. */
static inline void put_two(const int32_t *sums, const struct quad *q, int32_t c, int32_t zero, int8_t *to, int8_t *too)
{
    to[c] = to_code(sums[0], q->mantissa[c], q->shift[c], zero);
    too[c] = to_code(sums[4], q->mantissa[c], q->shift[c], zero);
}

/* Add the products of four taps of two patches with four channels to sums[patch * 4 + channel]. */
static inline void dot_quads(const patch_t *first, const patch_t *second, const int8_t *weight, int32_t groups,
                             int32_t *sums)
{
    const patch_t *const end = first + 4 * groups;
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3], e = sums[4], f = sums[5], g = sums[6], h = sums[7];
    do {
        int32_t i;
        for (i = 0; i < 4; i++) {
            const int32_t u = first[i], v = second[i];
            a += u * weight[i];
            b += u * weight[i + 4];
            c += u * weight[i + 8];
            d += u * weight[i + 12];
            e += v * weight[i];
            f += v * weight[i + 4];
            g += v * weight[i + 8];
            h += v * weight[i + 12];
        }
        first += 4;
        second += 4;
        weight += 16;
    } while (first != end);
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
    sums[4] = e;
    sums[5] = f;
    sums[6] = g;
    sums[7] = h;
}

/* All channels of neighbouring output positions. */
static APART void conv_block(const patch_t *patches, int32_t step, int32_t positions, const int8_t *weight,
                             const struct quad *quads, int32_t groups, const struct window *p, int8_t *y)
{
    const int32_t outs = p->out_channels, zero = p->y_zero;
    for (; positions > 0; positions -= 2) {
        const patch_t *second = positions > 1 ? patches + step : patches;
        const int32_t row = positions > 1 ? outs : 0;
        const struct quad *q = quads;
        const int8_t *from = weight;
        int32_t more[4] = {0, 0, 0, 0}, left, i;
        int8_t spare[8];
        if (p->odd_zero != 0) {
            /* What sums are short of, as every weight is stored minus an offset. */
            for (i = 0; i < 4 * groups; i++) {
                more[0] += patches[i];
                more[2] += second[i];
            }
            more[1] = more[0] * p->odd_zero;
            more[3] = more[2] * p->odd_zero;
            more[0] *= p->weight_zero;
            more[2] *= p->weight_zero;
        }
        for (left = outs; left > 0; left -= 4) {
            int8_t *to = left < 4 ? spare : y, *too = left < 4 ? spare + 4 : y + row;
            int32_t sums[8];
            for (i = 0; i < 4; i++) {
                sums[i] = q->bias[i] + more[i % 2];
                sums[i + 4] = q->bias[i] + more[2 + i % 2];
            }
#if defined(NIBBLES)
            if (p->weight_bits == 4) {
                dot_nibbles(patches, second, from, groups, sums);
            } else
#endif
            {
                dot_quads(patches, second, from, groups, sums);
            }
            for (i = 0; i < 4; i++) {
                put_two(sums + i, q, i, zero, to, too);
            }
            from += 2 * p->weight_bits * groups;
            q++;
            y += 4;
        }
        y += left;
        for (i = 0; i < left + 4 && left < 0; i++) {
            y[i - 4 - left] = spare[i];
            y[row + i - 4 - left] = spare[i + 4];
        }
        y += row;
        patches += 2 * step;
    }
}
#endif
