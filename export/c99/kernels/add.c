/* Both addends shifted left, scaled to a common grid, summed, requantised. */
static void NAME(const A_T *a, const B_T *b, Y_T *y, int32_t count, const struct addends *p, const struct requant *r)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        const int32_t u = (A_UNITS(a[i]) - p->zero[0]) * ((int32_t)1 << p->left_shift);
        const int32_t v = (B_UNITS(b[i]) - p->zero[1]) * ((int32_t)1 << p->left_shift);
        const int32_t sum = scale_q31(u, p->mantissa[0], p->exponent[0]) + scale_q31(v, p->mantissa[1], p->exponent[1]);
        y[i] = REQUANT(sum, r, 0);
    }
}
