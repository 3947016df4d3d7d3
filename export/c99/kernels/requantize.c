/* Other scale, zero point or format, element by element. */
static void NAME(const X_T *x, Y_T *y, int32_t count, int32_t zero, const struct requant *r)
{
    const struct requant rule = *r;
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = REQUANT((ACC_T)(X_UNITS(x[i]) - zero), &rule, 0);
    }
}
