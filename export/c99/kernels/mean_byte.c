/* Mean of signed bytes over the positions of an image; 1 / positions is inside the multiplier. */
static void NAME(const int8_t *x, int8_t *y, int32_t positions, int32_t channels, int32_t zero, const struct requant *r)
{
    const struct requant rule = *r;
    int32_t c = 0, i;
#if defined(VECTOR)
    for (; c < channels - 7; c += 8) {
        int32_t sums[8];
        sum_eight(x + c, positions, channels, sums);
        for (i = 0; i < 8; i++) {
            y[c + i] = REQUANT(sums[i] - positions * zero, &rule, 0);
        }
    }
#endif
    for (; c < channels; c++) {
        const int8_t *from = x + c;
        int32_t sum = -positions * zero;
        for (i = 0; i < positions; i++) {
            sum += *from;
            from += channels;
        }
        y[c] = REQUANT(sum, &rule, 0);
    }
}
