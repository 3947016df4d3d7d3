/* Times a network with exits and the same network without them, turn by turn, input by input. Input codes come on stdin;
   for each input and round one line: input, part that answered, nanoseconds with exits, nanoseconds without. */
#define _POSIX_C_SOURCE 199309L
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "early.h"
#include "plain.h"

static unsigned char early_memory[EARLY_ARENA_BYTES] __attribute__((aligned(EARLY_ARENA_ALIGNMENT)));
static unsigned char plain_memory[PLAIN_ARENA_BYTES] __attribute__((aligned(16)));

static long long now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

int main(int argc, char **argv) {
    int rounds = argc > 2 ? atoi(argv[1]) : 0, count = argc > 2 ? atoi(argv[2]) : 0;
    early_input_t *inputs = malloc((size_t)(count > 0 ? count : 1) * EARLY_INPUT_SIZE * sizeof *inputs);
    early_t early;
    plain_t plain;
    early_answer_t answer;
    plain_output_t output[PLAIN_OUTPUT_SIZE];
    if (!inputs || early_init(&early, early_memory, sizeof early_memory)) return 2;
    if (plain_init(&plain, plain_memory, sizeof plain_memory)) return 2;
    if (fread(inputs, EARLY_INPUT_SIZE * sizeof *inputs, (size_t)count, stdin) != (size_t)count) return 3;
    for (int round = 0; round < rounds; round++) {
        for (int i = 0; i < count; i++) {
            const early_input_t *input = inputs + (size_t)i * EARLY_INPUT_SIZE;
            long long start = now(), middle, end;
            early_invoke(&early, input, &answer);
            middle = now();
            plain_invoke(&plain, input, output);
            end = now();
            printf("%d %d %lld %lld\n", i, (int)answer.part, middle - start, end - middle);
        }
    }
    free(inputs);
    return fflush(stdout) ? 1 : 0;
}
