/* A patch holds the codes of one window. Cores with dual multiply-accumulate hold two patches of 16-bit numbers, four
   numbers of each in turn, those at even places before those at odd ones; the others hold bytes, one patch after
   the other. */
#if defined(DUAL_MAC)
#define TILE 2
#if defined(__GNUC__) && defined(__OPTIMIZE__) && !defined(__PIC__) && !defined(__ROPI__)
/* The inner loops use all registers but one, which compilers do not manage without spills. */
#define ASM_LOOPS 1
#endif
typedef uint32_t patch_t;
#define PATCH(patches, number, groups) ((patches) + 2 * (number))

static inline patch_t *put_codes(const int8_t *from, patch_t *to, int32_t count)
{
    for (; count > 0; count -= 4) {
        const uint32_t word = load_word(from);
        to[0] = (uint32_t)even_bytes(word);
        to[1] = (uint32_t)odd_bytes(word);
        from += 4;
        to += 4;
    }
    return to;
}

static inline patch_t *put_zeros(patch_t *to, int32_t count, int32_t zero)
{
    const uint32_t word = ((uint32_t)zero & 0xffffu) * 0x10001u;
    for (; count > 0; count -= 4) {
        to[0] = to[1] = word;
        to += 4;
    }
    return to;
}
#else
#define TILE 4
typedef int8_t patch_t;
#define PATCH(patches, number, groups) ((patches) + (number) * 4 * (groups))
#define put_codes put_bytes
#define put_zeros put_equal_bytes
#endif
