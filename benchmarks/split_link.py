"""Local, split and remote over emulated links: times against the model, and the rates at which split is best.

The network is MobileNet 0.25 at 128x128 (int8, by Google's tools), cut where 41 % of its multiply-accumulates are done;
or any bundle for arm-m of a head and a tail. The device is modelled: head and network wait for as long as a Cortex-M4
would take for the instructions that the emulated one counts, one a cycle. Packets, links, server and tail are real.
Links are the relay, and where the kernel allows it two network namespaces with a token bucket.

    python -m benchmarks.split_link --data DATA [--priority] [--write]
    python -m benchmarks.split_link --bundle BUNDLE --name NAME --about TEXT --emulators relay [--priority] [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.link_emulators import THERE, cannot_shape, namespace, relayed, shaped
from benchmarks.link_server import tail_for
from benchmarks.results import environment, write_results
from benchmarks.split_cuts import Frames, divided
from benchmarks.split_link_table import table
from devices.boards import find_board
from devices.errors import DeviceError
from devices.plan import plans
from devices.runner import profile_all
from edge.link.model import Costs, Link, seconds
from edge.serve.client import Client, Ends
from edge.serve.tail import Tail
from edge.split import cut_points
from export.bundle_read import Bundle, read_bundle
from quant.formats import Array
from quant.program import lower
from quant.reference import fast_dot, run

#: The first tensor of this shape: the smallest of those that are not at the end.
CUT = (64, 8, 8)
BOARD, CLOCK_HZ = "mps2-an386", 25e6
RATES_BIT_S = (0.1e6, 0.2e6, 0.5e6, 1e6, 2e6, 5e6, 10e6)
TRIPS_S = (0.02, 0.05, 0.1)
FRAMES = 16
#: Frames of a cell: as many as take so long, within these bounds.
CELL_S, FEWEST, MOST = 8.0, 4, 9
WAYS = ("split", "remote")
EMULATORS = ("token bucket", "relay")
DEADLINE_S = 60.0


@dataclass(frozen=True, eq=False)
class Sent:
    """What a way sends for every frame, what must come back, how a packet is made, and how long the device computes."""

    way: str
    tail: Tail
    codes: Array
    outputs: Array
    device_s: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="The folder with imagenet/.")
    parser.add_argument("--bundle", type=Path, help="A bundle for arm-m with a head and a tail, instead of MobileNet.")
    parser.add_argument("--name", default="split_link", help="Of the results' files.")
    parser.add_argument(
        "--about", default="MobileNet 0.25 at 128x128 (int8)", help="What the network is, for the table."
    )
    parser.add_argument("--emulators", default=",".join(EMULATORS), help="Which of them.")
    parser.add_argument("--priority", action="store_true", help="Measure as a real-time process: the machine is busy.")
    parser.add_argument("--write", action="store_true", help="Replace the committed results.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        bundle = read_bundle(asked.bundle) if asked.bundle else mobilenet(asked.data, Path(folder) / "bundle")
        instructions = counted(bundle)
        if asked.priority:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
        found = measure(bundle, instructions, tuple(asked.emulators.split(",")))
    if asked.write:
        facts = {"about": asked.about, "priority": asked.priority, "emulators": asked.emulators}
        record = {"environment": environment(), **facts, **found}
        write_results(asked.name, record, table(record))


def mobilenet(data: Path, path: Path) -> Bundle:
    """Write the bundle of the network cut at CUT; its vectors are images of as many labels as there are."""
    from benchmarks.parity_nets import MOBILENET, _crops
    from quant.tflite_import import load_tflite

    graph = load_tflite(data / "imagenet" / MOBILENET)
    inputs = _crops(data)[:FRAMES]
    outputs = run(lower(graph), inputs, fast_dot)[graph.output]
    labels = len(np.unique(outputs.reshape(FRAMES, -1).argmax(axis=1)))
    point = next(point for point in cut_points(graph) if point.shape[1:] == CUT)
    return divided(Frames("mobilenet", graph, inputs, outputs, labels), point.tensor, path)


def counted(bundle: Bundle) -> list[int]:
    """Return the instructions of head and tail on the emulated Cortex-M4."""
    board = find_board(BOARD)
    found = profile_all([(plan, board) for plan in plans(bundle, board, images=1)], lambda _: None)
    counts = [None if isinstance(one, DeviceError) else one.instructions for one in found]
    if None in counts:
        raise SystemExit(f"no instructions were counted: {found}")
    return [count[0] for count in counts if count is not None]


def measure(bundle: Bundle, instructions: list[int], emulators: tuple[str, ...] = EMULATORS) -> dict[str, Any]:
    """Measure every cell on every emulator, and what the server takes without a link."""
    head_s, device_s = instructions[0] / CLOCK_HZ, sum(instructions) / CLOCK_HZ
    head, tail = bundle.parts
    ways = {
        "split": Sent("split", tail_for("split", bundle.path), head.outputs, tail.outputs, head_s),
        "remote": Sent("remote", tail_for("remote", bundle.path), head.inputs, tail.outputs, 0.0),
    }
    alone = {way: over_loopback(bundle, sent) for way, sent in ways.items()}
    costs = Costs(
        device_s, head_s, alone["split"], alone["remote"],
        ways["remote"].tail.request.packet_bytes, ways["split"].tail.request.packet_bytes,
        answer_bytes=ways["split"].tail.answer.packet_bytes,
    )  # fmt: skip
    print(json.dumps(asdict(costs)), flush=True)
    reason = cannot_shape() if "token bucket" in emulators else None
    able = [name for name in emulators if name == "relay" or reason is None]
    rows = [row for name in able for row in _cells(name, bundle, ways, costs)]
    labels = len({int(k) for k in tail.outputs.reshape(len(tail.outputs), -1).argmax(axis=1)})
    share = head.record.macs / (head.record.macs + tail.record.macs)
    facts = {"instructions": instructions, "clock_hz": CLOCK_HZ, "board": BOARD, "labels": labels, "mac_share": share}
    return {**facts, "costs": asdict(costs), "no_token_bucket": reason, "results": rows}


def over_loopback(bundle: Bundle, sent: Sent) -> float:
    """Return the median seconds of the server without a link."""
    with serving(bundle, sent.way) as port:
        return statistics.median(_asked(sent, port, 12, wait=False))


def _cells(emulator: str, bundle: Bundle, ways: dict[str, Sent], costs: Costs) -> Iterator[dict[str, Any]]:
    with ExitStack() as stack:
        inside = stack.enter_context(namespace()) if emulator != "relay" else ()
        ports = {way: stack.enter_context(serving(bundle, way, inside)) for way in WAYS}
        for trip_s in TRIPS_S:
            for rate in RATES_BIT_S:
                link = Link(rate, trip_s)
                for way in WAYS:
                    carried = relayed(ports[way], link) if emulator == "relay" else shaped(ports[way], link)
                    with carried as port:
                        row = _cell(ways[way], port, link, costs)
                    print(json.dumps({"emulator": emulator, **row}), flush=True)
                    yield {"emulator": emulator, **row}


def _cell(sent: Sent, port: int, link: Link, costs: Costs) -> dict[str, Any]:
    expected = seconds(costs, link)[sent.way]
    times = _asked(sent, port, int(min(MOST, max(FEWEST, CELL_S / expected))))
    median = statistics.median(times)
    return {
        "way": sent.way,
        "rate_bit_s": link.rate_bit_s,
        "round_trip_s": link.round_trip_s,
        "frames": len(times),
        "measured_s": median,
        "least_s": min(times),
        "most_s": max(times),
        "model_s": expected,
        "error": median / expected - 1,
        "link_error": (median - sent.device_s) / (expected - sent.device_s) - 1,
    }


def _asked(sent: Sent, port: int, count: int, *, wait: bool = True) -> list[float]:
    """Ask for so many frames after one that makes the connection; every answer must be right.

    Returns:
        Seconds of each frame, from the begin of the device's work.
    """
    client = Client(Ends(sent.tail.digest, sent.tail.request, sent.tail.answer), "127.0.0.1", port, DEADLINE_S)
    times = []
    for number in range(count + 1):
        index, begin = number % len(sent.codes), time.monotonic()
        if wait:
            time.sleep(sent.device_s)
        outcome = client.infer(sent.codes[index])
        times.append(time.monotonic() - begin)
        if outcome.answered_by != "server" or not np.array_equal(outcome.codes, sent.outputs[index]):
            raise SystemExit(f"{sent.way}: frame {number} was answered wrongly: {outcome.reason}")
    client.close()
    return times[1:]


def _reachable(host: str, port: int) -> None:
    """Connect once, so that the way there is known (ARP) before anything is timed.

    Raises:
        OSError: nobody answers.
    """
    for attempt in range(10):
        try:
            socket.create_connection((host, port), timeout=2).close()
        except OSError:
            if attempt == 9:
                raise
            time.sleep(0.2)
        else:
            return


@contextmanager
def serving(bundle: Bundle, way: str, inside: tuple[str, ...] = ()) -> Iterator[int]:
    """Run a server of a way in a process, perhaps inside a namespace; yields its port."""
    host = THERE if inside else "127.0.0.1"
    command = [*inside, sys.executable, "-m", "benchmarks.link_server", way, str(bundle.path), host]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            _reachable(host, port)
            yield port
        finally:
            process.kill()


if __name__ == "__main__":
    main()
