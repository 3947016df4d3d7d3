"""Many generated networks in one program, so that a compiler's and an emulator's start is paid once for all.

The networks are wrapped as one part whose input is all inputs one behind another; every tensor of every network is
shown while it runs. So any emulated machine, and this one, runs a batch as it runs any part.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.random_networks import Example
from devices import tools
from devices.emulators import codes as wire
from devices.emulators.machine import COMPILE_LIMIT_S, Build, Machine
from devices.errors import DeviceError
from export import arm_m
from export.target import Source
from quant.formats import Array

#: A line with this tensor number and more says which network's tensors follow.
FIRST = 1 << 20
ALIGNMENT = 16
RUN_LIMIT_S = 300.0
NAME = "batch"


@dataclass(frozen=True, eq=False)
class Case:
    """One network of a batch. `name` is a C identifier; `recipe` says how to make it again."""

    name: str
    recipe: str
    example: Example


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one network gave on one machine: how many codes were compared, and what differs, or ""."""

    name: str
    recipe: str
    codes: int
    wrong: str


def run_batch(machine: Machine, cases: Sequence[Case]) -> tuple[Verdict, ...]:
    """Run networks on a machine and compare every tensor of every input with the reference.

    Where a batch as a whole fails, its networks run one by one, so that only those that fail are wrong.
    """
    with tempfile.TemporaryDirectory(prefix="edgemill-") as scratch:
        try:
            lines = _execute(machine, cases, Path(scratch))
        except DeviceError as error:
            if len(cases) == 1:
                return (Verdict(cases[0].name, cases[0].recipe, 0, str(error)),)
            return tuple(verdict for case in cases for verdict in run_batch(machine, (case,)))
    shown = _by_network(lines, len(cases))
    return tuple(_compare(case, found) for case, found in zip(cases, shown, strict=True))


def _execute(machine: Machine, cases: Sequence[Case], work: Path) -> tuple[wire.Line, ...]:
    build = Build(work, NAME, work, tap=True)
    objects = [_compiled(machine, build, case) for case in cases]
    offsets = _offsets(cases)
    (work / f"{NAME}.h").write_text(_header(offsets[-1]))
    (work / f"{NAME}.c").write_text(_source(cases, offsets))
    own = work / "calls.o"
    folders = [f"-I{work / case.name}" for case in cases]
    _call(machine, [*build.calls, *folders, f"-I{work}", "-c", str(work / f"{NAME}.c"), "-o", str(own)], "the batch")
    _call(machine, ["-r", "-nostdlib", *map(str, (own, *objects)), "-o", str(build.object)], "joining the batch")
    elf = machine.link(machine, build, _packed(cases, offsets))
    what = f"running {len(cases)} networks on {machine.name}"
    return wire.parse(tools.call(machine.command(machine, elf, None), what, RUN_LIMIT_S, work))


def export_case(case: Case, folder: Path) -> None:
    """Write the C of a network into an empty folder, with one test vector, which a batch does not use."""
    example = case.example
    outputs = example.values[example.graph.output]
    arm_m.TARGET.write(Source(case.name, example.graph, example.inputs[:1], outputs[:1]), folder)


def _compiled(machine: Machine, build: Build, case: Case) -> Path:
    folder = build.work / case.name
    folder.mkdir()
    export_case(case, folder)
    made = folder / f"{case.name}.o"
    _call(machine, [*build.calls, "-c", str(folder / f"{case.name}.c"), "-o", str(made)], f"compiling {case.recipe}")
    return made


def _call(machine: Machine, arguments: Sequence[str], what: str) -> None:
    tools.call([machine.compiler.name, *machine.flags, *arguments], f"{what} for {machine.name}", COMPILE_LIMIT_S)


