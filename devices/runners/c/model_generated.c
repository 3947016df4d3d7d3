/* The generated C of a part as the runner's model. Compile with -DEDGEMILL_HEADER="name.h" -DEDGEMILL_NAME=name
   -DEDGEMILL_UPPER=NAME, and -DEDGEMILL_SIGN_BIT=n where output codes are minifloats whose sign is bit n. */
#include "model.h"

#include <stdint.h>

#include EDGEMILL_HEADER

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define PART(suffix) PASTE(EDGEMILL_NAME, suffix)
#define MACRO(suffix) PASTE(EDGEMILL_UPPER, suffix)

static PART(_t) network;
static MACRO(_ARENA)(arena);

size_t model_outputs(void) { return MACRO(_OUTPUT_SIZE); }

size_t model_input_bytes(void) { return MACRO(_INPUT_SIZE) * sizeof(PART(_input_t)); }

size_t model_output_bytes(void) { return MACRO(_OUTPUT_SIZE) * sizeof(PART(_output_t)); }

const char *model_runtime(void) { return "c-linux"; }

const char *model_open(void)
{
    return PART(_init)(&network, arena, sizeof arena) == 0 ? NULL : "the model refuses its arena";
}

void model_infer(const void *input, void *output)
{
    PART(_invoke)(&network, (const PART(_input_t) *)input, (PART(_output_t) *)output);
}

long model_order(const void *output, size_t index)
{
    const long code = ((const PART(_output_t) *)output)[index];
#ifdef EDGEMILL_SIGN_BIT
    const long sign = 1L << EDGEMILL_SIGN_BIT;
    return code & sign ? -(code & (sign - 1)) : code;
#else
    return code;
#endif
}
