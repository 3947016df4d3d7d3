"""From accuracies and costs to choices, and from choices to the record of a search."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from edge.link.packing import packed_bytes
from edge.splitting.costs import instruction_rate
from edge.splitting.front import latency, rates, with_front
from edge.splitting.job import SplitJob, bare
from edge.splitting.points import PACKET_BYTES, Point
from edge.splitting.record import Choice, Cost, Figure, Place, SplitRecord
from quant.graph import Graph


def input_bytes(job: SplitJob) -> int:
    """Return what a device sends that runs nothing: what the job says, or the codes of the input in a packet."""
    if job.input_bytes is not None:
        return job.input_bytes
    return _packet_bytes(job.whole.graph, job.whole.graph.input)


def answer_bytes(job: SplitJob) -> int:
    """Return what comes back: the codes of the output in a packet."""
    return _packet_bytes(job.whole.graph, job.whole.graph.output)


def _packet_bytes(graph: Graph, tensor: str) -> int:
    count = int(np.prod(graph.shape(tensor), dtype=np.int64))
    return packed_bytes(graph.quant(tensor).format, count) + PACKET_BYTES


def choice(
    job: SplitJob, way: str, network: str, accuracy: float, wire_bytes: int, costs: tuple[Cost | None, Cost | None]
) -> Choice:
    """Return one way of running a network, before anything is compared; `costs` are device's and server's."""
    device, server = costs
    energy = Figure(None, reason="the device only sends") if device is None else device.energy_j
    took = latency(job.link, (wire_bytes, answer_bytes(job)), device, server)
    return Choice(way, network, None, accuracy, wire_bytes, device, server, took, energy, None, front=False)


def split_choice(
    job: SplitJob,
    network: str,
    point: Point,
    fmt: str,
    accuracy: float,
    costs: tuple[Cost, Cost],
    known: Sequence[Choice],
) -> Choice:
    """Return one split with the rates at which it is the fastest way; `known` holds the whole network's ways."""
    sent = dict(point.wire_bytes)[fmt]
    peaks = (point.head_peak_bytes, point.tail_peak_bytes)
    place = Place(point.tensor, point.shape, fmt, point.macs_before, point.macs_after, *peaks)
    local = next((one.device for one in known if one.way == "local"), None)
    remote = next(one.server for one in known if one.way == "remote")
    assert remote is not None
    fastest = rates(job.link, (input_bytes(job), sent, answer_bytes(job)), local, remote, costs)
    return replace(choice(job, "split", network, accuracy, sent, costs), place=place, rates=fastest)


def record_of(job: SplitJob, choices: Sequence[Choice], left_out: tuple[tuple[str, str], ...]) -> SplitRecord:
    """Return the record of a search, with the front marked."""
    marked, objectives = with_front(choices)
    device, server = bare(job.device), bare(job.server)
    return SplitRecord(
        data=job.dataset.name,
        images=min(job.images, len(job.dataset.x_test)),
        calibration=min(job.calibration, len(job.dataset.x_train)),
        seed=job.seed,
        rate_bit_s=job.link.rate_bit_s,
        round_trip_s=job.link.round_trip_s,
        device=f"{device.name}: {device.summary}",
        server=f"{server.name}: {server.summary}",
        answer_bytes=answer_bytes(job),
        whole=job.whole.name,
        choices=marked,
        left_out=left_out,
        objectives=objectives,
        notes=_notes(job, marked),
    )


def _notes(job: SplitJob, choices: Sequence[Choice]) -> tuple[str, ...]:
    notes = [
        "latency of what is sent is modelled: device + (bytes + answer) x 8 / rate + round trip + server; accuracy is "
        "that of the integer reference",
        "energy is what the device's computing takes; no figure here holds the radio's, which nothing measured",
    ]
    how = instruction_rate(bare(job.device), job.mips)[1]
    notes += [how] if how else []
    absent = next((one.energy_j.reason for one in choices if one.device and one.energy_j.value is None), None)
    notes += [f"no energy on {bare(job.device).name}: {absent}"] if absent else []
    return tuple(notes)
