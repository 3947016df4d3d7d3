/* Cut every channel at its own limit; x and y may be the same memory. */
static void NAME(const X_T *x, X_T *y, int32_t pixels, int32_t channels, const LIMIT_T *limits)
{
    int32_t i, c;
    for (i = 0; i < pixels; i++) {
        for (c = 0; c < channels; c++) {
            const int32_t value = X_ORDINAL(*x++);
            *y++ = X_CODE(value < limits[c] ? value : limits[c]);
        }
    }
}
