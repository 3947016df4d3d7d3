"""The emulated boards: right codes, exact and repeatable instruction counts, and faults that end with a clear error."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from devices import tools
from devices.emulators import icount, qemu_system, qemu_user
from devices.emulators.emulated import MACHINES
from devices.emulators.machine import EmulatedSession, Machine, open_part
from devices.emulators.trial import cannot_count, missing
from devices.errors import DeviceError
from quant.program import lower
from quant.reference import run
from tests.toys import random_codes
from tests.toys_c import ENDLESS, FAULT, SILENT, pool_graph, write_body, write_pool

Open = Callable[[Path], EmulatedSession]


#: What goes wrong goes wrong alike on every core: one Linux program and one bare board show it.
FEW = pytest.mark.parametrize(
    "machine", [qemu_user.A72, qemu_system.M4], ids=lambda machine: machine.name, indirect=True
)


@pytest.fixture(params=MACHINES, ids=lambda machine: machine.name)
def machine(request: pytest.FixtureRequest) -> Machine:
    found: Machine = request.param
    reason = missing(found)
    if reason:
        pytest.skip(reason)
    return found


@pytest.fixture
def opened(machine: Machine, request: pytest.FixtureRequest) -> Open:
    def start(folder: Path) -> EmulatedSession:
        session = open_part(machine, folder, "pool", pool_graph(), limit_s=20.0)
        request.addfinalizer(session.close)
        return session

    return start


def test_codes_equal_the_reference(opened: Open, tmp_path: Path) -> None:
    codes = random_codes(pool_graph(), 20)
    expected = run(lower(pool_graph()), codes)
    session = opened(write_pool(tmp_path))
    outputs = session.run(codes)
    np.testing.assert_array_equal(outputs, expected["y"])
    assert len(np.unique(outputs)) > 5
    assert len(set(outputs.reshape(20, -1).argmax(axis=1))) == 2
    shown = session.tensors(codes)
    assert set(shown) == {"m", "y"}
    for name, values in shown.items():
        np.testing.assert_array_equal(values, expected[name])


@FEW
def test_counts_are_repeatable_and_positive(opened: Open, tmp_path: Path) -> None:
    codes = random_codes(pool_graph(), 3)
    session = opened(write_pool(tmp_path))
    first, second = session.instructions(codes), session.instructions(codes)
    assert first == second
    assert len(first) == 3
    assert min(first) > 100


@FEW
def test_odd_folder_names_do_no_harm(opened: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    odd = tmp_path / "a, b=c 'd'"
    odd.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(odd))
    monkeypatch.setenv("XDG_CACHE_HOME", str(odd))
    session = opened(write_pool(odd))
    assert Path(session.scratch.name).is_relative_to(odd)
    assert min(session.instructions(random_codes(pool_graph(), 1))) > 100


def _loop(count: int) -> str:
    """Two instructions a turn on both cores: subtract with flags, branch."""
    return (
        f'(void)in; (void)out; long n = {count}; __asm__ volatile("1: subs %0, %0, #1\\n bne 1b" : "+r"(n) : : "cc");'
    )


def test_a_known_loop_is_counted_exactly(opened: Open, tmp_path: Path) -> None:
    codes = random_codes(pool_graph(), 2)
    counts = []
    for turns in (100, 1100):
        folder = tmp_path / str(turns)
        folder.mkdir()
        counts.append(opened(write_body(folder, _loop(turns))).instructions(codes))
    assert [b - a for a, b in zip(*counts, strict=True)] == [2000, 2000]
    assert 200 <= counts[0][0] <= 220


@FEW
def test_an_empty_inference_counts_next_to_nothing(opened: Open, tmp_path: Path) -> None:
    counts = opened(write_body(tmp_path, SILENT)).instructions(random_codes(pool_graph(), 2))
    assert counts[0] == counts[1]
    assert 0 < counts[0] < 12


@FEW
def test_a_model_that_writes_nothing_shows_the_poison(opened: Open, tmp_path: Path) -> None:
    outputs = opened(write_body(tmp_path, SILENT)).run(random_codes(pool_graph(), 2))
    assert (outputs.view(np.uint8) == 0xA5).all()


@FEW
def test_a_fault_ends_with_an_error(opened: Open, machine: Machine, tmp_path: Path) -> None:
    wanted = "faulted.*exit code 70" if machine.fault_code else "SIGSEGV"
    with pytest.raises(DeviceError, match=wanted):
        opened(write_body(tmp_path, FAULT)).run(random_codes(pool_graph(), 1))


@FEW
def test_a_hang_ends_with_an_error(machine: Machine, tmp_path: Path) -> None:
    session = open_part(machine, write_body(tmp_path, ENDLESS), "pool", pool_graph(), limit_s=1.0)
    with pytest.raises(DeviceError, match="did not end within 1 s"):
        session.run(random_codes(pool_graph(), 1))
    session.close()


@FEW
def test_time_is_refused(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="emulated time is not time"):
        opened(write_pool(tmp_path)).timed(random_codes(pool_graph(), 1))


#: 100 bytes that the compiler must keep, an array in RAM, and a number that starts with a value.
MEMORIES = """
static const signed char table[100] = {1, 2, 3};
static int16_t history[10];
static int turn = 7;
for (int i = 0; i < 2; i++) out[i] = (int8_t)(table[in[i] & 63] + (history[in[i] & 7] += (int16_t)turn++));
"""


def test_footprint_counts_code_constants_and_memory(opened: Open, tmp_path: Path) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir(), large.mkdir()
    bare = opened(write_body(small, SILENT)).footprint()
    full = opened(write_body(large, MEMORIES)).footprint()
    assert bare.data_bytes == 0
    assert 0 < bare.code_bytes < 60
    assert bare.ram_bytes in (16 + 4, 16 + 8)  # the arena, and a pointer to it
    assert full.data_bytes == 4
    assert full.ram_bytes - bare.ram_bytes == 20 + 4
    assert 100 <= full.constant_bytes - bare.constant_bytes <= 108
    assert full.flash_bytes == full.code_bytes + full.constant_bytes + full.data_bytes
    assert full.code_bytes > bare.code_bytes + 20


def _frame(words: int) -> str:
    """Write and read an array of so many words on the stack."""
    return f"volatile int32_t used[{words}]; for (int i = 0; i < {words}; i++) used[i] = in[0]; out[0] = used[0] > 0;"


def test_stack_is_painted_exactly(opened: Open, tmp_path: Path) -> None:
    codes, found = random_codes(pool_graph(), 2), []
    for words in (64, 1064):
        folder = tmp_path / str(words)
        folder.mkdir()
        found.append(opened(write_body(folder, _frame(words))).stack_bytes(codes))
    assert found[1] - found[0] == 4000
    assert 256 <= found[0] <= 256 + 64


@FEW
def test_an_inference_without_locals_takes_next_to_no_stack(opened: Open, tmp_path: Path) -> None:
    assert 0 <= opened(write_body(tmp_path, SILENT)).stack_bytes(random_codes(pool_graph(), 1)) <= 32


@FEW
def test_a_stack_that_is_deeper_than_what_is_watched_is_an_error(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="stack grew over"):
        opened(write_body(tmp_path, _frame(20_000))).stack_bytes(random_codes(pool_graph(), 1))


def test_steps_are_counted_one_by_one(opened: Open, tmp_path: Path) -> None:
    codes = random_codes(pool_graph(), 1)
    session = opened(write_pool(tmp_path))
    steps, (whole,) = session.steps(codes), session.instructions(codes)
    assert [name for name, _ in steps] == ["first", "second"]
    counts = [count for _, count in steps]
    assert counts[0] > 3 * counts[1] > 0  # four times the windows
    assert abs(sum(counts) - whole) < 60
    assert session.steps(codes) == steps


def test_a_known_step_is_counted_exactly(opened: Open, tmp_path: Path) -> None:
    codes, found = random_codes(pool_graph(), 1), []
    tap = "extern void edgemill_tap(int tensor, const void *codes, int bytes);"
    for turns in (100, 1100):
        folder = tmp_path / str(turns)
        folder.mkdir()
        calls = f"{tap} {_loop(50)} edgemill_tap(0, out, 2); {{ {_loop(turns)} edgemill_tap(1, out, 2); }}"
        write_body(folder, f"\n#ifdef EDGEMILL_TAP\n{calls}\n#endif\n")
        found.append(dict(opened(folder).steps(codes)))
    assert found[1]["second"] - found[0]["second"] == 2000
    assert found[1]["first"] == found[0]["first"]
    assert 200 <= found[0]["second"] <= 230  # the loop, and the call of the marker


@FEW
def test_a_part_without_c_is_an_error(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"holds no pool\.c"):
        opened(tmp_path).run(random_codes(pool_graph(), 1))


@FEW
def test_c_that_does_not_compile_is_an_error(opened: Open, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"compiling pool\.c.*error"):
        opened(write_body(tmp_path, "no_such_thing(;")).run(random_codes(pool_graph(), 1))


@FEW
@pytest.mark.parametrize("shape", [(2, 2, 4, 5), (2, 32), (0, 2, 4, 4)])
def test_input_of_a_wrong_shape_is_an_error(opened: Open, tmp_path: Path, shape: tuple[int, ...]) -> None:
    with pytest.raises(DeviceError, match=r"shape|no input codes"):
        opened(write_pool(tmp_path)).run(np.zeros(shape, np.int8))


@FEW
def test_work_folder_is_removed(machine: Machine, tmp_path: Path) -> None:
    session = open_part(machine, write_pool(tmp_path), "pool", pool_graph())
    session.run(random_codes(pool_graph(), 1))
    folder = Path(session.scratch.name)
    assert folder.exists()
    session.close()
    assert not folder.exists()


@FEW
def test_a_missing_tool_is_named_with_its_package(
    machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = missing(machine)
    assert reason is not None
    assert machine.emulator.name in reason
    assert machine.emulator.package in reason
    with pytest.raises(DeviceError, match="apt-get install"):
        open_part(machine, tmp_path, "pool", pool_graph())


@pytest.mark.parametrize("version", [(7, 1, 0), (8, 2, 2), (10, 0, 0)])
def test_an_untested_qemu_is_refused(version: tuple[int, ...]) -> None:
    with pytest.raises(DeviceError, match=r"tested with QEMU 7\.2 only"):
        icount.check_version("qemu-aarch64", version)
    icount.check_version("qemu-aarch64", (7, 2, 22))


def _fake_tool(folder: Path, name: str, text: str, code: int = 0) -> None:
    tool = folder / name
    tool.write_text(f"#!/bin/sh\necho '{text}'\nexit {code}\n")
    tool.chmod(0o755)


def test_another_qemu_runs_but_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _fake_tool(tmp_path, "qemu-aarch64", "qemu-aarch64 version 9.1.0")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "9.1.0" in str(cannot_count(qemu_user.A72))
    _fake_tool(tmp_path, "qemu-aarch64", "hello")
    assert "holds no version number" in str(cannot_count(qemu_user.A72))


def test_tools_that_are_there_but_do_not_work_are_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for tool in qemu_system.M4.tools:
        _fake_tool(tmp_path, tool.name, "cannot find -lc", code=1)
    monkeypatch.setenv("PATH", str(tmp_path))
    reason = missing(qemu_system.M4)
    assert reason is not None
    assert "compiling probe.c for mps2-an386" in reason
    assert "libnewlib-arm-none-eabi" in reason


# N loads, then N stores, then N of each, each run ending in the marker (getppid): 3 instructions a turn plus the rest.
MEMORY_PROGRAM = """
.global _start
.macro mark
    mov x8, #173
    svc #0
