/* Requantise four accumulators. The doubling high half is the first rounding; the shift rounds halves up, so negative
   numbers lose 1 before it and their halves go away from 0. `shift` is the shift minus one. */
static inline int32x4_t scale_four(int32x4_t sums, int32x4_t mantissa, int32x4_t shift)
{
    const int32x4_t high = vqrdmulhq_s32(sums, mantissa);
    return vrshlq_s32(vaddq_s32(high, vshrq_n_s32(high, 31)), vmvnq_s32(shift));
}
