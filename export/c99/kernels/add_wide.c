/* Both addends times a whole number, summed exactly, requantised to a minifloat. */
static void NAME(const A_T *a, const B_T *b, Y_T *y, int32_t count, const struct addends *p, const struct requant *r)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        const int64_t u = ((int64_t)A_UNITS(a[i]) - p->zero[0]) * p->mantissa[0];
        const int64_t v = ((int64_t)B_UNITS(b[i]) - p->zero[1]) * p->mantissa[1];
        y[i] = REQUANT(u + v, r, 0);
    }
}
