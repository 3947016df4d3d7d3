"""The local worker: reads one plan as JSON on stdin, writes the records of `protocol` on stdout, and ends.

It runs in a process of its own so that a runtime's threads, memory and crashes stay out of the program that asked.
"""

from __future__ import annotations

import gc
import importlib.metadata
import os
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import IO

from devices import tools
from devices.board import Board
from devices.boards import find_board
from devices.errors import DeviceError
from devices.null import NullSession
from devices.part_files import load_graph, load_inputs
from devices.plan import Plan, from_json
from devices.protocol import PROTOCOL, encode
from devices.runtimes import find_runtime
from export.errors import ExportError
from export.runtimes.session import Session
from quant.errors import QuantError

Clock = Callable[[], int]

EXIT_INTERRUPTED = 130
#: A window of a very fast part ends after so many inferences, or raw samples would fill the disk.
MAX_SAMPLES = 5000


@dataclass(slots=True)
class Writer:
    """Writes records with contiguous numbers."""

    stream: IO[str]
    seq: int = field(default=0)

    def write(self, kind: str, record: Mapping[str, object]) -> None:
        """Write one record at once."""
        self.stream.write(encode(self.seq, kind, record))
        self.stream.flush()
        self.seq += 1


def raw_clock() -> int:
    """Return nanoseconds of a clock that no time service slews."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC_RAW)


def versions(board: Board) -> dict[str, str]:
    """Return the versions of Python and of the board's packages and tools."""
    found = {"python": platform.python_version()}
    for package in board.packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            found[package] = "not installed"
    return found | {tool.name: tools.first_line([tool.name, "--version"]) for tool in board.tools}


def serve(plan: Plan, writer: Writer) -> None:
    """Open the plan's part, warm it up, run its windows, and write a record of each."""
    board = find_board(plan.board)
    writer.write("hello", {"protocol": PROTOCOL, "runner": "python", "pid": os.getpid()})
    runtime = find_runtime(board.runtime)
    reason = runtime.missing()
    if reason:
        raise DeviceError(f"it cannot be used here: {reason}.")
    graph = load_graph(plan.folder)
    codes = load_inputs(plan.folder, graph)[:1]
    begin = raw_clock()
    session = runtime.open(plan.folder, plan.files, graph)
    open_ns = raw_clock() - begin
    try:
        writer.write("caps", {"runtime": board.runtime, "versions": versions(board)})
        infer, clock = session.timed(codes), _clock(session)
        writer.write("warm", _warm(infer, clock, plan, 0 if isinstance(session, NullSession) else open_ns))
        for index in range(plan.windows):
            writer.write("window", {"i": index, **asdict(window(infer, clock, plan.window_s))})
        writer.write("end", {"windows": plan.windows})
    finally:
        session.close()


def _clock(session: Session) -> Clock:
    return session.clock.read_ns if isinstance(session, NullSession) else raw_clock


def _warm(infer: Callable[[], None], clock: Clock, plan: Plan, open_ns: int) -> dict[str, object]:
    first = window(infer, clock, 0.0).samples_ns[0]
    total, runs = first, 1
    while total < plan.warmup_s * 1e9:
        rest = window(infer, clock, plan.warmup_s - total / 1e9).samples_ns
        total, runs = total + sum(rest), runs + len(rest)
    return {"open_ns": open_ns, "first_ns": first, "total_ns": total, "runs": runs}


@dataclass(frozen=True, slots=True)
class Window:
    """When a window began and ended, and the duration of every inference in it, in nanoseconds."""

    t0_ns: int
    t1_ns: int
    samples_ns: list[int]


def window(infer: Callable[[], None], clock: Clock, length_s: float) -> Window:
    """Time single inferences for `length_s` or MAX_SAMPLES, at least one; the garbage collector rests meanwhile."""
    samples: list[int] = []
    collecting = gc.isenabled()
    gc.disable()
    try:
        start = end = clock()
        stop = start + round(length_s * 1e9)
        while (end < stop and len(samples) < MAX_SAMPLES) or not samples:
            begin = clock()
            infer()
            end = clock()
            samples.append(end - begin)
    finally:
        if collecting:
            gc.enable()
    return Window(start, end, samples)


def main() -> int:
    """Serve the plan on stdin; returns the exit code.

    Runtimes write to file descriptor 1 as they like, so it is pointed at stderr and records keep the original.
    """
    records = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    writer = Writer(records)
    try:
        serve(from_json(sys.stdin.buffer.read()), writer)
    except (QuantError, ExportError, DeviceError) as error:
        writer.write("error", {"kind": type(error).__name__, "message": str(error)})
        return 1
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
