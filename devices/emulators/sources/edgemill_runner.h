/* The generated part under test, named by the macros EDGEMILL_HEADER, EDGEMILL_NAME and EDGEMILL_UPPER. */
#ifndef EDGEMILL_RUNNER_H
#define EDGEMILL_RUNNER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include EDGEMILL_HEADER

#define RUNNER_PASTE_(a, b) a##b
#define RUNNER_PASTE(a, b) RUNNER_PASTE_(a, b)
#define RUNNER_PART(suffix) RUNNER_PASTE(EDGEMILL_NAME, suffix)
#define RUNNER_MACRO(suffix) RUNNER_PASTE(EDGEMILL_UPPER, suffix)

#define RUNNER_INPUT_BYTES (RUNNER_MACRO(_INPUT_SIZE) * sizeof(RUNNER_PART(_input_t)))
#define RUNNER_OUTPUT_BYTES (RUNNER_MACRO(_OUTPUT_SIZE) * sizeof(RUNNER_PART(_output_t)))

static RUNNER_PART(_input_t) runner_input[RUNNER_MACRO(_INPUT_SIZE)];
static RUNNER_PART(_output_t) runner_output[RUNNER_MACRO(_OUTPUT_SIZE)];

/* The two things that are counted: an inference, and nothing at all, whose count is taken off. */
static void __attribute__((noipa)) inference(void) { RUNNER_PART(_invoke)(runner_input, runner_output); }
static void __attribute__((noipa)) nothing(void) { __asm__ volatile("" ::: "memory"); }

void put(const char *text);

/* "WHAT index hex": one line for every output and every tapped tensor. */
static void put_codes(const char *what, int index, const void *codes, size_t bytes) {
    static const char digits[] = "0123456789abcdef";
    char line[129];
    size_t used = 0;
    char number[12];
    size_t n = sizeof number;
    number[--n] = 0;
    do {
        number[--n] = (char)('0' + index % 10);
    } while ((index /= 10) > 0);
    put(what);
    put(" ");
    put(number + n);
    put(" ");
    for (size_t i = 0; i < bytes; i++) {
        line[used++] = digits[((const uint8_t *)codes)[i] >> 4];
        line[used++] = digits[((const uint8_t *)codes)[i] & 15];
        if (used == 128 || i + 1 == bytes) {
            line[used] = 0;
            put(line);
            used = 0;
        }
    }
    put("\n");
}

#ifdef EDGEMILL_TAP
void edgemill_tap(int tensor, const void *codes, int bytes) { put_codes("tensor", tensor, codes, (size_t)bytes); }
#endif

void region(void (*work)(void));

/* One image: poison the output so that a model that writes nothing is seen, then run it between the markers. */
static void run_image(int index, const uint8_t *codes) {
    memcpy(runner_input, codes, RUNNER_INPUT_BYTES);
    memset(runner_output, 0xA5, RUNNER_OUTPUT_BYTES);
    region(nothing);
    region(inference);
    put_codes("output", index, runner_output, RUNNER_OUTPUT_BYTES);
}

#endif
