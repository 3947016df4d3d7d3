"""Head then tail is the unsplit network at every cut of three real ones: in process, over a socket, with the head in C.

For every cut a bundle is written, `edgemill serve` runs its tail in a process of its own, and the same frames go
three ways: head and tail in one process with a packet between them, the Python client over a loopback socket, and the
C head of examples/split_client, compiled for aarch64, under qemu-aarch64. Then the server is gone, and the C client's
generated tail answers.

    python -m benchmarks.split_cuts --data DATA [--work WORK] [--write]
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from textwrap import fill
from typing import Any

import numpy as np

from benchmarks import networks
from benchmarks.fpga_parity_nets import FRAMES, RealCase
from benchmarks.results import environment, write_results
from devices import tools
from edge.link.codec import from_packet, to_packet
from edge.link.wire import Kind, decode, encode
from edge.serve.client import Client, Ends
from edge.serve.tail import open_tail
from edge.split import CutPoint, cut, cut_points
from export.bundle import BundleSpec, write_bundle
from export.bundle_read import Bundle
from export.preprocess import Preprocess
from export.target import Source
from export.targets import find_target
from quant.formats import Array
from quant.graph import Graph
from quant.program import lower
from quant.reference import fast_dot, run
from tests.head_client import answers, built, frames_of, missing
from tests.served import served

SCHEME, MACHINE = "w8a8", "aarch64"
#: Frames that the C client answers by itself after the server is gone.
ALONE = 4
WIDTH = 140
#: A loaded machine is no slow link: nothing may be late here.
DEADLINE_S = 120.0
NETWORKS = ("resnet8", "resnet20", "kws")
WAYS = ("in_process", "socket", "c_head", "c_alone")


@dataclass(frozen=True, eq=False)
class Frames:
    """A quantised network, codes of its inputs, the reference's codes of its outputs, and how many labels they have."""

    name: str
    graph: Graph
    inputs: Array
    outputs: Array
    labels: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="The folder with cifar10/ and kws/.")
    parser.add_argument("--work", type=Path, help="Keeps what is finished, so that a second call goes on there.")
    parser.add_argument("--networks", default=",".join(NETWORKS))
    parser.add_argument("--write", action="store_true", help="Replace the committed results.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = asked.work or Path(folder)
        rows = [row for name in asked.networks.split(",") for row in rows_of(frames_of_network(name, asked.data), work)]
    if asked.write:
        write_results("split_cuts", {"environment": environment(), "tools": _tools(), "results": rows}, _table(rows))


def frames_of_network(name: str, data: Path, frames: int = FRAMES) -> Frames:
    """Quantise a real network and choose inputs of at least four labels."""
    load: dict[str, Callable[[Path], networks.Network]] = {
        "resnet8": networks.resnet8,
        "resnet20": networks.resnet20,
        "kws": networks.keyword_spotting,
    }
    graph, inputs, outputs, labels = RealCase(name, SCHEME, lambda: load[name](data)).load()
    return Frames(name, graph, inputs[:frames], outputs[:frames], labels)


def rows_of(case: Frames, work: Path) -> Iterator[dict[str, Any]]:
    """Yield what every cut gave; cuts that `work` holds are not done again."""
    work.mkdir(parents=True, exist_ok=True)
    for number, point in enumerate(cut_points(case.graph)):
        kept = work / f"{case.name}-{number}.json"
        if not kept.exists():
            with tempfile.TemporaryDirectory() as folder:
                kept.write_text(json.dumps(measure(case, point, Path(folder))))
        row = json.loads(kept.read_text())
        print(json.dumps(row), flush=True)
        yield row


def measure(case: Frames, point: CutPoint, folder: Path, machine: str = MACHINE) -> dict[str, Any]:
    """Run every frame each way through a network divided at one point; count codes unlike the unsplit ones."""
    bundle = divided(case, point.tensor, folder / "bundle")
    found, by = {"in_process": in_process(bundle, case.inputs)}, {}
    command = built(folder, bundle.path, machine)
    with served(bundle.path) as server:
        found["socket"] = over_socket(bundle, server.port)
        lines, found["c_head"] = answers(
            command, bundle, server.port, frames_of(case.inputs), folder, "-d", str(int(DEADLINE_S * 1e3))
        )
        by["c_head_by_server"] = sum(line.answered_by == "server" for line in lines)
        last, port = server.stop(), server.port
    lines, found["c_alone"] = answers(command, bundle, port, frames_of(case.inputs[:ALONE]), folder)
    by["c_alone_by_local"] = sum(line.answered_by == "local" for line in lines)
    return {
        "network": case.name,
        "cut": point.tensor,
        "shape": list(point.shape[1:]),
        "macs_before": point.macs_before,
        "macs_after": point.macs_after,
        "packet_bytes": packet_bytes(bundle),
        "frames": len(case.inputs),
        "labels": case.labels,
        "distinct_outputs": len({row.tobytes() for row in case.outputs}),
        "codes": case.outputs.size,
        "server_answered": last["answered"],
        "server_refused": last["refused"],
        **by,
        **{f"{way}_differ": int((codes != case.outputs[: len(codes)]).sum()) for way, codes in found.items()},
    }


def divided(case: Frames, tensor: str, path: Path) -> Bundle:
    """Write the bundle of a network cut at `tensor`; its vectors are the frames."""
    head, tail = cut(case.graph, tensor)
    crossing = run(lower(head), case.inputs, fast_dot)[head.output]
    parts = (
        Source("head", replace(head, name="head"), case.inputs, crossing),
        Source("tail", replace(tail, name="tail"), crossing, case.outputs),
    )
    _, channels, height, width = head.shape(head.input)
    pixels = Preprocess(channels, height, width, 1.0, (0.0,) * channels, (1.0,) * channels, raw="float32")
    labels = tuple(str(k) for k in range(case.outputs[0].size))
    return write_bundle(path, BundleSpec(case.name, SCHEME, pixels, labels, parts), find_target("arm-m"))


def packet_bytes(bundle: Bundle) -> int:
    """Return the bytes of one frame on the wire."""
    return open_tail(bundle.path).request.packet_bytes


def in_process(bundle: Bundle, inputs: Array) -> Array:
    """Run the head, put its codes through a packet, and run the tail on what comes out of it."""
    head, tail = bundle.parts[0].graph, open_tail(bundle.path)
    made = []
    for number, codes in enumerate(run(lower(head), inputs, fast_dot)[head.output]):
        data = encode(to_packet(tail.request, codes, kind=Kind.REQUEST, digest=tail.digest, frame=number))
        made.append(tail.run(from_packet(tail.request, decode(data))[None])[0])
    return np.stack(made)


def over_socket(bundle: Bundle, port: int) -> Array:
    """Ask the server for every frame; it must answer each."""
    tail = open_tail(bundle.path)
    client = Client(Ends(tail.digest, tail.request, tail.answer), "127.0.0.1", port, deadline_s=DEADLINE_S)
    try:
        return np.stack([client.infer(codes).codes for codes in bundle.parts[0].outputs])
    finally:
        client.close()


def _tools() -> dict[str, str]:
    reason = missing(MACHINE)
    assert reason is None, reason
    return {name: tools.first_line([name, "--version"]) for name in ("aarch64-linux-gnu-gcc", "qemu-aarch64")}


def _about(frames: int) -> str:
    return (
        f"Scheme {SCHEME}, {frames} real inputs of at least four labels for each network. Three ways to the tail: in "
        "one process through a packet; the Python client over loopback to `edgemill serve` in a process of its own; "
        "the C head of `examples/split_client` for aarch64 under `qemu-aarch64`, over loopback to the same server. "
        f"Then the server is gone and the C client's own tail answers {ALONE} frames. Columns of ways count output "
        "codes that differ from those of the unsplit quantised network."
    )


def _table(rows: list[dict[str, Any]]) -> str:
    wrong = sum(row[f"{way}_differ"] for row in rows for way in WAYS)
    frames = sum(3 * row["frames"] + row["c_alone_by_local"] for row in rows)
    codes = sum(3 * row["codes"] + ALONE * row["codes"] // row["frames"] for row in rows)
    ways = "in process | socket | C head | C alone | C head, by server | C alone, by itself"
    lines = [
        "# Head then tail against the unsplit network, at every cut",
        "",
        fill(_about(rows[0]["frames"]), WIDTH),
        "",
        f"| network | cut after | shape | packet bytes | MACs before | {ways} |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        share = row["macs_before"] / (row["macs_before"] + row["macs_after"])
        lines.append(
            f"| {row['network']} | `{row['cut']}` | {'x'.join(map(str, row['shape']))} | {row['packet_bytes']} | "
            f"{share:.1%} | "
            + " | ".join(str(row[f"{way}_differ"]) for way in WAYS)
            + f" | {row['c_head_by_server']} of {row['frames']} | {row['c_alone_by_local']} of {ALONE} |"
        )
    names = {row["network"]: row["labels"] for row in rows}
    labels = ", ".join(f"{name} {count}" for name, count in names.items())
    return "\n".join(
        [
            *lines,
            "",
            f"{len(rows)} cuts, {frames} answers, {codes} output codes: {wrong} differ. Labels among inputs: {labels}.",
            "",
            "    python -m benchmarks.split_cuts --data DATA --write",
            "",
        ]
    )


if __name__ == "__main__":
    main()
