/* Sums of a patch of WORDS words for all outputs, four at a time, whose weights take turns by word: as many as there
   are terms, less 2 for every bit that differs. */
static inline void NAME(const uint32_t *patch, const uint32_t *weight, int32_t outputs, int32_t terms, int32_t *sums)
{
    struct binary_masks m = {0x55555555u, 0x33333333u, 0x0F0F0F0Fu};
    int32_t output, lane;
    HELD(m.bits);
    HELD(m.pairs);
    HELD(m.nibbles);
    for (output = 0; output < outputs; output += 4, weight += 4 * WORDS, sums += 4) {
        for (lane = 0; lane < 4; lane++) {
            const uint32_t *w = weight + lane;
            uint32_t unlike = 0, bytes;
COUNTS
            sums[lane] = terms - 2 * (int32_t)unlike;
        }
    }
}
