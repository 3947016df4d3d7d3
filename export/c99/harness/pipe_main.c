/* Runs a generated model behind pipes: input codes on stdin, output codes on stdout, in C memory order.
   With -DEDGEMILL_TAP stdout gets every step's tensor instead, whole or in pieces, behind its number and its bytes. With an argument, a number of loops, the first input
   is run that often and one line with the nanoseconds per inference is printed.
   Compile with -DPIPE_HEADER="name.h" -DPIPE(x)=name_##x -DPIPE_INPUT_SIZE=NAME_INPUT_SIZE and the same for
   OUTPUT_SIZE, -DPIPE_ARENA=NAME_ARENA. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include PIPE_HEADER

static PIPE(input_t) input[PIPE_INPUT_SIZE];
static PIPE(output_t) output[PIPE_OUTPUT_SIZE];
static PIPE_ARENA(arena);
static PIPE(t) network;

#ifdef EDGEMILL_TAP
void edgemill_tap(int tensor, const void *codes, int bytes);
void edgemill_tap(int tensor, const void *codes, int bytes)
{
    const int32_t head[2] = {tensor, bytes};
    if (fwrite(head, sizeof head, 1, stdout) != 1 || fwrite(codes, 1, (size_t)bytes, stdout) != (size_t)bytes) {
        exit(3);
    }
}
#endif

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static int loop(long loops)
{
    const double start = seconds();
    long i;
    for (i = 0; i < loops; i++) {
        PIPE(invoke)(&network, input, output);
    }
    printf("%.1f\n", (seconds() - start) * 1e9 / (double)loops);
    return 0;
}

int main(int argc, char **argv)
{
    if (PIPE(init)(&network, arena, sizeof arena) != 0) {
        return 4;
    }
    while (fread(input, sizeof input, 1, stdin) == 1) {
        if (argc > 1) {
            return loop(strtol(argv[1], NULL, 10));
        }
        memset(output, 0x5a, sizeof output);
        PIPE(invoke)(&network, input, output);
#ifndef EDGEMILL_TAP
        if (fwrite(output, sizeof output, 1, stdout) != 1) {
            return 3;
        }
#endif
    }
    return ferror(stdin) ? 2 : 0;
}
