"""Small windows are gathered in registers on Cortex-A: exact at every border, and no byte beside the arrays is read.

The program that runs lays input, output and working memory against pages that may not be touched, at their ends and
then at their beginnings.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from devices import tools
from devices.emulators import qemu_user
from devices.emulators.machine import Machine
from devices.emulators.trial import missing
from export.arm_m import TARGET
from export.target import Source
from quant import operators as ops
from quant.formats import INT8, Array
from quant.graph import Graph
from quant.program import lower
from quant.reference import run
from tests.single_ops import all_codes, conv_graph, quant
from tests.test_export_c99_vector import narrow

MACHINES = (pytest.param(qemu_user.A72, id="a72"), pytest.param(qemu_user.A76, id="a76"))
IMAGES = 3
FENCES = """
#include <string.h>
#include <sys/mman.h>
#include "op.h"
#include "vectors.h"
static unsigned char *fenced(size_t bytes, int at_end)
{
    const size_t page = 65536, room = (bytes + page - 1) / page * page;
    unsigned char *all = mmap(NULL, room + 2 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    mprotect(all + page, room, PROT_READ | PROT_WRITE);
    return at_end ? all + page + room - bytes : all + page;
}
int main(void)
{
    int wrong = 0, at_end, i;
    for (at_end = 0; at_end < 2; at_end++) {
        const size_t arena_bytes = (OP_ARENA_BYTES + 15) / 16 * 16;
        op_input_t *x = (op_input_t *)fenced(OP_INPUT_SIZE, at_end);
        op_output_t *y = (op_output_t *)fenced(OP_OUTPUT_SIZE, at_end);
        unsigned char *arena = fenced(arena_bytes, at_end);
        op_t network;
        if (op_init(&network, memset(arena, 90, arena_bytes), arena_bytes) != OP_OK) {
            return 2;
        }
        for (i = 0; i < (int)(sizeof inputs / sizeof *inputs); i++) {
            op_invoke(&network, memcpy(x, inputs[i], OP_INPUT_SIZE), y);
            wrong += memcmp(y, outputs[i], OP_OUTPUT_SIZE) != 0;
        }
    }
    return wrong ? 1 : 0;
}
"""
#: channels, height, width; outputs; kernel; the rest of the operator.
WINDOWS = (
    pytest.param((3, 9, 16), 20, (3, 3), ops.Conv(pads=(1, 1, 1, 1)), id="first-layer"),
    pytest.param((3, 16, 32), 8, (3, 3), ops.Conv(strides=(2, 2), pads=(0, 0, 1, 1)), id="strided"),
    pytest.param((1, 5, 12), 16, (3, 3), ops.Conv(pads=(1, 1, 1, 1)), id="one-channel"),
    pytest.param((2, 4, 12), 5, (2, 5), ops.Conv(pads=(1, 2, 0, 2)), id="two-columns-out"),
    pytest.param((5, 6, 9), 36, (1, 3), ops.Conv(pads=(0, 1, 0, 1)), id="one-row"),
    pytest.param((4, 2, 8), 16, (3, 3), ops.Conv(pads=(2, 1, 2, 1)), id="rows-outside"),
    pytest.param((3, 1, 20), 17, (3, 3), ops.Conv(pads=(1, 1, 1, 1)), id="one-row-of-image"),
    pytest.param((3, 7, 4), 4, (3, 3), ops.Conv(strides=(1, 3), pads=(1, 4, 1, 4)), id="windows-outside"),
    pytest.param((16, 5, 8), 32, (3, 3), ops.Conv(pads=(1, 1, 1, 1)), id="whole-vectors"),
    pytest.param((32, 4, 4), 16, (3, 3), ops.Conv(pads=(3, 4, 3, 4)), id="whole-vectors-outside"),
)


def rows(name: str, codes: Array) -> str:
    flat = codes.transpose(0, 2, 3, 1).reshape(len(codes), -1)
    lines = ",\n".join("{" + ", ".join(map(str, row.tolist())) + "}" for row in flat)
    return f"static const signed char {name}[{len(flat)}][{flat.shape[1]}] = {{\n{lines}}};\n"


def prove(machine: Machine, graph: Graph, folder: Path) -> None:
    """Run a graph between fences on an emulated Cortex-A."""
    reason = missing(machine)
    if reason is not None:
        pytest.skip(reason)
    x = all_codes(INT8, graph.shape("x"), IMAGES, 5)
    y = run(lower(graph), x)["y"]
    assert len(np.unique(y)) > 10
    assert len({int(image.argmax()) for image in y}) > 1
    TARGET.write(Source("op", graph, x, y), folder)
    (folder / "vectors.h").write_text(rows("inputs", x) + rows("outputs", y))
    (folder / "main.c").write_text(FENCES)
    flags = [*(flag for flag in machine.flags if not flag.startswith("-std")), "-std=gnu99", "-static"]
    command = [tools.AARCH64_GCC.name, *flags, "-o", "op.elf", "op.c", "main.c"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=120)
    emulator = [str(shutil.which(tools.QEMU_AARCH64.name)), "-cpu", machine.emulated, "op.elf"]
    assert subprocess.run(emulator, cwd=folder, check=False, timeout=120).returncode == 0


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize(("y_zero", "least"), [(-128, -127), (7, -128)], ids=["relu", "offset"])
@pytest.mark.parametrize(("size", "out", "kernel", "op"), WINDOWS)
def test_windows_between_fences(machine, y_zero, least, size, out, kernel, op, tmp_path):
    """Weights of -128 are stored with an offset, for which the codes of windows are summed."""
    given = {"x": quant(INT8, 0.02, -3), "weight": INT8, "y": INT8, "size": size, "out": out, "kernel": kernel}
    graph = conv_graph(**given, op=op, seed=3, y_zero=y_zero)
    assert graph.weights["w"].min() == -128
    prove(machine, narrow(graph, least), tmp_path)
