/* The same counts for vectors of four words, whose lanes are outputs. */
struct binary_masks {
    uint32x4_t bits, pairs, nibbles;
};

static inline uint32x4_t binary_nibbles(uint32x4_t x, uint32x4_t y, const struct binary_masks m)
{
    x = vaddq_u32(vandq_u32(x, m.pairs), vandq_u32(vshrq_n_u32(x, 2), m.pairs));
    y = vaddq_u32(vandq_u32(y, m.pairs), vandq_u32(vshrq_n_u32(y, 2), m.pairs));
    x = vaddq_u32(x, y);
    return vaddq_u32(vandq_u32(x, m.nibbles), vandq_u32(vshrq_n_u32(x, 4), m.nibbles));
}

static inline uint32x4_t binary_pairs(uint32x4_t x, const struct binary_masks m)
{
    return vsubq_u32(x, vandq_u32(vshrq_n_u32(x, 1), m.bits));
}

static inline uint32x4_t binary_count2(const struct binary_masks m, uint32x4_t a, uint32x4_t b)
{
    return binary_nibbles(binary_pairs(a, m), binary_pairs(b, m), m);
}

static inline uint32x4_t binary_count1(const struct binary_masks m, uint32x4_t a)
{
    return binary_count2(m, a, vdupq_n_u32(0));
}

static inline uint32x4_t binary_count3(const struct binary_masks m, uint32x4_t a, uint32x4_t b, uint32x4_t c)
{
    const uint32x4_t x = vaddq_u32(binary_pairs(a, m), vandq_u32(b, m.bits));
    return binary_nibbles(x, vaddq_u32(binary_pairs(c, m), vandq_u32(vshrq_n_u32(b, 1), m.bits)), m);
}

static inline uint32x4_t NAME(uint32x4_t bytes)
{
    const uint32x4_t even = vdupq_n_u32(0x00FF00FFu);
    bytes = vaddq_u32(vandq_u32(bytes, even), vandq_u32(vshrq_n_u32(bytes, 8), even));
    return vandq_u32(vaddq_u32(bytes, vshrq_n_u32(bytes, 16)), vdupq_n_u32(0xFFFF));
}
