/* Both addends shifted left, scaled to a common grid, summed, requantised. */
static void NAME(const A_T *a, const B_T *b, Y_T *y, int32_t count, const struct addends *p, const struct requant *r)
{
    /* Local copies: codes are characters, so the compiler must think that storing one changes what pointers show. */
    const struct requant rule = *r;
    const struct addends q = *p;
    int32_t i;
    for (i = 0; i < count; i++) {
        const int32_t u = (A_UNITS(a[i]) - q.zero[0]) * ((int32_t)1 << q.left_shift);
        const int32_t v = (B_UNITS(b[i]) - q.zero[1]) * ((int32_t)1 << q.left_shift);
        const int32_t sum = SCALE(u, q.mantissa[0], q.exponent[0]) + SCALE(v, q.mantissa[1], q.exponent[1]);
        y[i] = REQUANT(sum, &rule, 0);
    }
}
