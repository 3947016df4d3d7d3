"""Tiny hand-written C parts in the shape the C exporter writes, and the graph they compute."""

from __future__ import annotations

from pathlib import Path

from quant import operators as ops
from quant.formats import INT8
from quant.graph import Graph, Node, Quant, Tensor, check

HEADER = """
#ifndef POOL_H
#define POOL_H
#include <stddef.h>
#include <stdint.h>
typedef int8_t pool_input_t;
typedef int8_t pool_output_t;
typedef struct { unsigned char *arena; } pool_t;
#define POOL_ARENA(memory) unsigned char memory[16]
#define POOL_INPUT_SIZE 32
#define POOL_OUTPUT_SIZE 2
int pool_init(pool_t *net, void *arena, size_t bytes);
void pool_invoke(const pool_t *net, const pool_input_t *in, pool_output_t *out);
#endif
"""

INIT = "int pool_init(pool_t *net, void *arena, size_t bytes) { net->arena = arena; return bytes < 8; }\n"

POOL = """
#include "pool.h"
#ifdef EDGEMILL_TAP
extern void edgemill_tap(int tensor, const void *codes, int bytes);
#define TAP(i, p, n) edgemill_tap(i, p, n)
#else
#define TAP(i, p, n)
#endif
static const int8_t floor_code[4] = {-128, -128, -128, -128};
static int8_t larger(int8_t a, int8_t b) { return a > b ? a : b; }
static void pool2(const int8_t *x, int size, int8_t *y) {
    for (int r = 0; r < size / 2; r++)
        for (int c = 0; c < size / 2; c++)
            for (int k = 0; k < 2; k++) {
                int8_t best = floor_code[k];
                for (int i = 0; i < 4; i++)
                    best = larger(best, x[((2 * r + i / 2) * size + 2 * c + i % 2) * 2 + k]);
                y[(r * (size / 2) + c) * 2 + k] = best;
            }
}
void pool_invoke(const pool_t *net, const pool_input_t *in, pool_output_t *out) {
    int8_t *const middle = (int8_t *)net->arena;
    pool2(in, 4, middle);
    TAP(0, middle, 8);
    pool2(middle, 2, out);
    TAP(1, out, 2);
}
"""

#: Bodies of `pool_invoke` that go wrong, or take a known number of instructions.
FAULT = "(void)in; (void)out; *(volatile int *)0xFFFFFF00u = 1;"
ENDLESS = '(void)in; (void)out; for (;;) __asm__ volatile("nop");'
SILENT = "(void)in; (void)out;"


def pool_graph() -> Graph:
    """Two 2x2 max pools of a [1,2,4,4] image: exact in any language."""
    quant = Quant(INT8, (0.5,), 3)
    shapes = {"x": (1, 2, 4, 4), "m": (1, 2, 2, 2), "y": (1, 2, 1, 1)}
    tensors = {name: Tensor(shape, quant) for name, shape in shapes.items()}
    pool = ops.MaxPool(kernel=(2, 2), strides=(2, 2))
    nodes = (Node("first", pool, ("x",), "m"), Node("second", pool, ("m",), "y"))
    return check(Graph("pool", "x", "y", nodes, tensors))


def write_pool(folder: Path) -> Path:
    """Write the C of `pool_graph` as a part called `pool`."""
    (folder / "pool.h").write_text(HEADER)
    (folder / "pool.c").write_text(POOL + INIT)
    return folder


def write_body(folder: Path, body: str) -> Path:
    """Write a part called `pool` whose `pool_invoke` is `body`."""
    (folder / "pool.h").write_text(HEADER)
    (folder / "pool.c").write_text(
        f'#include "pool.h"\n{INIT}'
        f"void pool_invoke(const pool_t *net, const pool_input_t *in, pool_output_t *out) {{ (void)net; {body} }}\n"
    )
    return folder
