/* A function of every code, looked up; x and y may be the same memory. */
static void NAME(const X_T *x, Y_T *y, int32_t count, const Y_T *table)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = table[(uint8_t)x[i] MASK];
    }
}
