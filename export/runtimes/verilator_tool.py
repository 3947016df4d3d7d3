"""Verilator on this machine: whether it works, how it builds a bench, and how a built bench is run."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

from export.errors import ExportError

_BUILD_S = 600


def missing() -> str | None:
    """Return None when Verilator reads a module and a C++ compiler answers, else what is missing and how to get it."""
    for tool in ("verilator", "make", "g++"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed; on Debian: apt-get install verilator make g++"
    with tempfile.TemporaryDirectory(prefix="edgemill-verilator-") as folder:
        (Path(folder) / "probe.v").write_text("module probe(input wire a, output wire b); assign b = a; endmodule\n")
        commands = (["verilator", "--lint-only", "probe.v"], ["make", "--version"], ["g++", "--version"])
        return next((reason for command in commands if (reason := _failure(command, folder))), None)


def _failure(command: list[str], folder: str) -> str | None:
    """Return why a command does not work here, or None."""
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]} does not run: {error}"
    if done.returncode != 0:
        return f"{' '.join(command)} fails: {(done.stderr or done.stdout).strip()[:200]}"
    return None


def build_bench(name: str, folder: Path, files: list[str]) -> tempfile.TemporaryDirectory[str]:
    """Build the bench of the core `name` from copies of `files` of a part's folder; return the temporary folder.

    Raises:
        ExportError: a file is missing, or Verilator or the compiler refuses it.
    """
    for file in files:
        if not (folder / file).is_file():
            raise ExportError(f"verilator: {folder / file} is missing; export part '{name}' to fpga again.")
    build = tempfile.TemporaryDirectory(prefix="edgemill-verilator-")
    try:
        for file in files:
            shutil.copyfile(folder / file, Path(build.name) / file)
        execute(_build_command(name), Path(build.name), _BUILD_S, f"building '{name}'")
    except BaseException:
        build.cleanup()
        raise
    return build


def refuse_timing(name: str) -> ExportError:
    """Return the error for who asks how long a simulated core takes."""
    return ExportError(
        f"verilator: '{name}' is simulated, and simulated cycles are not time. Ask `cycles` for the clocks of "
        "one inference and divide by the clock rate that place and route reaches."
    )


def _build_command(name: str) -> list[str]:
    command = "verilator --cc --exe --build -O3 --x-assign unique --x-initial unique --Mdir build"
    defines = ["-DEDGEMILL_TAP", "-DEDGEMILL_FAST"]
    optimise = ["-MAKEFLAGS", "OPT_FAST=-O2 OPT_SLOW=-O0 OPT_GLOBAL=-O0"]  # only the model's code is worth the time
    flags = [*optimise, "-CFLAGS", "-I.. -DEDGEMILL_TAP", "--top-module", name, "-o", f"{name}_tb"]
    return [*command.split(), *defines, *flags, f"{name}.v", f"{name}_tb.cpp"]


def execute(command: list[str], folder: Path, limit_s: int, what: str) -> str:
    """Run a command in a folder and return what it prints.

    Raises:
        ExportError: it is not there, fails, or takes more than `limit_s` seconds.
    """
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=limit_s, check=False)
    except FileNotFoundError as error:
        raise ExportError(f"verilator: {command[0]} is not there; {missing() or 'open the part again'}.") from error
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"verilator: {what} took more than {limit_s} s.") from error
    if done.returncode != 0:
        tail = (done.stderr or done.stdout).strip()[-1500:]
        raise ExportError(f"verilator: {what} failed with code {done.returncode}: {tail}")
    return done.stdout
