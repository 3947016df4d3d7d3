/* Copy codes, turning the negative zero of a minifloat into the positive one. */
static void NAME(const X_T *x, X_T *y, int32_t count)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = (X_T)(x[i] == SIGN_BIT ? 0 : x[i]);
    }
}
