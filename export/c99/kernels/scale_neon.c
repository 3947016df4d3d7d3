/* Requantise four accumulators. The doubling high half is the first rounding; the shift rounds halves up, so negative
   numbers lose 1 before it and their halves go away from 0. `right` is minus the shift. */
static inline int32x4_t scale_four(int32x4_t sums, int32x4_t mantissa, int32x4_t right)
{
    const int32x4_t high = vqrdmulhq_s32(sums, mantissa);
    return vrshlq_s32(vsraq_n_s32(high, high, 31), right);
}

static inline int32x4_t scale_quad(int32x4_t sums, const struct quad *q)
{
    return scale_four(sums, vld1q_s32(q->mantissa), vmvnq_s32(vld1q_s32(q->shift)));
}

/* Sixteen scaled sums as codes; narrowing saturates. */
static inline int8x16_t codes_of(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d, int16x8_t zero)
{
    const int16x8_t first = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(a), b), zero);
    const int16x8_t second = vqaddq_s16(vqmovn_high_s32(vqmovn_s32(c), d), zero);
    return vqmovn_high_s16(vqmovn_s16(first), second);
}

/* Where the zero point is the least code, what is negative saturates to it, so its halves may be rounded up. */
static inline int32x4_t scale_above(int32x4_t sums, int32x4_t mantissa, int32x4_t right)
{
    return vrshlq_s32(vqrdmulhq_s32(sums, mantissa), right);
}

static inline int8x16_t codes_above(int32x4_t a, int32x4_t b, int32x4_t c, int32x4_t d, int16x8_t zero)
{
    const int16x8_t first = vqmovn_high_s32(vqmovn_s32(a), b), second = vqmovn_high_s32(vqmovn_s32(c), d);
    (void)zero;
    return vreinterpretq_s8_u8(veorq_u8(vqmovun_high_s16(vqmovun_s16(first), second), vdupq_n_u8(128)));
}
