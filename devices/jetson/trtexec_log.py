"""What trtexec says while it works, read from its log: TensorRT 8.2 to 11.

Forms were read in the sources of several releases and in logs of boards that their owners published. Lines are
`[date-time] [I] text`; the first and the last one begin with `&&&&`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from devices.errors import DeviceError

#: A stand-in for trtexec has to say so, in a line of its own: figures of it are simulated.
STAND_IN = "SIMULATED: a stand-in for trtexec answers; no GPU takes part"
#: Options that change what a latency means, as the log names them.
SETTINGS = ("Data transfers", "Spin-wait", "CUDA Graph")

_BANNER = re.compile(r"^&&&& (RUNNING|PASSED|FAILED) TensorRT\.trtexec \[TensorRT v([0-9.]+)\]")
_LINE = re.compile(r"^(?:\[[^\]]*\] )?\[([VIWEF])\] ?(.*)$")
_QUERIES = re.compile(r"Timing trace has (\d+) queries over ([\d.e+-]+) s")
_WARMUP = re.compile(r"Warmup completed (\d+) queries over ([\d.e+-]+) ms")
_BUILT = re.compile(r"Engine built in ([\d.e+-]+) sec")
_MEDIAN = re.compile(r"^Latency: .*\bmedian = ([\d.e+-]+) ms")


@dataclass(frozen=True, slots=True)
class Log:
    """One run of trtexec.

    Attributes:
        version: of TensorRT, `8.5.2`, as its banner says.
        passed: whether it ended well.
        device, compute: name and compute capability of the GPU; None where it did not get so far.
        settings: Enabled or not, by name of SETTINGS; a setting that the log does not name is left out.
        warmups, queries: inferences before and in the timed part; None where nothing was timed.
        median_s: median latency of the timed part as trtexec computes it.
        built_s: how long building took.
        warnings, errors: their texts.
        simulated: a stand-in for trtexec wrote it.
    """

    version: str
    passed: bool
    device: str | None
    compute: str | None
    settings: Mapping[str, bool]
    warmups: int | None
    queries: int | None
    median_s: float | None
    built_s: float | None
    warnings: tuple[str, ...]
    errors: tuple[str, ...]
    simulated: bool


def version_of(number: str) -> str:
    """Return `8.5.2` for the banner's 8502, `10.3.0` for 100300, `11.1.0` for 11.1.0.106."""
    if "." in number:
        return ".".join(number.split(".")[:3])
    digits = number.rjust(6, "0")
    parts = (digits[:-4], digits[-4:-2], digits[-2:]) if len(number) > 4 else (number[0], number[1], number[2:])
    return ".".join(str(int(part)) for part in parts)


def read_log(text: str, where: str = "trtexec's log") -> Log:
    """Read a log.

    Raises:
        DeviceError: it is none of trtexec.
    """
    banners = [found for found in map(_BANNER.match, text.splitlines()) if found]
    if not banners:
        last = [line.strip() for line in text.splitlines() if line.strip()][-1:] or ["it is empty"]
        raise DeviceError(f"{where} is not trtexec's: {last[0][:200]}")
    lines = [(found[1], found[2].strip()) for found in map(_LINE.match, text.splitlines()) if found]
    plain = [words for _, words in lines]
    named = {key: value.strip() for key, _, value in (words.partition(":") for words in plain) if value}
    return Log(
        version=version_of(banners[0][2]),
        passed=banners[-1][1] == "PASSED",
        device=named.get("Selected Device"),
        compute=named.get("Compute Capability"),
        settings={key: named[key] == "Enabled" for key in SETTINGS if named.get(key) in ("Enabled", "Disabled")},
        warmups=_whole(_WARMUP, plain),
        queries=_whole(_QUERIES, plain),
        median_s=_scaled(_MEDIAN, plain, 1e-3),
        built_s=_scaled(_BUILT, plain, 1.0),
        warnings=tuple(words for severity, words in lines if severity == "W" and words),
        errors=tuple(words for severity, words in lines if severity in "EF" and words),
        simulated=any(words == STAND_IN for words in plain),
    )


def require_passed(log: Log, doing: str) -> None:
    """Raise DeviceError with trtexec's own reason when it did not end well."""
    if log.passed:
        return
    unknown = [error for error in log.errors if error.startswith("Unknown option")]
    first = (unknown or list(log.errors) or ["it gave no reason; its log ends early, as after a crash"])[0]
    advice = (
        f" The part was written for another generation than TensorRT {log.version}: export it for the target that fits."
        if unknown
        else ""
    )
    raise DeviceError(f"trtexec (TensorRT {log.version}) failed while {doing}: {first}{advice}")


def _whole(pattern: re.Pattern[str], lines: list[str]) -> int | None:
    found = [match for match in map(pattern.search, lines) if match]
    return int(found[-1][1]) if found else None


def _scaled(pattern: re.Pattern[str], lines: list[str], unit: float) -> float | None:
    found = [match for match in map(pattern.search, lines) if match]
    try:
        return float(found[-1][1]) * unit if found else None
    except ValueError:
        return None
