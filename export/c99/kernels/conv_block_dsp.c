#if defined(DUAL_MAC)
/* Add the products of two interleaved patches with two of four channels to sums[patch * 2 + channel]. */
static inline void dot_pairs(const patch_t *patches, const int8_t *weight, int32_t groups, int32_t *sums)
{
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
#if defined(ASM_LOOPS)
    uint32_t u, v, even0, odd0, even1, odd1;
    __asm__("1: ldrd %[odd0], %[odd1], [%[weight]], #16\n\t"
            "ldrd %[u], %[v], [%[patches]], #8\n\t"
            "sxtb16 %[even0], %[odd0]\n\t"
            "sxtb16 %[odd0], %[odd0], ror #8\n\t"
            "sxtb16 %[even1], %[odd1]\n\t"
            "sxtb16 %[odd1], %[odd1], ror #8\n\t"
            "smlad %[a], %[u], %[even0], %[a]\n\t"
            "smlad %[b], %[u], %[even1], %[b]\n\t"
            "smlad %[a], %[v], %[odd0], %[a]\n\t"
            "smlad %[b], %[v], %[odd1], %[b]\n\t"
            "ldrd %[u], %[v], [%[patches]], #8\n\t"
            "subs %[groups], #1\n\t"
            "smlad %[c], %[u], %[even0], %[c]\n\t"
            "smlad %[d], %[u], %[even1], %[d]\n\t"
            "smlad %[c], %[v], %[odd0], %[c]\n\t"
            "smlad %[d], %[v], %[odd1], %[d]\n\t"
            "bne 1b"
            : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [weight] "+r"(weight), [patches] "+r"(patches),
              [groups] "+r"(groups), [u] "=&r"(u), [v] "=&r"(v), [even0] "=&r"(even0), [odd0] "=&r"(odd0),
              [even1] "=&r"(even1), [odd1] "=&r"(odd1)
            :
            : "cc", "memory");
#else
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
#endif
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

/* Channels `c` and the next at two positions; `more` is added to their sums. */
static inline void two_channels(const patch_t *patches, const int8_t *weight, const struct quad *q,
                                const struct window *p, int32_t groups, const int32_t *more, int32_t c, int8_t *to,
                                int8_t *too)
{
    int32_t sums[4];
    sums[0] = q->bias[c] + more[0];
    sums[1] = q->bias[c + 1] + more[1];
    sums[2] = q->bias[c] + more[2];
    sums[3] = q->bias[c + 1] + more[3];
#if defined(NIBBLES)
    if (p->weight_bits == 4) {
        dot_nibbles(patches, weight + 2 * c, groups, sums);
    } else
#endif
    {
        dot_pairs(patches, weight + 4 * c, groups, sums);
    }
    put_two(sums, q, c, p->y_zero, to, too);
    put_two(sums + 1, q, c + 1, p->y_zero, to, too);
}

/* What the sums of even and odd channels at two positions are short of: every weight of a channel is stored minus an
   offset, so it is that offset times the sum of the codes. */
static void missing_sums(const patch_t *patches, int32_t groups, const struct window *p, int32_t *more)
{
    const int16x2_t ones = (int16x2_t)0x10001u;
    int32_t a = 0, b = 0;
    for (; groups > 0; groups--) {
        a = __smlad((int16x2_t)patches[1], ones, __smlad((int16x2_t)patches[0], ones, a));
        b = __smlad((int16x2_t)patches[3], ones, __smlad((int16x2_t)patches[2], ones, b));
        patches += 4;
    }
    more[0] = p->weight_zero * a;
    more[1] = p->odd_zero * a;
    more[2] = p->weight_zero * b;
    more[3] = p->odd_zero * b;
}

/* One or two output positions, all channels. */
static APART void conv_block(const patch_t *patches, int32_t step, int32_t positions, const int8_t *weight,
                             const struct quad *q, int32_t groups, const struct window *p, int8_t *y)
{
    const int32_t outs = p->out_channels, row = positions > 1 ? outs : 0;
    int32_t more[4] = {0, 0, 0, 0};
    int8_t spare[8];
    int32_t left, i;
    (void)step;
    if (p->odd_zero != 0) {
        missing_sums(patches, groups, p, more);
    }
    for (left = outs; left > 0; left -= 4) {
        int8_t *to = left < 4 ? spare : y, *too = left < 4 ? spare + 4 : y + row;
        two_channels(patches, weight, q, p, groups, more, 0, to, too);
        two_channels(patches, weight, q, p, groups, more, 2, to, too);
        weight += 2 * p->weight_bits * groups;
        q++;
        y += 4;
    }
    for (i = 0; i < left + 4 && left < 0; i++) {
        y[row + i - 4] = spare[i + 4];
        y[i - 4] = spare[i];
    }
}
#endif
