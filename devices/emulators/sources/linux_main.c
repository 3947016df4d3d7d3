/* Runs a generated part on Linux: input codes come from a file, output codes go to stdout as hex. */
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "edgemill_runner.h"

void put(const char *text) { fputs(text, stdout); }

uint32_t *stack_end(void) { return NULL; }

/* getppid does nothing and is never called by a model: the plugin takes it as the marker. */
void __attribute__((noipa)) region(void (*work)(void)) {
    syscall(SYS_getppid);
    work();
    syscall(SYS_getppid);
}

int main(int argc, char **argv) {
    static uint8_t codes[RUNNER_INPUT_BYTES];
    FILE *file = argc == 2 ? fopen(argv[1], "rb") : NULL;
    if (!file) {
        fputs("usage: runner INPUTS\n", stderr);
        return 2;
    }
    for (int index = 0; fread(codes, 1, sizeof codes, file) == sizeof codes; index++) run_image(index, codes);
    fclose(file);
    return fflush(stdout) ? 1 : 0;
}
