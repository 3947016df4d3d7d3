/* The smallest part: it shows that a compiler, its C library and an emulator work together. */
#ifndef PROBE_H
#define PROBE_H
#include <stdint.h>
typedef int8_t probe_input_t;
typedef int8_t probe_output_t;
#define PROBE_INPUT_SIZE 1
#define PROBE_OUTPUT_SIZE 1
void probe_invoke(const probe_input_t *input, probe_output_t *output);
#endif
