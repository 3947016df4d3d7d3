/* Two ceilings of one core: int8 multiply-accumulates per second on data in the first cache, and bytes per second
 * read from memory. Each is the best of several trials, as a ceiling is what nothing exceeds.
 * Prints: MACS_PER_S BYTES_PER_S KERNEL */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#if defined(__AVX512VNNI__) || defined(__AVX2__)
#include <immintrin.h>
#elif defined(__ARM_FEATURE_DOTPROD)
#include <arm_neon.h>
#endif

enum { LANES = 8, BLOCK = 64, BLOCKS = 64, TRIALS = 9, STREAM_BYTES = 64 << 20 };

static int8_t left[BLOCK * BLOCKS], right[BLOCK * BLOCKS];
static volatile int64_t sink;

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC_RAW, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* One pass multiplies every byte of `left` with a byte of `right`: BLOCK * BLOCKS products. */
#if defined(__AVX512VNNI__)
static const char kernel[] = "avx512-vnni";
static int64_t pass(void)
{
    __m512i sums[LANES];
    for (int i = 0; i < LANES; i++) sums[i] = _mm512_setzero_si512();
    for (int b = 0; b < BLOCKS; b += LANES)
        for (int i = 0; i < LANES; i++)
            sums[i] = _mm512_dpbusd_epi32(sums[i], _mm512_loadu_si512(left + (b + i) * BLOCK),
                                          _mm512_loadu_si512(right + (b + i) * BLOCK));
    int64_t total = 0;
    for (int i = 0; i < LANES; i++) total += _mm512_reduce_add_epi32(sums[i]);
    return total;
}
#elif defined(__AVX2__)
static const char kernel[] = "avx2";
static int64_t pass(void)
{
    const __m256i ones = _mm256_set1_epi16(1);
    __m256i sums[LANES];
    for (int i = 0; i < LANES; i++) sums[i] = _mm256_setzero_si256();
    for (int b = 0; b < 2 * BLOCKS; b += LANES)
        for (int i = 0; i < LANES; i++) {
            __m256i products = _mm256_maddubs_epi16(_mm256_loadu_si256((const __m256i *)(left + (b + i) * 32)),
                                                    _mm256_loadu_si256((const __m256i *)(right + (b + i) * 32)));
            sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(products, ones));
        }
    int32_t parts[8];
    int64_t total = 0;
    for (int i = 0; i < LANES; i++) {
        _mm256_storeu_si256((__m256i *)parts, sums[i]);
        for (int k = 0; k < 8; k++) total += parts[k];
    }
    return total;
}
#elif defined(__ARM_FEATURE_DOTPROD)
static const char kernel[] = "neon-dotprod";
static int64_t pass(void)
{
    int32x4_t sums[LANES];
    for (int i = 0; i < LANES; i++) sums[i] = vdupq_n_s32(0);
    for (int b = 0; b < 4 * BLOCKS; b += LANES)
        for (int i = 0; i < LANES; i++)
            sums[i] = vdotq_s32(sums[i], vld1q_s8(left + (b + i) * 16), vld1q_s8(right + (b + i) * 16));
    int64_t total = 0;
    for (int i = 0; i < LANES; i++) total += vaddvq_s32(sums[i]);
    return total;
}
#else
static const char kernel[] = "plain C";
static int64_t pass(void)
{
    int32_t total = 0;
    for (int i = 0; i < BLOCK * BLOCKS; i++) total += left[i] * right[i];
    return total;
}
#endif

static double macs_per_s(void)
{
    const int passes = 2000;
    double begin = now_s();
    for (int p = 0; p < passes; p++) {
        left[p % (BLOCK * BLOCKS)] = (int8_t)(p & 31); /* no pass can be left out */
        sink += pass();
    }
    return (double)passes * BLOCK * BLOCKS / (now_s() - begin);
}

static double bytes_per_s(const int64_t *data)
{
    int64_t total = 0;
    double begin = now_s();
    for (size_t i = 0; i < STREAM_BYTES / sizeof *data; i++) total += data[i];
    sink += total;
    return STREAM_BYTES / (now_s() - begin);
}

int main(void)
{
    int64_t *data = malloc(STREAM_BYTES);
    double macs = 0, bytes = 0;
    if (!data) return 1;
    for (size_t i = 0; i < STREAM_BYTES / sizeof *data; i++) data[i] = (int64_t)i;
    for (int i = 0; i < BLOCK * BLOCKS; i++) left[i] = (int8_t)(i & 31), right[i] = (int8_t)(i % 61 - 30);
    for (int t = 0; t < TRIALS; t++) {
        double m = macs_per_s(), b = bytes_per_s(data);
        macs = m > macs ? m : macs;
        bytes = b > bytes ? b : bytes;
    }
    free(data);
    return printf("%.6e %.6e %s\n", macs, bytes, kernel) < 0;
}
