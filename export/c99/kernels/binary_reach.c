/* Store a bit for every sum of a pixel that reaches its threshold. */
static inline void NAME(const int32_t *sums, const int32_t *least, int32_t count, uint8_t *y_bits)
{
    uint32_t byte = 0;
    int32_t i;
    for (i = 0; i < count; i++) {
        byte |= (uint32_t)(sums[i] >= least[i]) << (i & 7);
        if ((i & 7) == 7 || i == count - 1) {
            y_bits[i >> 3] = (uint8_t)byte;
            byte = 0;
        }
    }
}
