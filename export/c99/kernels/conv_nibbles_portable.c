#if !defined(DUAL_MAC)
/* As dot_quads, with weights of four bits. */
static inline void dot_nibbles(const patch_t *first, const patch_t *second, const int8_t *weight, int32_t groups,
                               int32_t *sums)
{
    const patch_t *const end = first + 4 * groups;
    int32_t a = 0, b = 0, c = 0, d = 0, e = 0, f = 0, g = 0, h = 0;
    do {
        int32_t i;
        for (i = 0; i < 4; i++) {
            const int32_t u = first[i], v = second[i], low = weight[i] & 15, next = weight[i + 4] & 15;
            a += u * weight[i];
            b += u * low;
            c += u * weight[i + 4];
            d += u * next;
            e += v * weight[i];
            f += v * low;
            g += v * weight[i + 4];
            h += v * next;
        }
        first += 4;
        second += 4;
        weight += 8;
    } while (first != end);
    sums[0] += (a - b) >> 4;
    sums[1] += b;
    sums[2] += (c - d) >> 4;
    sums[3] += d;
    sums[4] += (e - f) >> 4;
    sums[5] += f;
    sums[6] += (g - h) >> 4;
    sums[7] += h;
}
#endif
