"""A split toy bundle and a server in a thread of its own, for tests of both ends."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from edge.exporting import halves
from edge.link.codec import codec_of
from edge.serve.client import Ends
from edge.serve.limits import Limits
from edge.serve.server import Server, start, stop
from edge.serve.tail import Tail, digest_of
from export.bundle import BundleSpec, write_bundle
from export.bundle_read import Bundle
from export.targets import find_target
from quant.program import lower
from quant.reference import dequantise, fast_dot, run
from tests.dynamic_bundles import LABELS, PREPROCESS
from tests.toys import random_codes, toy_graph

LIMITS = Limits(idle_s=20.0, packet_s=2.0, stop_s=5.0)


def split_bundle(folder, cut="a", seed=0, count=12) -> Bundle:
    """A head and a tail of the toy network."""
    graph = toy_graph(seed=seed)
    images = dequantise(graph.quant(graph.input), random_codes(graph, count))
    parts = halves(graph, images, cut)
    return write_bundle(folder, BundleSpec("toy", "w8a8", PREPROCESS, LABELS, parts), find_target("arm-m"))


def ends_of(bundle: Bundle, *, local: bool = True, entropy: str = "none") -> Ends:
    """What a client of this bundle needs; with the local tail, unless asked not to."""
    tail = bundle.parts[1]
    spec, program = tail.record, lower(tail.graph)
    run_here = (lambda codes: run(program, codes, fast_dot)[program.output]) if local else None
    return Ends(digest_of(bundle), codec_of(spec.input, entropy), codec_of(spec.output), run_here)


@dataclass(slots=True)
class Running:
    """A server in its thread, with what it logged."""

    server: Server
    loop: asyncio.AbstractEventLoop
    lines: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.server.port

    def events(self, name: str) -> list[dict]:
        return [event for event in map(json.loads, list(self.lines)) if event["event"] == name]


@contextmanager
def serving(tail: Tail, limits: Limits = LIMITS, tls=None) -> Iterator[Running]:
    """Serve on a port of the system's choice until the block ends."""
    lines: list[str] = []
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(start(tail, "127.0.0.1", 0, lines.append, limits, tls), loop).result(10)
    try:
        yield Running(server, loop, lines)
    finally:
        asyncio.run_coroutine_threadsafe(stop(server), loop).result(20)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
