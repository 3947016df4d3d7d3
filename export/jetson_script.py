"""The build and run scripts of a Jetson part: trtexec with every flag that changes a figure written out.

Flags were read in the option parsers of TensorRT 8.2 to 11.1. Defaults changed between generations (TensorRT 11 leaves
data transfers out, and switches spin wait and CUDA graphs on), so none is left to its default.
"""

from __future__ import annotations

from dataclasses import dataclass

from export.errors import ExportError
from export.jetson_profiles import Profile

#: TRTEXEC, else the one on PATH, else where JetPack puts it.
_TOOL = """TRTEXEC="${TRTEXEC:-$(command -v trtexec || echo /usr/src/tensorrt/bin/trtexec)}"
if ! command -v "$TRTEXEC" >/dev/null 2>&1; then
  echo "$0: no trtexec at $TRTEXEC; install JetPack's TensorRT, or set TRTEXEC to the full path of trtexec." >&2
  exit 2
fi"""
_WORKSPACE_MB = 1024


@dataclass(frozen=True, slots=True)
class CommandLine:
    """What one TensorRT generation wants: `int8` and `fp16` are the precision flags of the build."""

    generation: str
    int8: tuple[str, ...]
    fp16: tuple[str, ...]
    workspace: str
    build_only: str
    percentiles: str
    timing: tuple[str, ...]


_EXPLICIT = ("--useCudaGraph", "--useSpinWait")
_POOL = f"--memPoolSize=workspace:{_WORKSPACE_MB}M"
#: TensorRT 8.2 takes one percentile only; the exported times hold every sample.
COMMAND_LINES = (
    CommandLine(
        "8.2",
        ("--int8", "--fp16"),
        ("--fp16",),
        f"--workspace={_WORKSPACE_MB}",
        "--buildOnly",
        "--percentile=99",
        _EXPLICIT,
    ),
    CommandLine("8.5", ("--int8", "--fp16"), ("--fp16",), _POOL, "--buildOnly", "--percentile=50,90,99", _EXPLICIT),
    CommandLine("8.6", ("--int8", "--fp16"), ("--fp16",), _POOL, "--skipInference", "--percentile=50,90,99", _EXPLICIT),
    CommandLine(
        "10",
        ("--stronglyTyped",),
        ("--stronglyTyped",),
        _POOL,
        "--skipInference",
        "--percentile=50,90,99",
        _EXPLICIT,
    ),
    CommandLine("11", (), (), _POOL, "--skipInference", "--percentile=50,90,99", ("--includeDataTransfers",)),
)


def command_line(profile: Profile) -> CommandLine:
    """Return the flags of a board's TensorRT generation.

    Raises:
        ExportError: there is none for it.
    """
    found = next((line for line in COMMAND_LINES if line.generation == profile.generation), None)
    if found is None:
        known = ", ".join(line.generation for line in COMMAND_LINES)
        raise ExportError(f"no trtexec command line for TensorRT {profile.tensorrt}; known: {known}.")
    return found


def build_flags(profile: Profile, name: str) -> tuple[str, ...]:
    """Return trtexec's arguments that build `name.plan` from `name.onnx`."""
    line = command_line(profile)
    return (
        f"--onnx={name}.onnx",
        *(line.int8 if profile.precision == "int8" else line.fp16),
        line.workspace,
        f"--timingCacheFile={name}.timing.cache",
        "--profilingVerbosity=detailed",
        f"--saveEngine={name}.plan",
        line.build_only,
    )


def run_flags(profile: Profile, name: str) -> tuple[str, ...]:
    """Return trtexec's arguments that time `name.plan`: latency with data transfers, spin wait and CUDA graph."""
    line = command_line(profile)
    return (
        f"--loadEngine={name}.plan",
        "--warmUp=500",
        "--duration=10",
        "--iterations=100",
        line.percentiles,
        f"--exportTimes={name}.times.json",
        f"--exportLayerInfo={name}.layers.json",
        "--profilingVerbosity=detailed",
        *line.timing,
    )


def transfer_flags(profile: Profile) -> tuple[str, ...]:
    """Return what makes trtexec copy inputs and outputs: TensorRT 11 leaves that out unless told."""
    return tuple(flag for flag in command_line(profile).timing if flag == "--includeDataTransfers")


def build_script(profile: Profile, name: str) -> str:
    """Return `build.sh`."""
    return _script(
        f"Builds {name}.plan on the board. {_board(profile)}.",
        "An engine fits one GPU and one TensorRT version: build it again after every update.",
        build_flags(profile, name),
    )


def run_script(profile: Profile, name: str) -> str:
    """Return `run.sh`."""
    return _script(
        f"Times {name}.plan on the board. {_board(profile)}.",
        f"Latency includes data transfers. Every sample goes to {name}.times.json.",
        run_flags(profile, name),
    )


def _board(profile: Profile) -> str:
    return f"{profile.board}, JetPack {profile.jetpack}, TensorRT {profile.tensorrt}"


def _script(first: str, second: str, flags: tuple[str, ...]) -> str:
    command = " \\\n  ".join(('"$TRTEXEC"', *flags))
    return f'#!/bin/sh\n# {first}\n# {second}\nset -eu\ncd "$(dirname "$0")"\n{_TOOL}\n{command}\n'
