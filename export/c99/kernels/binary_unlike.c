/* Add to the bytes of a vector the bits in which words of a patch differ from the weights of four outputs: one word,
   and four, each in a lane of its own. */
static inline uint8x16_t NAME(uint32x4_t word, TAKES_INSIDEconst uint32_t *weight, uint8x16_t bytes)
{
    const uint32x4_t unlike = veorq_u32(word, vld1q_u32(weight));
    return vaddq_u8(bytes, vcntq_u8(vreinterpretq_u8_u32(SEEN)));
}

static inline uint8x16_t NAMES(uint32x4_t x, TAKES_INSIDEconst uint32_t *weight, uint8x16_t bytes)
{
    bytes = NAME(vdupq_laneq_u32(x, 0), LANE_0weight, bytes);
    bytes = NAME(vdupq_laneq_u32(x, 1), LANE_1weight + 4, bytes);
    bytes = NAME(vdupq_laneq_u32(x, 2), LANE_2weight + 8, bytes);
    return NAME(vdupq_laneq_u32(x, 3), LANE_3weight + 12, bytes);
}
