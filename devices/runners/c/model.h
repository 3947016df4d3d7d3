/* What the runner asks of a model. One file implements it: model_generated.c for generated C; a runtime that is loaded
   when the runner starts would be another. */
#ifndef RUNNER_MODEL_H
#define RUNNER_MODEL_H

#include <stddef.h>

size_t model_input_bytes(void);
size_t model_output_bytes(void);

/* The runtime, for the record `caps`. */
const char *model_runtime(void);

/* 0, or what went wrong. Called once, before anything else runs. */
const char *model_open(void);

/* One inference; input and output are aligned for any type. */
void model_infer(const void *input, void *output);

/* Where an output code lies on the axis of values: for argmax. */
long model_order(const void *output, size_t index);
size_t model_outputs(void);

#endif
