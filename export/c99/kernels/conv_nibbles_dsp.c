#if defined(DUAL_MAC)
/* As dot_pairs, with weights of four bits. */
static inline void dot_nibbles(const patch_t *patches, const int8_t *weight, int32_t groups, int32_t *sums)
{
    int32_t a = 0, b = 0, c = 0, d = 0;
#if defined(ASM_LOOPS)
    uint32_t u, v, even, odd, low_even, low_odd;
    __asm__("1: ldr %[odd], [%[weight]], #8\n\t"
            "ldrd %[u], %[v], [%[patches]], #8\n\t"
            "sxtb16 %[even], %[odd]\n\t"
            "sxtb16 %[odd], %[odd], ror #8\n\t"
            "and %[low_even], %[even], #0xf000f\n\t"
            "and %[low_odd], %[odd], #0xf000f\n\t"
            "smlad %[a], %[u], %[even], %[a]\n\t"
            "smlad %[b], %[u], %[low_even], %[b]\n\t"
            "smlad %[a], %[v], %[odd], %[a]\n\t"
            "smlad %[b], %[v], %[low_odd], %[b]\n\t"
            "ldrd %[u], %[v], [%[patches]], #8\n\t"
            "subs %[groups], #1\n\t"
            "smlad %[c], %[u], %[even], %[c]\n\t"
            "smlad %[d], %[u], %[low_even], %[d]\n\t"
            "smlad %[c], %[v], %[odd], %[c]\n\t"
            "smlad %[d], %[v], %[low_odd], %[d]\n\t"
            "bne 1b"
            : [a] "+r"(a), [b] "+r"(b), [c] "+r"(c), [d] "+r"(d), [weight] "+r"(weight), [patches] "+r"(patches),
              [groups] "+r"(groups), [u] "=&r"(u), [v] "=&r"(v), [even] "=&r"(even), [odd] "=&r"(odd),
              [low_even] "=&r"(low_even), [low_odd] "=&r"(low_odd)
            :
            : "cc", "memory");
#else
    do {
        const uint32_t word = load_word(weight);
        const int16x2_t even = even_bytes(word), odd = odd_bytes(word);
        const int16x2_t low_even = even & 0xf000f, low_odd = odd & 0xf000f;
        a = __smlad((int16x2_t)patches[0], even, a);
        b = __smlad((int16x2_t)patches[0], low_even, b);
        a = __smlad((int16x2_t)patches[1], odd, a);
        b = __smlad((int16x2_t)patches[1], low_odd, b);
        c = __smlad((int16x2_t)patches[2], even, c);
        d = __smlad((int16x2_t)patches[2], low_even, d);
        c = __smlad((int16x2_t)patches[3], odd, c);
        d = __smlad((int16x2_t)patches[3], low_odd, d);
        patches += 4;
        weight += 8;
    } while (--groups != 0);
#endif
    sums[0] += (a - b) >> 4;
    sums[1] += b;
    sums[2] += (c - d) >> 4;
    sums[3] += d;
}
#endif
