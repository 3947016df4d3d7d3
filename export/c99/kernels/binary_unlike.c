/* Add to the bytes of a vector the bits in which words of a patch differ from the weights of four outputs: one word,
   and four, each in a lane of its own. */
static inline uint8x16_t NAME(uint32x4_t word, const uint32_t *weight, uint8x16_t bytes)
{
    return vaddq_u8(bytes, vcntq_u8(vreinterpretq_u8_u32(veorq_u32(word, vld1q_u32(weight)))));
}

static inline uint8x16_t binary_unlike4(uint32x4_t x, const uint32_t *weight, uint8x16_t bytes)
{
    bytes = NAME(vdupq_laneq_u32(x, 0), weight, bytes);
    bytes = NAME(vdupq_laneq_u32(x, 1), weight + 4, bytes);
    bytes = NAME(vdupq_laneq_u32(x, 2), weight + 8, bytes);
    return NAME(vdupq_laneq_u32(x, 3), weight + 12, bytes);
}
