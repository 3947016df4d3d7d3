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
static RUNNER_MACRO(_ARENA)(runner_arena);
static RUNNER_PART(_t) runner_network;

/* The two things that are counted: an inference, and nothing at all, whose count is taken off. */
static void __attribute__((noipa)) inference(void) { RUNNER_PART(_invoke)(&runner_network, runner_input, runner_output); }
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

#if defined(EDGEMILL_STEPS)
/* Two markers behind every step: what the plugin counts between them, telling which step it was, is nobody's. */
void edgemill_step(void);
void edgemill_resume(void);
void __attribute__((noipa)) edgemill_step(void) { __asm__ volatile("nop"); }
void __attribute__((noipa)) edgemill_resume(void) { __asm__ volatile("nop"); }
void __attribute__((noipa)) edgemill_tap(int tensor, const void *codes, int bytes) {
    (void)codes;
    edgemill_step();
    put_codes("step", tensor, &bytes, sizeof bytes);
    edgemill_resume();
}
#elif defined(EDGEMILL_TAP)
void edgemill_tap(int tensor, const void *codes, int bytes) { put_codes("tensor", tensor, codes, (size_t)bytes); }
#endif

/* Stack use by painting: words below the stack pointer get a pattern, and the lowest one that changed says how deep
 * a call went. `stack_end` is where the stack must end, or NULL where there is room enough. */
enum { PAINT_WORDS = 1 << 14, STACK_UNKNOWN = -1 };
static const uint32_t paint_word = 0xC5A1C5A1u;
static volatile uint32_t *paint_low, *paint_high;

uint32_t *stack_end(void);

static void __attribute__((noipa)) paint(void) {
    uintptr_t top, end = (uintptr_t)stack_end();
    __asm__ volatile("mov %0, sp" : "=r"(top));
    top &= ~(uintptr_t)3;
    paint_high = (volatile uint32_t *)top;
    if (end == 0 || (top - end) / sizeof(uint32_t) > PAINT_WORDS) end = top - PAINT_WORDS * sizeof(uint32_t);
    paint_low = (volatile uint32_t *)end;
    for (volatile uint32_t *word = paint_low; word != paint_high; word++) *word = paint_word;
}

/* Bytes between the painter's stack pointer and the deepest word that a call has written since. */
static int32_t __attribute__((noipa)) painted_over(void) {
    const volatile uint32_t *word = paint_low;
    while (word != paint_high && *word == paint_word) word++;
    return word == paint_low ? STACK_UNKNOWN : (int32_t)((uintptr_t)paint_high - (uintptr_t)word);
}

void region(void (*work)(void));

/* One image: poison the output so that a model that writes nothing is seen, then run it between the markers. */
static void run_image(int index, const uint8_t *codes) {
    if (RUNNER_PART(_init)(&runner_network, runner_arena, sizeof runner_arena) != 0) {
        put("the part refuses its arena\n");
        return;
    }
    memcpy(runner_input, codes, RUNNER_INPUT_BYTES);
    memset(runner_output, 0xA5, RUNNER_OUTPUT_BYTES);
    paint();
    region(nothing);
    const int32_t before = painted_over();
    paint();
    region(inference);
    const int32_t after = painted_over();
    const int32_t stack = after == STACK_UNKNOWN ? STACK_UNKNOWN : after - before;
    put_codes("output", index, runner_output, RUNNER_OUTPUT_BYTES);
    put_codes("stack", index, &stack, sizeof stack);
}

#endif
