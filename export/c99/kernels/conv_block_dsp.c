#if defined(DUAL_MAC)
/* Add the products of two interleaved patches with two of four channels to sums[patch * 2 + channel]. */
static inline void dot_pairs(const patch_t *patches, const int8_t *weight, int32_t groups, int32_t *sums)
{
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    do {
        uint64_t pair;
        int16x2_t even0, odd0, even1, odd1;
        LOAD_PAIR(pair, weight, 16);
        even0 = even_bytes((uint32_t)pair);
        odd0 = odd_bytes((uint32_t)pair);
        even1 = even_bytes((uint32_t)(pair >> 32));
        odd1 = odd_bytes((uint32_t)(pair >> 32));
        LOAD_PAIR(pair, patches, 8);
        a = __smlad((int16x2_t)(uint32_t)pair, even0, a);
        a = __smlad((int16x2_t)(uint32_t)(pair >> 32), odd0, a);
        b = __smlad((int16x2_t)(uint32_t)pair, even1, b);
        b = __smlad((int16x2_t)(uint32_t)(pair >> 32), odd1, b);
        LOAD_PAIR(pair, patches, 8);
        c = __smlad((int16x2_t)(uint32_t)pair, even0, c);
        c = __smlad((int16x2_t)(uint32_t)(pair >> 32), odd0, c);
        d = __smlad((int16x2_t)(uint32_t)pair, even1, d);
        d = __smlad((int16x2_t)(uint32_t)(pair >> 32), odd1, d);
    } while (--groups != 0);
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}

/* Codes of one channel `c` at two positions; where both are the same, the first one stays. */
static inline void put_two(const int32_t *sums, const struct quad *q, int32_t c, int32_t zero, int8_t *to, int8_t *too)
{
    const int32_t mantissa = q->mantissa[c], shift = q->shift[c];
    const int32_t add = (int32_t)((uint32_t)(2 * zero + 1) << shift);
    const int32_t a = high_rounded(sums[0] * 2, mantissa), b = high_rounded(sums[2] * 2, mantissa);
    too[c] = saturated_half((b + (b >> 31) + add) >> shift);
    to[c] = saturated_half((a + (a >> 31) + add) >> shift);
}

/* One or two output positions, all channels. */
static void conv_block(const patch_t *patches, int32_t step, int32_t positions, const int8_t *weight,
                       const struct quad *q, int32_t groups, int32_t outs, int32_t zero, int8_t *y)
{
    const int32_t row = positions > 1 ? outs : 0;
    int8_t spare[8];
    int32_t left, i;
    (void)step;
    for (left = outs; left > 0; left -= 4) {
        int8_t *to = left < 4 ? spare : y, *too = left < 4 ? spare + 4 : y + row;
        int32_t sums[4];
        for (i = 0; i < 4; i += 2) {
            sums[0] = sums[2] = q->bias[i];
            sums[1] = sums[3] = q->bias[i + 1];
            dot_pairs(patches, weight + 4 * i, groups, sums);
            put_two(sums, q, i, zero, to, too);
            put_two(sums + 1, q, i + 1, zero, to, too);
        }
        weight += 16 * groups;
        q++;
        y += 4;
    }
    for (i = 0; i < left + 4 && left < 0; i++) {
        y[row + i - 4] = spare[i + 4];
        y[i - 4] = spare[i];
    }
}
#endif
