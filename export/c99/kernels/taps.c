/* Add the products of the taps of a window with four neighbouring channels to their sums. */
static inline void NAME(const X_T *restrict row, const W_T *restrict tap, const struct taps *p, ACC_T *restrict sums)
{
    const int32_t zero = p->zero;
    ACC_T a = sums[0], b = sums[1], c = sums[2], d = sums[3];
    int32_t ky, kx;
    for (ky = 0; ky < p->rows; ky++) {
        const X_T *from = row;
        for (kx = 0; kx < p->columns; kx++) {
            a += (ACC_T)(X_UNITS(from[0]) - zero) * (ACC_T)W_UNITS(tap[0]);
            b += (ACC_T)(X_UNITS(from[1]) - zero) * (ACC_T)W_UNITS(tap[1]);
            c += (ACC_T)(X_UNITS(from[2]) - zero) * (ACC_T)W_UNITS(tap[2]);
            d += (ACC_T)(X_UNITS(from[3]) - zero) * (ACC_T)W_UNITS(tap[3]);
            from += p->from_step;
            tap += p->tap_step;
        }
        row += p->row_step;
        tap += p->tap_skip;
    }
    sums[0] = a;
    sums[1] = b;
    sums[2] = c;
    sums[3] = d;
}
