/* Codes as units minus a zero point. */
static inline void NAME(const X_T *restrict from, U_T *restrict to, int32_t count, int32_t zero)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        to[i] = (U_T)(X_UNITS(from[i]) - zero);
    }
}
