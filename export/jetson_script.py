"""The trtexec command lines of a Jetson part, with every flag that changes a figure written out.

Flags were read in the option parsers of TensorRT 8.2 to 11.1. Defaults changed between generations (TensorRT 11 leaves
data transfers out, and switches spin wait and CUDA graphs on), so none is left to its default. `jetson_build` and
`jetson_shell` make scripts of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from export.errors import ExportError
from export.jetson_profiles import Profile

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
    """Return trtexec's arguments that build `name.plan` from `name.onnx`; tactics are kept in a timing cache."""
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


def run_flags(profile: Profile, name: str, *, duration_s: int = 10, warmup_ms: int = 500) -> tuple[str, ...]:
    """Return trtexec's arguments that time `name.plan`: latency with data transfers, spin wait and CUDA graph.

    Args:
        profile: the board.
        name: the part.
        duration_s: how long it infers at least, in whole seconds: older generations take no others.
        warmup_ms: inferences of the first milliseconds are thrown away.
    """
    line = command_line(profile)
    return (
        f"--loadEngine={name}.plan",
        f"--warmUp={warmup_ms}",
        f"--duration={duration_s}",
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


def profile_flags(profile: Profile, name: str) -> tuple[str, ...]:
    """Return trtexec's arguments that time each layer of `name.plan`.

    A run of its own, without CUDA graph: the profiler waits behind every layer, so that trtexec then gives no latency
    of the whole.
    """
    timing = command_line(profile).timing
    graph_off = ("--noCudaGraph",) if "--useCudaGraph" not in timing else ()
    return (
        f"--loadEngine={name}.plan",
        "--warmUp=200",
        "--duration=0",
        "--iterations=100",
        f"--exportProfile={name}.profile.json",
        "--profilingVerbosity=detailed",
        *(flag for flag in timing if flag != "--useCudaGraph"),
        *graph_off,
    )


def timing_settings(profile: Profile) -> dict[str, bool]:
    """Return what the flags of `run_flags` come to, as trtexec's log calls it: the same for every generation."""
    line = command_line(profile)
    on_by_default = line.generation == "11"
    return {
        "Data transfers": not on_by_default or "--includeDataTransfers" in line.timing,
        "Spin-wait": (on_by_default and "--noSpinWait" not in line.timing) or "--useSpinWait" in line.timing,
        "CUDA Graph": (on_by_default and "--noCudaGraph" not in line.timing) or "--useCudaGraph" in line.timing,
    }
