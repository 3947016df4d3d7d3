"""The sample of a package on emulated Cortex-M boards: raw pixels to labels on the device, printed by semihosting."""

from __future__ import annotations

import subprocess
from dataclasses import astuple
from pathlib import Path

import pytest

from devices.emulators.icount import SOURCES
from devices.emulators.machine import Machine
from devices.emulators.qemu_system import MACHINES
from devices.emulators.trial import missing
from export.embed.packages import find_form, write_package
from quant.formats import find_format
from tests.embedded import bundle, spec

#: What an application's own start-up does, and `printk` in the place of Zephyr's.
START = """
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
extern uint32_t _sidata, _sdata, _edata, _sbss, _ebss, _estack;
int main(void);
static int host(int operation, const void *what)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = what;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}
static void leave(int code)
{
    const int words[2] = {0x20026, code};
    host(0x20, words);
    for (;;) {
    }
}
void printk(const char *format, ...)
{
    static char text[200];
    va_list values;
    va_start(values, format);
    vsnprintf(text, sizeof text, format, values);
    va_end(values);
    host(0x04, text);
}
void reset(void)
{
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20;
    __asm__ volatile("dsb\\nisb");
#endif
    memcpy(&_sdata, &_sidata, (size_t)((char *)&_edata - (char *)&_sdata));
    memset(&_sbss, 0, (size_t)((char *)&_ebss - (char *)&_sbss));
    leave(main());
}
static void fault(void) { leave(70); }
__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    (void (*)(void))&_estack, reset, fault, fault, fault, fault, fault,
};
"""


def linked(machine: Machine, module: Path, folder: Path) -> Path:
    """Build the sample of a Zephyr package, `printk` and start-up being the test's."""
    (folder / "zephyr" / "sys").mkdir(parents=True)
    (folder / "zephyr" / "kernel.h").write_text("")
    (folder / "zephyr" / "sys" / "printk.h").write_text("void printk(const char *format, ...);\n")
    (folder / "start.c").write_text(START)
    names = ("VECTORS_ORIGIN", "FLASH_ORIGIN", "FLASH_BYTES", "RAM_ORIGIN", "RAM_BYTES")
    assert machine.memory is not None
    places = [f"-Wl,--defsym={name}={value:#x}" for name, value in zip(names, astuple(machine.memory), strict=True)]
    sources = [*sorted((module / "src").glob("*.c")), module / "samples" / "toy" / "src" / "main.c"]
    flags = ["-Wall", "-Wextra", "-Werror", f"-I{module / 'include'}", "-I."]
    linking = ["--specs=nano.specs", "--specs=nosys.specs", "-nostartfiles", "-T", str(SOURCES / "mps.ld"), *places]
    linking += ["-Wl,--gc-sections", "-Wl,--no-warn-rwx-segments"]
    command = [machine.compiler.name, *machine.flags, *flags, *linking, "start.c", *map(str, sources), "-o", "app.elf"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "app.elf"


@pytest.mark.parametrize("act", ["int8", "e4m3"])
@pytest.mark.parametrize("machine", MACHINES, ids=lambda machine: machine.name)
def test_the_sample_runs_from_raw_pixels_on_the_board(tmp_path, machine, act):
    reason = missing(machine)
    if reason:
        pytest.skip(reason)
    made = bundle(tmp_path / "b", spec(act=find_format(act)))
    write_package(made, find_form("zephyr"), tmp_path / "module")
    elf = linked(machine, tmp_path / "module", tmp_path)
    command = machine.command(machine, elf, None)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    first, second, last = done.stdout.splitlines()
    assert last == "toy: 2 of 2 samples as expected"
    labels = [line.split(": ")[1] for line in (first, second)]
    assert labels[0] != labels[1] and set(labels) <= set(made.manifest.labels)
