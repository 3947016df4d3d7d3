/* Requantise four accumulators. The doubling high half is the first rounding; the shift rounds halves up, so negative
   numbers lose 1 before it and their halves go away from 0. `right` is minus the shift. */
static inline int32x4_t scale_by(int32x4_t sums, int32x4_t mantissa, int32x4_t right)
{
    const int32x4_t high = vqrdmulhq_s32(sums, mantissa);
    return vrshlq_s32(vaddq_s32(high, vshrq_n_s32(high, 31)), right);
}

/* The same with the shift minus one, as export writes it. */
static inline int32x4_t scale_four(int32x4_t sums, int32x4_t mantissa, int32x4_t shift)
{
    return scale_by(sums, mantissa, vmvnq_s32(shift));
}
