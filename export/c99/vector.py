"""Kernels of signed bytes for vector units: Helium (Cortex-M55), NEON without and with dot products (Cortex-A)."""

from __future__ import annotations

from export.c99.template import Kernel

SIMD = Kernel("simd", "simd")
QUAD = Kernel("quad", "quad")
RING = Kernel("ring", "ring")
CLAMP = Kernel("clamp_bytes", "clamp_bytes", (), (SIMD,))
CLIP_WINDOW = Kernel("clip_window", "clip_window")
TYPES = Kernel("types", "types")
ADDENDS = Kernel("addends", "addends")

#: Conditions of the C preprocessor, defined by the template `simd`: which kernels a compiler gets to see.
VECTOR, PLAIN = "defined(VECTOR)", "!defined(VECTOR)"
HELIUM, NEON = "defined(HELIUM)", "defined(NEON)"
SDOT, NO_SDOT = "defined(SDOT)", "defined(NEON) && !defined(SDOT)"

#: Codes, and zero points that are codes.
BYTE = range(-128, 128)
#: Bytes behind the weights of a convolution that may be read, and are multiplied by 0.
READ_AHEAD = 48

SCALES = (
    Kernel("scale_helium", "scale_helium", (), (SIMD, QUAD), HELIUM),
    Kernel("scale_neon", "scale_neon", (), (SIMD, QUAD), NEON),
)
WINDOW = Kernel("conv_window", "conv_window", (), (SIMD, TYPES, CLIP_WINDOW), VECTOR)
STORE = Kernel("conv_store_neon", "conv_store_neon", (), (WINDOW, *SCALES), NEON)
GATHER = Kernel("conv_gather_neon", "conv_gather_neon", (), (WINDOW,), NEON)
TILE_SDOT = Kernel("conv_tile_sdot", "conv_tile_sdot", (), (STORE,), SDOT)
TILES = (
    Kernel("conv_tile_helium", "conv_tile_helium", (), (WINDOW, *SCALES), HELIUM),
    Kernel("conv_short_sdot", "conv_short_sdot", (), (TILE_SDOT, GATHER), SDOT),
    Kernel("conv_tile_neon", "conv_tile_neon", (), (STORE,), NO_SDOT),
)
#: Defines `conv_byte` where there is a vector unit.
CONV_VECTOR = Kernel("conv_vector", "conv_vector", (), (*TILES, GATHER, CLAMP), VECTOR)
#: Define `depthwise_row` where there is a vector unit.
DEPTHWISE_VECTOR = (
    Kernel("depthwise_row_helium", "depthwise_row_helium", (), (RING, *SCALES), HELIUM),
    Kernel("depthwise_row_neon", "depthwise_row_neon", (), (RING, *SCALES), NEON),
)
#: Define `add_vector`, which `add_byte` calls.
ADD_VECTOR = (
    Kernel("add_vector_helium", "add_vector_helium", (), (TYPES, ADDENDS, SIMD), HELIUM),
    Kernel("add_vector_neon", "add_vector_neon", (), (TYPES, ADDENDS, *SCALES), NEON),
)
SUM_VECTOR = Kernel("sum_vector", "sum_vector", (), (SIMD,), VECTOR)
