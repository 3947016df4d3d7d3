"""A device under test without a board: a bundle's own C and its protocol on a pseudo-terminal of this machine.

`python -m devices.dut.simulate BUNDLE` prints the address of the port and serves it until it is interrupted, for trying
out `edgemill profile` or any other host that speaks MLPerf Tiny's protocol. Its answers are the network's; its times
are this machine's, and its firmware says that it is simulated.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devices import tools
from devices.errors import DeviceError
from export.bundle_read import Bundle, read_bundle
from export.embed.packages import find_form, view_of
from export.errors import ExportError

#: A firmware whose profile holds this word stands for a board; figures of it are labelled so.
SIMULATED = "simulated"
PROFILE = f"edgemill dut 1, {SIMULATED}"
COMPILE_LIMIT_S = 120.0
FLAGS = ("-std=c99", "-O2")


def build(bundle: Bundle, folder: Path, part: str | None = None) -> Path:
    """Compile the program that stands for a board into `folder` and return it.

    Raises:
        DeviceError: there is no compiler, or the source does not compile.
        ExportError: the bundle is not for target arm-m, or has no such part.
    """
    tools.require((tools.GCC,))
    view = view_of(bundle, part)
    for file, text in find_form("dut").files(view).items():
        (folder / file).write_text(text, encoding="utf-8")
    profile = f'-D{view.name.upper()}_DUT_PROFILE="{PROFILE}"'
    sources = ("main.c", f"{view.name}_dut.c", f"{view.name}.c")
    command = [tools.GCC.name, *FLAGS, profile, *sources, "-o", f"{view.name}_dut"]
    tools.call(command, f"compiling '{view.name}' as a device under test", COMPILE_LIMIT_S, folder)
    return folder / f"{view.name}_dut"


@contextmanager
def on_terminal(program: Path) -> Iterator[str]:
    """Run a program with a pseudo-terminal in place of a UART; gives the name of the port to open.

    Raises:
        DeviceError: the program cannot be started.
    """
    ours, theirs = os.openpty()
    try:
        tty.setraw(theirs)
        with _running(program, ours):
            yield os.ttyname(theirs)
    finally:
        os.close(theirs)


@contextmanager
def _running(program: Path, terminal: int) -> Iterator[None]:
    try:
        process = subprocess.Popen([str(program)], stdin=terminal, stdout=terminal, start_new_session=True)
    except OSError as error:
        raise DeviceError(f"{program} cannot be started: {error.strerror}.") from error
    finally:
        os.close(terminal)
    try:
        yield
    finally:
        tools.kill_group(process)


@contextmanager
def simulated(bundle: Bundle, part: str | None = None) -> Iterator[str]:
    """Give the address of a simulated device that runs a part of a bundle; see `build` for errors."""
    with tempfile.TemporaryDirectory(prefix="edgemill_dut_") as home:
        program = build(bundle, Path(home), part)
        with on_terminal(program) as port:
            yield f"serial://{port}"


def main(words: list[str] | None = None) -> int:
    """Serve a bundle until interrupted; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m devices.dut.simulate", description="A board without a board.")
    parser.add_argument("bundle", type=Path, help="a bundle for target arm-m")
    parser.add_argument("--part", help="which part of a divided network")
    given = parser.parse_args(words)
    try:
        with simulated(read_bundle(given.bundle), given.part) as address:
            print(address, flush=True)
            sys.stdin.read()
    except (DeviceError, ExportError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
