"""A trained student as a bundle: head and tail over a real loopback socket, used by `benchmarks.split_recipes`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.split_links import SCHEME, graph_of
from benchmarks.split_students import Job, Student
from edge.evaluate import code_labels, reference_codes
from edge.exporting import halves
from edge.inferring import infer
from edge.link.codec import codec_of
from edge.serve.client import Client, Ends
from edge.serve.server import start, stop
from edge.serve.tail import digest_of, open_tail
from export.bundle import BundleSpec, write_bundle
from export.bundle_read import Bundle
from export.targets import find_target
from quant.formats import Array
from quant.reference import quantise_input

VECTORS = 8
DEADLINE_S = 20.0
#: Frames that go through `edgemill infer`'s own function as well.
INFERRED = 200


def over_a_socket(job: Job, student: Student, link: str, frames: int) -> dict[str, Any]:
    """Write the bundle, serve its tail, send every frame's codes to it, and compare with the unsplit network.

    Args:
        job: data, and the folder where the bundle goes.
        student: trained.
        link: the link's format.
        frames: test images.
    """
    graph, tensor = graph_of(job, student, link)
    x = job.dataset.preprocess.apply(job.dataset.x_test[:frames])
    spec = BundleSpec(
        "bottleneck", SCHEME, job.dataset.preprocess, job.dataset.labels, halves(graph, x[:VECTORS], tensor)
    )
    bundle = write_bundle(job.folder / f"bundle-{link}-{job.seed}", spec, find_target("arm-m"), overwrite=True)
    codes = quantise_input(graph.quant(graph.input), x)
    unsplit = np.concatenate(list(reference_codes(graph, codes)))
    sent = np.concatenate(list(reference_codes(bundle.parts[0].graph, codes)))
    with _serving(bundle.path) as port:
        answers, by_server = _asked(bundle, port, sent)
        few = replace(job.dataset, x_test=job.dataset.x_test[:INFERRED], y_test=job.dataset.y_test[:INFERRED])
        run = infer(
            bundle.path, ("127.0.0.1", port), few, deadline_s=DEADLINE_S, local=False, entropy="none", tls=None,
            most=None, say=lambda _: None,
        )  # fmt: skip
    request = codec_of(bundle.parts[0].record.output)
    labels, wanted = code_labels(graph, answers), code_labels(graph, unsplit)
    return {
        "link": link,
        "channels": student.channels,
        "seed": job.seed,
        "frames": frames,
        "answered_by_server": by_server,
        "codes_that_differ": int((answers != unsplit).any(axis=tuple(range(1, answers.ndim))).sum()),
        "labels_that_differ": int((labels != wanted).sum()),
        "distinct_labels": len(np.unique(labels)),
        "request_bytes": request.packet_bytes,
        "infer_agreement": run.agreement,
        "infer_accuracy": run.accuracy,
        "infer_frames": run.frames,
    }


def _asked(bundle: Bundle, port: int, codes: Array) -> tuple[Array, int]:
    """Return the tail's answers to a head's codes, and how many came from the server."""
    head, tail = bundle.parts
    ends = Ends(digest_of(bundle), codec_of(head.record.output), codec_of(tail.record.output))
    client = Client(ends, "127.0.0.1", port, deadline_s=DEADLINE_S)
    try:
        outcomes = [client.infer(frame) for frame in codes]
    finally:
        client.close()
    found = np.stack([outcome.codes for outcome in outcomes])
    by_server = sum(outcome.answered_by == "server" for outcome in outcomes)
    return found, by_server


@contextmanager
def _serving(bundle: Path) -> Iterator[int]:
    """Serve a bundle's tail in a thread; yields its port."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def wait(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    server = wait(start(open_tail(bundle), "127.0.0.1", 0, lambda _: None))
    try:
        yield server.port
    finally:
        wait(stop(server))
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
