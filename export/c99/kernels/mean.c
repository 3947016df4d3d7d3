/* Mean over the positions of an image; 1 / positions is inside the multiplier. */
static void NAME(const X_T *x, Y_T *y, int32_t positions, int32_t channels, int32_t zero, const struct requant *r)
{
    int32_t c, i;
    for (c = 0; c < channels; c++) {
        const X_T *from = x + c;
        ACC_T sum = 0;
        for (i = 0; i < positions; i++) {
            sum += X_UNITS(*from) - zero;
            from += channels;
        }
        y[c] = REQUANT(sum, r, 0);
    }
}
