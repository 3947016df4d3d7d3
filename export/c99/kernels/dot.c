/* Add the products of two patches with two output channels, whose weights alternate, to sums[patch * 2 + channel]. */
static inline void NAME(const U_T *restrict first, const U_T *restrict second, const W_T *restrict weight,
                        int32_t count, ACC_T *restrict sums)
{
    ACC_T a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    int32_t i;
    for (i = 0; i < count; i++) {
        const ACC_T u = first[i], v = second[i];
        const ACC_T w0 = (ACC_T)W_UNITS(weight[0]), w1 = (ACC_T)W_UNITS(weight[1]);
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
