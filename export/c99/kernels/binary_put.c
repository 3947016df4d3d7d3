/* Store the values of a pixel, and their signs as bits, where each is wanted. */
static inline void NAME(const float *values, int32_t count, float *y, uint8_t *y_bits)
{
    int32_t i;
    if (y != NULL) {
        for (i = 0; i < count; i++) {
            y[i] = values[i];
        }
    }
    if (y_bits != NULL) {
        uint32_t byte = 0;
        for (i = 0; i < count; i++) {
            byte |= (uint32_t)(values[i] >= 0.0f) << (i & 7);
            if ((i & 7) == 7 || i == count - 1) {
                y_bits[i >> 3] = (uint8_t)byte;
                byte = 0;
            }
        }
    }
}
