#include "records.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static uint64_t seq;

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC_RAW, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void quoted(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        const unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\') {
            printf("\\%c", c);
        } else if (c < 0x20 || c >= 0x7f) {
            printf("\\u%04x", (unsigned)c);
        } else {
            putchar(c);
        }
    }
    putchar('"');
}

void record_begin(const char *type) { printf("{\"seq\": %" PRIu64 ", \"type\": \"%s\"", seq++, type); }

void record_number(const char *key, uint64_t value) { printf(", \"%s\": %" PRIu64, key, value); }

void record_text(const char *key, const char *value)
{
    printf(", \"%s\": ", key);
    quoted(value);
}

void record_numbers(const char *key, const uint64_t *values, size_t count)
{
    printf(", \"%s\": [", key);
    for (size_t i = 0; i < count; i++) {
        printf("%s%" PRIu64, i ? ", " : "", values[i]);
    }
    putchar(']');
}

void record_reals(const char *key, const double *values, size_t count)
{
    printf(", \"%s\": [", key);
    for (size_t i = 0; i < count; i++) {
        printf("%s%.17g", i ? ", " : "", values[i]);
    }
    putchar(']');
}

void record_versions(const char *const *pairs, size_t count)
{
    printf(", \"versions\": {");
    for (size_t i = 0; i < count; i++) {
        printf("%s\"%s\": ", i ? ", " : "", pairs[2 * i]);
        quoted(pairs[2 * i + 1]);
    }
    putchar('}');
}

/* A full disk shows here. Nobody may take a run for whole whose records are not. */
void record_end(void)
{
    fputs("}\n", stdout);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror("the runner cannot write its records");
        exit(EXIT_WRITE);
    }
}

void fail(const char *message)
{
    record_begin("error");
    record_text("kind", "RunnerError");
    record_text("message", message);
    record_end();
    exit(EXIT_FAILED);
}

void *reserve(size_t count, size_t size)
{
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        fail("the board has too little memory for the runner");
    }
    return memory;
}
