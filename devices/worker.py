"""The local worker: reads one plan as JSON on stdin, writes the records of `protocol` on stdout, and ends.

It runs in a process of its own so that a runtime's threads, memory and crashes stay out of the program that asked.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
import statistics
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import IO

from devices import loadgen, tools
from devices.board import Board
from devices.boards import find_board
from devices.errors import DeviceError
from devices.null import NullSession
from devices.part_files import load_graph, load_inputs
from devices.plan import Plan, from_json
from devices.protocol import PROTOCOL, SIDES, encode
from devices.runtimes import find_runtime
from devices.scenario import find_scenario
from devices.timing import Ask, Clock, query, raw_clock, samples_of_query, warm_up, window
from export.errors import ExportError
from export.runtimes.session import Runtime
from quant.errors import QuantError

EXIT_INTERRUPTED = 130


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


@dataclass(frozen=True, slots=True)
class Opened:
    """A part that is open: which side of a comparison it is, what runs one inference, its clock, how long it took."""

    side: str
    infer: Ask
    clock: Clock
    open_ns: int


@dataclass(frozen=True, slots=True)
class Ready:
    """A part that is warm: what runs one query, and how many samples a query has."""

    side: str
    ask: Ask
    clock: Clock
    samples_per_query: int


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
    """Open what the plan asks for, warm it up, run its windows, and write a record of each."""
    board = find_board(plan.board)
    writer.write("hello", {"protocol": PROTOCOL, "runner": "python", "pid": os.getpid()})
    runtime = find_runtime(board.runtime)
    reason = runtime.missing()
    if reason:
        raise DeviceError(f"it cannot be used here: {reason}.")
    with ExitStack() as stack:
        opened = [_open(stack, runtime, side, folder, files) for side, folder, files in _parts(plan)]
        writer.write("caps", {"runtime": board.runtime, "versions": versions(board)})
        ready = [_warm(plan, item, writer) for item in opened]
        windows = _by_loadgen(plan, opened[0], writer) if plan.loadgen else _windows(plan, ready, writer)
        writer.write("end", {"windows": windows})


def _parts(plan: Plan) -> list[tuple[str, Path, str]]:
    """Return side, folder and file stem of every part that the plan runs."""
    own = (SIDES[0], plan.folder, plan.files)
    other = plan.versus
    return [own] if other is None else [own, (SIDES[1], other.folder, other.files)]


def _open(stack: ExitStack, runtime: Runtime, side: str, folder: Path, files: str) -> Opened:
    graph = load_graph(folder)
    codes = load_inputs(folder, graph)[:1]
    begin = raw_clock()
    session = runtime.open(folder, files, graph)
    open_ns = raw_clock() - begin
    stack.callback(session.close)
    if isinstance(session, NullSession):
        return Opened(side, session.timed(codes), session.clock.read_ns, 0)
    return Opened(side, session.timed(codes), raw_clock, open_ns)


def _warm(plan: Plan, part: Opened, writer: Writer) -> Ready:
    found = warm_up(part.infer, part.clock, plan.warmup_s)
    writer.write("warm", {"side": part.side, "open_ns": part.open_ns, **asdict(found)})
    samples = samples_of_query(find_scenario(plan.scenario), found, plan.window_s)
    return Ready(part.side, query(part.infer, samples), part.clock, samples)


def _windows(plan: Plan, ready: list[Ready], writer: Writer) -> int:
    """Run the windows, A B B A where there are two parts; return how many there were."""
    scenario = find_scenario(plan.scenario)
    least = scenario.min_samples if plan.complete else 0
    count = samples = 0
    for part in _turns(ready):
        if count >= plan.windows * len(ready) and samples >= least:
            break
        length_s = 0.0 if scenario.samples_per_query is None else plan.window_s
        found = window(part.ask, part.clock, length_s)
        about = {"i": count, "side": part.side, "samples_per_query": part.samples_per_query}
        writer.write("window", {**about, **asdict(found)})
        count, samples = count + 1, samples + len(found.samples_ns) * part.samples_per_query
    return count


def _turns(ready: list[Ready]) -> Iterator[Ready]:
    """Yield whose turn it is, for ever: A A A, or A B B A A B B A, which cancels a drift that is linear."""
    while True:
        yield from ready
        yield from reversed(ready)


def _by_loadgen(plan: Plan, part: Opened, writer: Writer) -> int:
    seen = window(part.infer, part.clock, max(loadgen.CALIBRATION_S, plan.warmup_s))
    windows, verdict = loadgen.drive(plan, part.infer, statistics.median(seen.samples_ns))
    for index, found in enumerate(windows):
        writer.write("window", {"i": index, "side": part.side, **asdict(found)})
    writer.write("loadgen", {**asdict(verdict), "figures": dict(verdict.figures)})
    return len(windows)


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