.endm
.macro turns body
    mov x1, #{n}
1:  \\body
    subs x1, x1, #1
    b.ne 1b
.endm
_start:
    adrp x2, cell
    add x2, x2, :lo12:cell
    mark
    turns "ldr x3, [x2]"
    mark
    turns "str x3, [x2]"
    mark
    turns "ldr x3, [x2]; str x3, [x2]"
    mark
    mov x0, #0
    mov x8, #93
    svc #0
.bss
.balign 8
cell: .skip 8
"""


def test_plugin_counts_instructions_loads_and_stores_exactly(tmp_path: Path) -> None:
    reason = missing(qemu_user.A72)
    if reason:
        pytest.skip(reason)
    turns = 500
    source, elf, report = tmp_path / "m.s", tmp_path / "m", tmp_path / "counts"
    source.write_text(MEMORY_PROGRAM.format(n=turns))
    tools.call(["aarch64-linux-gnu-gcc", "-nostdlib", "-static", str(source), "-o", str(elf)], "assembling", 30.0)
    options = f"{icount.build()},mark=173,mem=1,out={report}"
    tools.call(["qemu-aarch64", "-cpu", "cortex-a72", "-plugin", options, str(elf)], "running", 30.0)
    marks = [count for count in icount.read(report) if count.kind == "mark"]
    # each region: mov of the turns, the loop, mov and svc of the next marker
    assert [mark.delta for mark in marks[1:]] == [3 * turns + 3, 3 * turns + 3, 4 * turns + 3]
    loads = [b.loads - a.loads for a, b in itertools.pairwise(marks)]
    stores = [b.stores - a.stores for a, b in itertools.pairwise(marks)]
    assert loads == [turns, 0, turns]
    assert stores == [0, turns, turns]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mark 1 1 0 0\nmark 9 8 0 0\n", "before the end"),
        ("mark one 1 0 0\ntotal 9 8 0 0\n", "not a count"),
        ("total 9 8 0\n", "not a count"),
        ("", "before the end"),
    ],
)
def test_damaged_counts_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "counts"
    path.write_text(text)
    with pytest.raises(DeviceError, match=message):
        icount.read(path)


def test_markers_must_pair() -> None:
    lone = (icount.Count("mark", 1, 1, 0, 0), icount.Count("total", 2, 1, 0, 0))
    with pytest.raises(DeviceError, match="pairs"):
        icount.regions(lone)
    with pytest.raises(DeviceError, match="each image has two"):
        icount.per_inference((icount.Count("begin", 1, 1, 0, 0), icount.Count("end", 4, 3, 0, 0), lone[1]))


def test_plugin_is_compiled_once_into_the_cache(tmp_path: Path) -> None:
    if tools.missing_tool(tools.GCC):
        pytest.skip(str(tools.missing_tool(tools.GCC)))
    library = icount.build(tmp_path / "cache")
    stamp = library.stat().st_mtime_ns
    assert icount.build(tmp_path / "cache") == library
    assert library.stat().st_mtime_ns == stamp
    assert list(library.parent.iterdir()) == [library]


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    if tools.missing_tool(tools.GCC):
        pytest.skip(str(tools.missing_tool(tools.GCC)))
    (tmp_path / "cache").write_text("a file, not a folder")
    with pytest.raises(DeviceError, match="cannot be written"):
        icount.build(tmp_path / "cache")
