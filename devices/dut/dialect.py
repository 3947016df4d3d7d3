"""MLPerf Tiny's text protocol as values: what a device answers, read strictly.

A command ends with `%`; an answer is lines that end with CR LF, the last one `m-ready`. Lines begin with `m-`, and with
`e-` where the device refuses.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from devices.errors import DeviceError

READY = "m-ready"
STARTED = "m-init-done"
#: A microsecond counter of 32 bits begins again at 0 after 71.6 minutes.
COUNTER_SPAN_US = 1 << 32

_MARK = re.compile(r"m-lap-us-(\d+)")
_RESULTS = re.compile(r"m-results-\[([^\]]*)\]")
_BUFFER = re.compile(r"m-buffer-([0-9a-f]{2}(?:-[0-9a-f]{2})*)")


@dataclass(frozen=True, slots=True)
class Inference:
    """The answer to `infer`: the time marks between its start and its end, and the results.

    `marks_us` is empty where the firmware marks time by the edges of a pin. `notes` are lines with another meaning.
    """

    count: int
    warmup: int
    marks_us: tuple[int, ...]
    results: tuple[float, ...]
    notes: tuple[str, ...] = ()


def decode(line: bytes) -> str:
    """Return a line as text without its ending.

    Raises:
        DeviceError: it holds bytes that are no printable ASCII.
    """
    text = line.rstrip(b"\r\n").decode("ascii", errors="replace")
    if not text.isprintable() or "\ufffd" in text:
        raise DeviceError(
            f"the device wrote a damaged line: {line[:60]!r}. Check the baud rate, the wiring, and that nothing else "
            "has the port open."
        )
    return text


def refuse_errors(lines: Sequence[str], command: str) -> None:
    """Raise DeviceError when the device refused the command or started again meanwhile."""
    refused = next((line for line in lines if line.startswith("e-")), None)
    if refused is not None:
        raise DeviceError(f"the device refuses '{command}': {refused[2:].strip('[]')}.")
    if STARTED in lines:
        raise DeviceError(f"the device started again during '{command}': look at its supply and its watchdog.")


def bracketed(lines: Sequence[str], key: str) -> str:
    """Return the text between the brackets of the one line `KEY-[text]`.

    Raises:
        DeviceError: there is none, or several.
    """
    found = [line for line in lines if line.startswith(f"{key}-[") and line.endswith("]")]
    if len(found) != 1:
        raise DeviceError(f"the device's answer has {len(found)} lines '{key}-[...]'; it must have one.")
    return found[0][len(key) + 2 : -1]


def results(lines: Sequence[str]) -> tuple[float, ...]:
    """Return the numbers of the one line `m-results-[a,b,...]`.

    Raises:
        DeviceError: there is no such line, there are several, or it holds something that is no finite number.
    """
    found = [match for match in map(_RESULTS.fullmatch, lines) if match]
    if len(found) != 1:
        raise DeviceError(f"the device's answer has {len(found)} lines 'm-results-[...]'; it must have one.")
    words = found[0][1].removesuffix(",").split(",")
    try:
        numbers = tuple(float(word) for word in words)
    except ValueError:
        raise DeviceError(f"the device's results hold something that is no number: '{found[0][1][:60]}'.") from None
    if not all(map(math.isfinite, numbers)):
        raise DeviceError(f"the device's results hold NaN or infinity: '{found[0][1][:60]}'.")
    return numbers


def buffer(lines: Sequence[str]) -> bytes:
    """Return the bytes of the lines `m-buffer-HH-HH-...`."""
    found = (match[1] for match in map(_BUFFER.fullmatch, lines) if match)
    return bytes.fromhex("".join(text.replace("-", "") for text in found))


def inference(lines: Sequence[str], count: int, warmup: int) -> Inference:
    """Read the answer to `infer COUNT WARMUP`, whose lines must come in the order of the protocol.

    Raises:
        DeviceError: a line is missing, comes twice or out of order, or the device ran another number of inferences.
    """
    places = [
        _place(lines, line)
        for line in (f"m-warmup-start-{warmup}", "m-warmup-done", f"m-infer-start-{count}", "m-infer-done")
    ]
    if places != sorted(places):
        raise DeviceError("the lines of the device's answer to 'infer' are out of order; a part of it was lost.")
    inside, behind = lines[places[2] + 1 : places[3]], lines[places[3] + 1 :]
    marks = [match for match in map(_MARK.fullmatch, inside) if match]
    notes = tuple(line for line in (*inside, *behind) if not _MARK.fullmatch(line) and not _RESULTS.fullmatch(line))
    return Inference(count, warmup, tuple(int(mark[1]) for mark in marks), results(behind), notes)


def _place(lines: Sequence[str], line: str) -> int:
    if list(lines).count(line) == 1:
        return list(lines).index(line)
    kind = line.rstrip("0123456789")
    other = next((found for found in lines if found.startswith(kind) and found != line), None)
    seen = f"it has '{other}'" if other else f"it has {list(lines).count(line)}"
    raise DeviceError(f"the device's answer to 'infer' must have one line '{line}'; {seen}.")


def mark(lines: Sequence[str]) -> int | None:
    """Return the microseconds of the answer to `timestamp`, or None where the firmware pulls a pin instead."""
    found = [match for match in map(_MARK.fullmatch, lines) if match]
    if len(found) > 1:
        raise DeviceError(f"the device answered 'timestamp' with {len(found)} time marks.")
    return int(found[0][1]) if found else None


def elapsed_s(answer: Inference) -> float:
    """Return the seconds between the two time marks of an inference in performance mode.

    Raises:
        DeviceError: there are no marks (the firmware was built for energy mode), or one is missing or too many.
    """
    if not answer.marks_us:
        raise DeviceError(
            "the device sends no time marks, so its firmware was built for energy mode; build it for performance mode, "
            "or measure energy."
        )
    if len(answer.marks_us) != 2:
        raise DeviceError(f"a time mark was lost or came twice: {len(answer.marks_us)} instead of 2 in one window.")
    start, end = answer.marks_us
    if end < start < COUNTER_SPAN_US:
        end += COUNTER_SPAN_US
    if end <= start:
        raise DeviceError(f"the device's time marks do not advance: {start} us, then {end} us.")
    return (end - start) / 1e6
