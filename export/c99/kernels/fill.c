/* Give every element the same code. */
static void NAME(X_T *y, int32_t count, X_T code)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = code;
    }
}
