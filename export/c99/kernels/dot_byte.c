/* Add the products of two patches with two output channels, whose weights alternate, to sums[patch * 2 + channel]. */
static inline void NAME(const int16_t *restrict first, const int16_t *restrict second, const int8_t *restrict weight,
                        int32_t count, int32_t *restrict sums)
{
    int32_t a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    int32_t i = 0;
#if defined(DUAL_MAC)
    for (; i < count - 1; i += 2) {
        const uint32_t word = load_word(weight);
        const int16x2_t u = (int16x2_t)load_word(first + i), v = (int16x2_t)load_word(second + i);
        const int16x2_t w0 = even_bytes(word), w1 = odd_bytes(word);
        a = __smlad(u, w0, a);
        b = __smlad(u, w1, b);
        c = __smlad(v, w0, c);
        d = __smlad(v, w1, d);
        weight += 4;
    }
#elif defined(NEON)
    int32x4_t va = vdupq_n_s32(0), vb = va, vc = va, vd = va;
    for (; i < count - 7; i += 8) {
        const int8x8x2_t w = vld2_s8(weight);
        const int16x8_t u = vld1q_s16(first + i), v = vld1q_s16(second + i);
        const int16x8_t w0 = vmovl_s8(w.val[0]), w1 = vmovl_s8(w.val[1]);
        va = vmlal_high_s16(vmlal_s16(va, vget_low_s16(u), vget_low_s16(w0)), u, w0);
        vb = vmlal_high_s16(vmlal_s16(vb, vget_low_s16(u), vget_low_s16(w1)), u, w1);
        vc = vmlal_high_s16(vmlal_s16(vc, vget_low_s16(v), vget_low_s16(w0)), v, w0);
        vd = vmlal_high_s16(vmlal_s16(vd, vget_low_s16(v), vget_low_s16(w1)), v, w1);
        weight += 16;
    }
    a += vaddvq_s32(va);
    b += vaddvq_s32(vb);
    c += vaddvq_s32(vc);
    d += vaddvq_s32(vd);
#endif
    for (; i < count; i++) {
        const int32_t u = first[i], v = second[i];
        const int32_t w0 = weight[0], w1 = weight[1];
        a += u * w0;
        b += u * w1;
        c += v * w0;
        d += v * w1;
        weight += 2;
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}
