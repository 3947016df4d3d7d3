"""What crosses the link of a student, and its cost in accuracy, bytes and time: used by `benchmarks.split_recipes`.

Networks are w8a8. The head's codes go through the packer and the packets of the wire format; the tail reads them.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.split_students import Job, Student
from devices.emulators import qemu_system, qemu_user
from devices.emulators.machine import Machine, open_part
from devices.emulators.trial import missing
from edge.dataset import Dataset
from edge.evaluate import code_labels, reference_codes
from edge.link.codec import Codec, from_packet, to_packet
from edge.link.wire import OVERHEAD_BYTES, Kind
from edge.onnx_file import to_onnx
from edge.recipes.bottleneck_export import quantised, to_graph
from edge.split import cut
from export import arm_m
from export.atomic import write_file
from export.target import Source
from quant.formats import Array, find_format
from quant.graph import Graph, macs
from quant.onnx_import import load_onnx
from quant.ptq import prepare, quantise
from quant.reference import quantise_input
from quant.scheme import parse_scheme

SCHEME, CALIBRATION = "w8a8", 512
LINKS = ("int8", "int4", "e3m2")
JPEG_QUALITY = 95
DIGEST = bytes(16)
#: Machines whose instructions are counted, the target that writes their C, and a clock: one instruction a cycle.
DEVICES: tuple[tuple[str, Machine, float], ...] = (
    ("Cortex-M3, 72 MHz", qemu_system.M3, 72e6),
    ("Cortex-M4, 168 MHz", qemu_system.M4, 168e6),
)
SERVER: tuple[str, Machine, float] = ("Cortex-A72, 1.5 GHz", qemu_user.A72, 1.5e9)


def calibration(dataset: Dataset) -> Array:
    """Return pre-processed training images."""
    picked = np.random.default_rng(0).permutation(len(dataset.x_train))[:CALIBRATION]
    return dataset.preprocess.apply(dataset.x_train[picked])


def graph_of(job: Job, student: Student, link: str) -> tuple[Graph, str]:
    """Return the quantised student with this link format, and where to cut it."""
    graph = to_graph(student.module, job.dataset.preprocess.shape, f"bottleneck{student.channels}")
    return quantised(graph, parse_scheme(SCHEME), find_format(link), calibration(job.dataset))


def link_row(job: Job, student: Student, link: str) -> dict[str, Any]:
    """Run all test images through head, packets and tail; kept as a file."""
    path = job.folder / f"link-{student.method}-c{student.channels}-{link}-{job.seed}.json"
    if path.exists() and (kept := json.loads(path.read_text()))["float_accuracy"] == student.record["accuracy"]:
        return dict(kept)
    graph, tensor = graph_of(job, student, link)
    head, tail = cut(graph, tensor)
    x = job.dataset.preprocess.apply(job.dataset.x_test)
    sent = np.concatenate(list(reference_codes(head, quantise_input(head.quant(head.input), x))))
    codec = Codec(graph.quant(tensor).format, sent.shape[1:], "zstd")
    received, sizes = _through(codec, sent)
    labels = code_labels(tail, np.concatenate(list(reference_codes(tail, received))))
    row = {
        "seed": job.seed,
        "method": student.method,
        "channels": student.channels,
        "link": link,
        "float_accuracy": student.record["accuracy"],
        "accuracy": float((labels == job.dataset.y_test).mean()),
        "distinct_labels": len(np.unique(labels)),
        "shape": list(codec.shape),
        "payload_bytes": codec.payload_bytes,
        "wire_bytes": codec.packet_bytes,
        "zstd_payload_bytes_mean": float(sizes.mean()),
        "zstd_wire_bytes_mean": float(sizes.mean()) + OVERHEAD_BYTES,
        "zstd_shorter_share": float((sizes < codec.payload_bytes).mean()),
    }
    write_file(path, json.dumps(row, indent=1).encode())
    return row


def _through(codec: Codec, codes: Array) -> tuple[Array, Array]:
    """Return what comes out of one packet for each frame, and the payload bytes of each."""
    packets = [
        to_packet(codec, frame, kind=Kind.REQUEST, digest=DIGEST, frame=index) for index, frame in enumerate(codes)
    ]
    received = np.stack([from_packet(codec, packet) for packet in packets])
    return received, np.array([len(packet.payload) for packet in packets])


def image_bytes(images: Array) -> dict[str, float]:
    """Return mean bytes of grey images [N, 1, H, W] as raw values, PNG (optimised) and JPEG (quality 95, optimised)."""
    from PIL import Image

    def size(image: Array, **how: Any) -> int:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, **how)
        return len(buffer.getvalue())

    grey = images[:, 0]
    return {
        "raw": float(grey[0].nbytes),
        "png": float(np.mean([size(image, format="PNG", optimize=True) for image in grey])),
        "jpeg95": float(np.mean([size(i, format="JPEG", quality=JPEG_QUALITY, optimize=True) for i in grey])),
        "jpeg95_plain": float(np.mean([size(i, format="JPEG", quality=JPEG_QUALITY) for i in grey])),
    }


def instruction_counts(job: Job, teacher: Any, student: Student, link: str) -> dict[str, Any]:
    """Count the instructions of one inference: head, student and teacher on devices; tail and teacher on the server.

    Every count is of generated C that gave the reference's codes.
    """
    graph, tensor = graph_of(job, student, link)
    head, tail = cut(graph, tensor)
    whole = _teacher_graph(job, teacher)
    x = job.dataset.preprocess.apply(job.dataset.x_test[:8])
    codes = quantise_input(graph.quant(graph.input), x)
    between = np.concatenate(list(reference_codes(head, codes)))
    parts: dict[str, tuple[Graph, Array]] = {
        "head": (head, codes),
        "student": (graph, codes),
        "teacher": (whole, quantise_input(whole.quant(whole.input), x)),
    }
    found: dict[str, Any] = {
        "macs": {name: _macs(part) for name, (part, _) in (*parts.items(), ("tail", (tail, codes)))}
    }
    for name, machine, clock in DEVICES:
        found[name] = _counted(machine, clock, parts)
    found[SERVER[0]] = _counted(SERVER[1], SERVER[2], {"tail": (tail, between), "teacher": parts["teacher"]})
    return found


def _teacher_graph(job: Job, teacher: Any) -> Graph:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "teacher.onnx"
        to_onnx(teacher, job.dataset.preprocess.shape, path)
        return quantise(prepare(load_onnx(path)), parse_scheme(SCHEME), calibration(job.dataset))


def _counted(machine: Machine, clock: float, parts: dict[str, tuple[Graph, Array]]) -> dict[str, Any]:
    reason = missing(machine)
    if reason is not None:
        raise SystemExit(f"{machine.name}: not run: {reason}")
    counts = {name: _count(machine, *part) for name, part in parts.items()}
    return {name: {"instructions": count, "seconds": count / clock} for name, count in counts.items()}


def _count(machine: Machine, graph: Graph, codes: Array) -> int:
    expected = np.concatenate(list(reference_codes(graph, codes)))
    with tempfile.TemporaryDirectory() as place:
        arm_m.TARGET.write(Source("net", graph, codes, expected), Path(place))
        session = open_part(machine, Path(place), "net", graph)
        try:
            if not np.array_equal(session.run(codes), expected):
                raise SystemExit(f"{graph.name} on {machine.name}: not the reference's codes.")
            return int(session.instructions(codes[:1])[0])
        finally:
            session.close()


def _macs(graph: Graph) -> int:
    return sum(macs(graph).values())


def each_link(job: Job, found: list[Student], say: Callable[[str], None]) -> Iterator[dict[str, Any]]:
    """Yield the row of every student of `found` under every link format."""
    for student in found:
        for link in LINKS:
            row = link_row(job, student, link)
            say(f"seed {job.seed} c={student.channels} {link}: {row['accuracy']:.4f} of {row['float_accuracy']:.4f}")
            yield row
