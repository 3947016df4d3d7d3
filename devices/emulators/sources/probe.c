#include "probe.h"

int probe_init(probe_t *network, void *arena, size_t arena_bytes) {
    network->arena = arena;
    return arena_bytes > 0 ? 0 : 1;
}

void probe_invoke(const probe_t *network, const probe_input_t *input, probe_output_t *output) {
    network->arena[0] = 1;
    output[0] = (probe_output_t)(input[0] + network->arena[0]);
}
