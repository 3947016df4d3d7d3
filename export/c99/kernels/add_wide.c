/* Both addends times a whole number, summed exactly, requantised to a minifloat. */
static void NAME(const A_T *a, const B_T *b, Y_T *y, int32_t count, const struct addends *p, const struct requant *r)
{
    const struct requant rule = *r;
    const struct addends q = *p;
    int32_t i;
    for (i = 0; i < count; i++) {
        const int64_t u = ((int64_t)A_UNITS(a[i]) - q.zero[0]) * q.mantissa[0];
        const int64_t v = ((int64_t)B_UNITS(b[i]) - q.zero[1]) * q.mantissa[1];
        y[i] = REQUANT(u + v, &rule, 0);
    }
}
