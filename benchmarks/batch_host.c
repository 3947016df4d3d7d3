/* Runs a batch on this machine: input codes come from a file, every tensor goes to stdout as hex. */
#include <stdio.h>

#include "batch.h"

static batch_input_t input[BATCH_INPUT_SIZE];

void edgemill_tap(int tensor, const void *codes, int bytes);
void edgemill_tap(int tensor, const void *codes, int bytes) {
    const unsigned char *byte = codes;
    printf("tensor %d ", tensor);
    for (int i = 0; i < bytes; i++) printf("%02x", byte[i]);
    printf("\n");
}

int main(int argc, char **argv) {
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    batch_t network;
    batch_output_t output;
    if (!file || batch_init(&network, NULL, 0)) return 2;
    while (fread(input, sizeof input, 1, file) == 1) batch_invoke(&network, input, &output);
    fclose(file);
    return fflush(stdout) ? 1 : 0;
}
