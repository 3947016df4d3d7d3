/* Vector instructions where the compiler says they exist; other cores compile the plain loops that follow each use. */
#if defined(__ARM_FEATURE_SIMD32) && !defined(__ARM_BIG_ENDIAN) && !defined(__aarch64__)
#define DUAL_MAC 1
#include <arm_acle.h>

static inline uint32_t load_word(const void *from)
{
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

/* Load eight bytes that lie at a multiple of four, and move the pointer on. */
#if defined(__GNUC__)
#define LOAD_PAIR(pair, from, step) \
    __asm__("ldrd %Q0, %R0, [%1], #" #step : "=r"(pair), "+r"(from) : "m"(*(const char(*)[8])(const void *)(from)))
#else
#define LOAD_PAIR(pair, from, step) (memcpy(&(pair), from, 8), (from) += (step) / (int)sizeof *(from))
#endif

/* The high word of 2^31 + a * b. */
static inline int32_t high_rounded(int32_t a, int32_t b)
{
#if defined(__GNUC__)
    int32_t high;
    __asm__("smmulr %0, %1, %2" : "=r"(high) : "r"(a), "r"(b));
    return high;
#else
    return (int32_t)(((int64_t)a * b + ((int64_t)1 << 31)) >> 32);
#endif
}

/* Bytes 0 and 2 of a word, each sign-extended to 16 bits. */
static inline int16x2_t even_bytes(uint32_t word)
{
    return __sxtb16((int8x4_t)word);
}

/* Bytes 1 and 3 of a word, each sign-extended to 16 bits. GCC does not fold the rotation of the intrinsic. */
static inline int16x2_t odd_bytes(uint32_t word)
{
#if defined(__GNUC__)
    int16x2_t halves;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(word));
    return halves;
#else
    return __sxtb16((int8x4_t)((word >> 8) | (word << 24)));
#endif
}

/* The same plus the halves of `base`. */
static inline int16x2_t even_bytes_plus(int16x2_t base, uint32_t word)
{
    return __sxtab16(base, (int8x4_t)word);
}

static inline int16x2_t odd_bytes_plus(int16x2_t base, uint32_t word)
{
#if defined(__GNUC__)
    int16x2_t halves;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(halves) : "r"(base), "r"(word));
    return halves;
#else
    return __sxtab16(base, (int8x4_t)((word >> 8) | (word << 24)));
#endif
}
#endif
#if defined(__ARM_FEATURE_MVE) && !defined(__ARM_BIG_ENDIAN)
#define HELIUM 1
#include <arm_mve.h>
#elif defined(__ARM_NEON) && defined(__aarch64__) && !defined(__ARM_BIG_ENDIAN)
#define NEON 1
#if defined(__ARM_FEATURE_DOTPROD)
#define SDOT 1
#endif
#include <arm_neon.h>
#endif
#if defined(HELIUM) || defined(NEON)
#define VECTOR 1
#endif
#if defined(__GNUC__)
/* A function of its own keeps its registers to itself. */
#define APART __attribute__((noinline))
/* Loads stay behind this line: all of them at once would need more registers than there are. */
#define IN_ORDER __asm__ volatile("" ::: "memory")
/* What is computed from a vector is computed behind this line, for the same reason. */
#define HOLD(vector) __asm__ volatile("" : "+w"(vector))
/* Addresses from this pointer are computed anew, not kept in registers around a loop. */
#define FRESH(pointer) __asm__ volatile("" : "+r"(pointer))
#else
#define APART
#define IN_ORDER (void)0
#define HOLD(vector) (void)0
#define FRESH(pointer) (void)0
#endif
