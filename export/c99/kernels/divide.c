/* Divide by a positive count, halves away from 0. */
static inline int32_t divide_half_away(int32_t total, int32_t count)
{
    return (total + (total < 0 ? -(count / 2) : count / 2)) / count;
}
