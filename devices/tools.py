"""System tools (compilers, emulators): which package has them, and how they are run without ever hanging."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from devices.errors import DeviceError


@dataclass(frozen=True, slots=True)
class Tool:
    """A command and the Debian package it comes in."""

    name: str
    package: str


GCC = Tool("gcc", "gcc")
SIZE = Tool("size", "binutils")
AARCH64_GCC = Tool("aarch64-linux-gnu-gcc", "gcc-aarch64-linux-gnu libc6-dev-arm64-cross")
AARCH64_SIZE = Tool("aarch64-linux-gnu-size", "binutils-aarch64-linux-gnu")
AARCH64_NM = Tool("aarch64-linux-gnu-nm", "binutils-aarch64-linux-gnu")
ARMHF_GCC = Tool("arm-linux-gnueabihf-gcc", "gcc-arm-linux-gnueabihf libc6-dev-armhf-cross")
ARM_GCC = Tool("arm-none-eabi-gcc", "gcc-arm-none-eabi libnewlib-arm-none-eabi")
ARM_NM = Tool("arm-none-eabi-nm", "binutils-arm-none-eabi")
ARM_SIZE = Tool("arm-none-eabi-size", "binutils-arm-none-eabi")
QEMU_AARCH64 = Tool("qemu-aarch64", "qemu-user")
QEMU_SYSTEM_ARM = Tool("qemu-system-arm", "qemu-system-arm")
VERILATOR = Tool("verilator", "verilator")
MMDEBSTRAP = Tool("mmdebstrap", "mmdebstrap")

#: Everything `edgemill doctor` looks for.
TOOLS = (
    GCC,
    SIZE,
    AARCH64_GCC,
    AARCH64_SIZE,
    AARCH64_NM,
    ARMHF_GCC,
    ARM_GCC,
    ARM_NM,
    ARM_SIZE,
    QEMU_AARCH64,
    QEMU_SYSTEM_ARM,
    VERILATOR,
    MMDEBSTRAP,
)


@dataclass(frozen=True, slots=True)
class Finished:
    """What a process that ended left behind."""

    code: int
    stdout: bytes
    stderr: bytes


def missing_tool(tool: Tool) -> str | None:
    """Return None when the tool is on the PATH, else the reason and the package to install."""
    if shutil.which(tool.name):
        return None
    return f"{tool.name} is not installed (apt-get install {tool.package})"


def missing_tools(tools: Sequence[Tool]) -> str | None:
    """Return None when all tools are on the PATH, else one line that names the missing ones and their packages."""
    missing = [tool for tool in tools if missing_tool(tool)]
    if not missing:
        return None
    packages = " ".join(dict.fromkeys(word for tool in missing for word in tool.package.split()))
    names = ", ".join(tool.name for tool in missing)
    return f"{names} {'is' if len(missing) == 1 else 'are'} not installed (apt-get install {packages})"


def require(tools: Sequence[Tool]) -> None:
    """Raise DeviceError when a tool is missing."""
    reason = missing_tools(tools)
    if reason:
        raise DeviceError(f"{reason}.")


def run(argv: Sequence[str], what: str, limit_s: float, folder: Path | None = None) -> Finished:
    """Run a command in its own process group and wait for it; whatever happens, nothing of it is left running.

    Args:
        argv: the command and its arguments; no shell takes part.
        what: the work in words, for the message.
        limit_s: seconds after which it is killed.
        folder: the working directory.

    Raises:
        DeviceError: the command cannot be started, or did not end within `limit_s`.
    """
    try:
        process = subprocess.Popen(
            list(argv),
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise DeviceError(f"{what}: {argv[0]} cannot be started: {error.strerror}.") from error
    try:
        stdout, stderr = process.communicate(timeout=limit_s)
    except subprocess.TimeoutExpired as error:
        raise DeviceError(f"{what}: {argv[0]} did not end within {limit_s:g} s and was stopped.") from error
    finally:
        kill_group(process)
    return Finished(process.returncode, stdout, stderr)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that leads its own group, with all its children, unless it has ended and been waited for."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def call(argv: Sequence[str], what: str, limit_s: float, folder: Path | None = None) -> bytes:
    """Run a command that has to succeed and return its stdout.

    Raises:
        DeviceError: as `run`, or the command failed; the message ends with the most telling line it wrote.
    """
    done = run(argv, what, limit_s, folder)
    if done.code != 0:
        raise DeviceError(f"{what}: {argv[0]} {ending(done.code)}: {telling_line(done.stderr)}")
    return done.stdout


def ending(code: int) -> str:
    """Say how a process ended: `failed with exit code 3` or `was killed by SIGSEGV`."""
    if code >= 0:
        return f"failed with exit code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def telling_line(stderr: bytes) -> str:
    """Return the first line with the word 'error', else the last line, of what a tool wrote."""
    lines = [line.strip() for line in stderr.decode(errors="replace").splitlines() if line.strip()]
    named = [line for line in lines if re.search(r"\berror\b", line)]
    return (named or lines[-1:] or ["it wrote nothing to stderr."])[0]


def first_line(argv: Sequence[str]) -> str:
    """Return the first line a command prints: its version."""
    lines = call(argv, f"version of {argv[0]}", 20.0).decode(errors="replace").splitlines()
    return lines[0].strip() if lines else "unknown"


def cache_folder() -> Path:
    """Return the folder for what is compiled once: `$XDG_CACHE_HOME/edgemill` or `~/.cache/edgemill`."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "edgemill"
