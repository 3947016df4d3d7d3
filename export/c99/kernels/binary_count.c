/* Where words become counts: masks of every second bit, pair and nibble, kept in registers, where an operand may be
   shifted on its way. */
struct binary_masks {
    uint32_t bits, pairs, nibbles;
};

/* Counts of the bits of a word in its bytes; of two words, and of three, whose pairs of bits count to three. */
static inline uint32_t binary_nibbles(uint32_t x, const struct binary_masks m)
{
    return (x & m.nibbles) + ((x >> 4) & m.nibbles);
}

static inline uint32_t binary_count1(const struct binary_masks m, uint32_t a)
{
    const uint32_t x = a - ((a >> 1) & m.bits);
    return binary_nibbles((x & m.pairs) + ((x >> 2) & m.pairs), m);
}

static inline uint32_t binary_count2(const struct binary_masks m, uint32_t a, uint32_t b)
{
    const uint32_t x = a - ((a >> 1) & m.bits), y = b - ((b >> 1) & m.bits);
    return binary_nibbles((x & m.pairs) + ((x >> 2) & m.pairs) + (y & m.pairs) + ((y >> 2) & m.pairs), m);
}

static inline uint32_t binary_count3(const struct binary_masks m, uint32_t a, uint32_t b, uint32_t c)
{
    const uint32_t x = a - ((a >> 1) & m.bits) + (b & m.bits), y = c - ((c >> 1) & m.bits) + ((b >> 1) & m.bits);
    return binary_nibbles((x & m.pairs) + ((x >> 2) & m.pairs) + (y & m.pairs) + ((y >> 2) & m.pairs), m);
}

/* The sum of the bytes of a word. */
static inline uint32_t NAME(uint32_t bytes)
{
#if defined(__ARM_FEATURE_SIMD32)
    return __usad8(bytes, 0);
#else
    bytes = (bytes & 0x00FF00FFu) + ((bytes >> 8) & 0x00FF00FFu);
    return (bytes + (bytes >> 16)) & 0xFFFFu;
#endif
}
