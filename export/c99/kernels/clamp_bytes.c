/* Cut codes at limits that are narrower than a byte's. */
static void clamp_bytes(int8_t *y, int32_t count, int32_t low, int32_t high)
{
    int32_t i;
    for (i = 0; i < count; i++) {
        y[i] = (int8_t)(y[i] < low ? low : y[i] > high ? high : y[i]);
    }
}