def _offsets(cases: Sequence[Case]) -> list[int]:
    """Return where each network's input begins, and behind the last one where all end."""
    found = [0]
    for case in cases:
        one = wire.to_device(case.example.graph, case.example.inputs[:1]).nbytes
        found.append(found[-1] + -(-one // ALIGNMENT) * ALIGNMENT)
    return found


def _packed(cases: Sequence[Case], offsets: list[int]) -> Array:
    """Return the inputs of a batch as bytes, [inputs, all networks]."""
    rows = np.zeros((min(len(case.example.inputs) for case in cases), offsets[-1]), np.uint8)
    for case, offset in zip(cases, offsets[:-1], strict=True):
        codes = wire.to_device(case.example.graph, case.example.inputs[: len(rows)])
        flat = codes.reshape(len(codes), -1).view(np.uint8)
        rows[:, offset : offset + flat.shape[1]] = flat
    return rows


def _header(input_bytes: int) -> str:
    """Return the header of the part that calls all networks; its elements are aligned as any network's input is."""
    return f"""\
#ifndef BATCH_H
#define BATCH_H
#include <stddef.h>
#include <stdint.h>
typedef struct {{ unsigned char byte[{ALIGNMENT}]; }} __attribute__((aligned({ALIGNMENT}))) batch_input_t;
typedef uint8_t batch_output_t;
typedef struct {{ int unused; }} batch_t;
#define BATCH_INPUT_SIZE {input_bytes // ALIGNMENT}
#define BATCH_OUTPUT_SIZE 1
#define BATCH_ARENA(memory) unsigned char memory[{ALIGNMENT}]
int batch_init(batch_t *network, void *arena, size_t arena_bytes);
void batch_invoke(const batch_t *network, const batch_input_t *input, batch_output_t *output);
#endif
"""


def _source(cases: Sequence[Case], offsets: list[int]) -> str:
    """Return the C that calls all networks, each with memory of exactly the bytes it asks for, filled with rubbish."""
    includes = "\n".join(f'#include "{case.name}.h"' for case in cases)
    calls = "\n".join(
        f"    RUN({case.name}, {case.name.upper()}, {FIRST + index}, input->byte + {offset});"
        for index, (case, offset) in enumerate(zip(cases, offsets[:-1], strict=True))
    )
    return f"""\
#include "{NAME}.h"
#include <string.h>
{includes}

extern void edgemill_tap(int tensor, const void *codes, int bytes);

int batch_init(batch_t *network, void *arena, size_t arena_bytes)
{{
    (void)arena, (void)arena_bytes;
    network->unused = 0;
    return 0;
}}

#define RUN(name, NAME, number, codes) \\
    do {{ \\
        static NAME##_ARENA(arena); \\
        static name##_output_t made[NAME##_OUTPUT_SIZE]; \\
        name##_t own; \\
        const int ready = name##_init(&own, arena, sizeof arena); \\
        memset(arena, 0x5a, sizeof arena); \\
        memset(made, 0x5a, sizeof made); \\
        edgemill_tap(number, &ready, (int)sizeof ready); \\
        if (ready == 0) {{ \\
            name##_invoke(&own, (const name##_input_t *)(const void *)(codes), made); \\
            edgemill_tap(number, made, (int)sizeof made); \\
        }} \\
    }} while (0)

void batch_invoke(const batch_t *network, const batch_input_t *input, batch_output_t *output)
{{
    (void)network;
{calls}
    output[0] = 1;
}}
"""


def _by_network(lines: Sequence[wire.Line], count: int) -> list[list[wire.Line]]:
    """Return the tensors that each network showed, its output as number FIRST; lines of its own frame a network."""
    found: list[list[wire.Line]] = [[] for _ in range(count)]
    current: int | None = None
    for line in lines:
        if line.kind != "tensor":
            continue
        if line.index < FIRST:
            found[current or 0].append(line)
        elif current is None:
            current = line.index - FIRST
        else:
            found[current].append(wire.Line("tensor", FIRST, line.data))
            current = None
    return found


def _compare(case: Case, lines: Sequence[wire.Line]) -> Verdict:
    """Compare what a network showed with the reference, first the steps in order, then what the caller gets."""
    example, count = case.example, len(case.example.inputs)
    made = [line.data for line in lines if line.index == FIRST]
    try:
        shown = wire.tapped(example.graph, [line for line in lines if line.index != FIRST], count)
        final = wire.from_device(example.graph, example.graph.output, made)
    except DeviceError as error:
        return Verdict(case.name, case.recipe, 0, str(error))
    if len(made) != count or not shown:
        return Verdict(case.name, case.recipe, 0, f"{len(made)} outputs and {len(shown)} tensors of {count} inputs")
    wrong = [_difference(case, name, codes) for name, codes in shown.items()]
    wrong.append(_difference(case, example.graph.output, final))
    compared = sum(codes.size for codes in shown.values()) + final.size
    return Verdict(case.name, case.recipe, compared, next((text for text in wrong if text), ""))


def _difference(case: Case, name: str, codes: Array) -> str:
    expected = case.example.values[name]
    if np.array_equal(codes, expected):
        return ""
    places = np.argwhere(codes != expected)
    first = tuple(int(i) for i in places[0])
    node = case.example.graph.producer(name)
    what = f"{name} = {node.kind}({', '.join(node.inputs)})" if node else name
    return f"{what}: {len(places)} of {codes.size} codes differ; at {first} {codes[first]}, expected {expected[first]}"
