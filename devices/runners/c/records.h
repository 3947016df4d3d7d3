/* The lines the runner writes: see devices/protocol.py. */
#ifndef RUNNER_RECORDS_H
#define RUNNER_RECORDS_H

#include <stddef.h>
#include <stdint.h>

/* Exit codes beside 0: a wrong command line, a run that failed, records that could not be written. */
enum { EXIT_USAGE = 2, EXIT_FAILED = 1, EXIT_WRITE = 74 };

/* Nanoseconds of a clock that no time service slews. */
uint64_t now_ns(void);

/* A record is begun, gets fields, and is ended, which writes it at once. */
void record_begin(const char *type);
void record_number(const char *key, uint64_t value);
void record_text(const char *key, const char *value);
void record_numbers(const char *key, const uint64_t *values, size_t count);
void record_reals(const char *key, const double *values, size_t count);
void record_versions(const char *const *pairs, size_t count);
void record_end(void);

/* Write a record `error` and end the program. */
void fail(const char *message);

/* Memory, or the end of the program. */
void *reserve(size_t count, size_t size);

#endif
