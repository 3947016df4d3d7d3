/* Add the products of the taps of a window with BYTE_BLOCK neighbouring channels to their sums. */
#if defined(NEON)
#define BYTE_BLOCK 8
#else
#define BYTE_BLOCK 4
#endif

static inline void NAME(const int8_t *restrict row, const int8_t *restrict tap, const struct taps *p,
                        int32_t *restrict sums)
{
    const int32_t columns = p->columns, from_step = p->from_step, tap_step = p->tap_step;
    int32_t ky, kx;
#if defined(NEON)
    const int16x8_t zero = vdupq_n_s16((int16_t)p->zero);
    int32x4_t low = vld1q_s32(sums), high = vld1q_s32(sums + 4);
#else
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
#if defined(DUAL_MAC)
    const int16x2_t base = (int16x2_t)((uint32_t)(-p->zero & 0xffff) * 0x10001u);
#else
    const int32_t zero = p->zero;
#endif
#endif
    for (ky = 0; ky < p->rows; ky++) {
        const int8_t *from = row;
        for (kx = 0; kx < columns; kx++) {
#if defined(NEON)
            const int16x8_t u = vsubq_s16(vmovl_s8(vld1_s8(from)), zero), w = vmovl_s8(vld1_s8(tap));
            low = vmlal_s16(low, vget_low_s16(u), vget_low_s16(w));
            high = vmlal_high_s16(high, u, w);
#elif defined(DUAL_MAC)
            const uint32_t codes = load_word(from), weights = load_word(tap);
            const int16x2_t u02 = even_bytes_plus(base, codes), u13 = odd_bytes_plus(base, codes);
            const int16x2_t w02 = even_bytes(weights), w13 = odd_bytes(weights);
            a = __smlabb(u02, w02, a);
            b = __smlabb(u13, w13, b);
            c = __smlatt(u02, w02, c);
            d = __smlatt(u13, w13, d);
#else
            a += (from[0] - zero) * tap[0];
            b += (from[1] - zero) * tap[1];
            c += (from[2] - zero) * tap[2];
            d += (from[3] - zero) * tap[3];
#endif
            from += from_step;
            tap += tap_step;
        }
        row += p->row_step;
        tap += p->tap_skip;
    }
#if defined(NEON)
    vst1q_s32(sums, low);
    vst1q_s32(sums + 4, high);
#else
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
#endif
}
