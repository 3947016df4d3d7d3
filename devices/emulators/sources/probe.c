#include "probe.h"

void probe_invoke(const probe_input_t *input, probe_output_t *output) { output[0] = (probe_output_t)(input[0] + 1); }
