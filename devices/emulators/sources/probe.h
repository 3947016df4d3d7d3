/* The smallest part: it shows that a compiler, its C library and an emulator work together. */
#ifndef PROBE_H
#define PROBE_H
#include <stddef.h>
#include <stdint.h>
typedef int8_t probe_input_t;
typedef int8_t probe_output_t;
typedef struct {
    unsigned char *arena;
} probe_t;
#define PROBE_INPUT_SIZE 1
#define PROBE_OUTPUT_SIZE 1
#define PROBE_ARENA(memory) unsigned char memory[16]
int probe_init(probe_t *network, void *arena, size_t arena_bytes);
void probe_invoke(const probe_t *network, const probe_input_t *input, probe_output_t *output);
#endif
