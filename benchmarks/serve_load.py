"""64 clients at once for a minute against `edgemill serve`, hostile ones among them: answers, times, what is left.

Peers take the same frames: the same tail behind tornado's HTTP server, and an echo that runs nothing.

    python -m benchmarks.serve_load --data DATA [--clients 64] [--seconds 60] [--write]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.load_clients import Ask, Outcome, Question, asks_packets, load
from benchmarks.results import environment, write_results
from benchmarks.serve_load_table import table
from benchmarks.serve_peers import PEERS, asks_http
from benchmarks.split_cuts import divided, frames_of_network
from edge.link.packing import pack
from edge.serve.tail import Tail, open_tail
from edge.split import cut_points
from export.bundle_read import Bundle
from tests.served import served, wait_until

NETWORK, CUT = "kws", -4
PEER_SHARE = 1 / 3
TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="The folder with kws/.")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--write", action="store_true", help="Replace the committed results.")
    asked = parser.parse_args()
    case = frames_of_network(NETWORK, asked.data)
    with tempfile.TemporaryDirectory() as folder:
        bundle = divided(case, cut_points(case.graph)[CUT].tensor, Path(folder) / "bundle")
        row = ours(bundle, asked.clients, asked.seconds)
        print(json.dumps(row), flush=True)
        peers = [peer(bundle, name, asked.clients, asked.seconds * PEER_SHARE) for name in PEERS]
        print(json.dumps(peers))
    if asked.write:
        cut = asdict(cut_points(case.graph)[CUT])
        found = {"environment": environment(), "results": [row], "peers": peers, "cut": cut, "labels": case.labels}
        write_results("serve_load", found, table(row, peers, case.labels))


def questions_of(bundle: Bundle, tail: Tail) -> list[Question]:
    """Return every test vector of the tail as a question."""
    part = bundle.parts[1]
    return [
        Question(tail.request.count, pack(tail.request.format, codes), pack(tail.answer.format, outputs))
        for codes, outputs in zip(part.inputs, part.outputs, strict=True)
    ]


def ours(bundle: Bundle, clients: int, duration_s: float) -> dict[str, Any]:
    """Load `edgemill serve` with clients and attackers; return what they got and what the process held."""
    tail = open_tail(bundle.path)
    questions = questions_of(bundle, tail)
    with served(bundle.path, "--status-s", "0.5") as server:
        pid, ask = server.process.pid, asks_packets(tail.digest)
        asyncio.run(load(server.port, ask, questions, clients, 2.0, tail.digest))
        before = settled(server)
        with watched(pid) as memory:
            found, usage = _timed(pid, server.port, ask, questions, clients, duration_s, tail.digest)
        after = settled(server)
        reasons = Counter(_kind(event["reason"]) for event in server.events("refused"))
        last = server.stop()
    return {
        **_figures(found, usage, clients),
        "attacks": dict(found.attacks),
        "refusals": dict(found.refusals),
        "unexpected": found.unexpected,
        "logged_refusals": dict(reasons),
        "rss_max_bytes": max(memory),
        "rss_bytes_in_tenths": [memory[k * (len(memory) - 1) // 10] for k in range(11)],
        "before": before,
        "after": after,
        "stopped": last,
    }


def settled(server: Any) -> dict[str, int]:
    """Wait until no client is left; return memory, file descriptors, threads, asyncio tasks and clients."""
    wait_until(lambda: server.events("status") and server.events("status")[-1]["clients"] == 0, 30)
    seen = len(server.events("status"))
    wait_until(lambda: len(server.events("status")) > seen + 1, 30)
    last, pid = server.events("status")[-1], server.process.pid
    held = {"rss_bytes": rss_bytes(pid), "files": _entries(f"/proc/{pid}/fd")}
    threads = _entries(f"/proc/{pid}/task")
    return {**held, "threads": threads, **{key: last[key] for key in ("tasks", "clients", "waiting")}}


def _entries(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())


def rss_bytes(pid: int) -> int:
    """Return the memory that a process holds now."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024


def cpu_s(pid: int) -> float:
    """Return the processor seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def watched(pid: int) -> Iterator[list[int]]:
    """Look at the memory of a process four times a second until the block ends."""
    found, ended = [rss_bytes(pid)], threading.Event()

    def look() -> None:
        while not ended.wait(0.25):
            found.append(rss_bytes(pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join()


def peer(bundle: Bundle, name: str, clients: int, duration_s: float) -> dict[str, Any]:
    """Load a server of `benchmarks.serve_peers`."""
    tail = open_tail(bundle.path)
    questions = questions_of(bundle, tail)
    if name == "echo":
        questions = [Question(q.count, q.payload, bytes(len(q.answer))) for q in questions]
    ask = asks_http() if name == "http" else asks_packets(tail.digest)
    command = [sys.executable, "-m", "benchmarks.serve_peers", name, str(bundle.path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline())
            asyncio.run(load(port, ask, questions, clients, 2.0))
            found, usage = _timed(process.pid, port, ask, questions, clients, duration_s, None)
        finally:
            process.kill()
    return {"peer": name, **_figures(found, usage, clients)}


def _timed(
    pid: int, port: int, ask: Ask, questions: list[Question], clients: int, duration_s: float, hostile: bytes | None
) -> tuple[Outcome, dict[str, float]]:
    begin, used = time.monotonic(), cpu_s(pid)
    found = asyncio.run(load(port, ask, questions, clients, duration_s, hostile))
    return found, {"wall_s": time.monotonic() - begin, "server_cpu_s": cpu_s(pid) - used}


def _figures(found: Outcome, usage: dict[str, float], clients: int) -> dict[str, Any]:
    times = np.array(found.seconds)
    return {
        "clients": clients,
        "answers": len(times),
        "wrong": found.wrong,
        "failed": found.failed,
        **usage,
        "answers_per_s": len(times) / usage["wall_s"],
        "server_cpu_ms_per_answer": 1e3 * usage["server_cpu_s"] / len(times),
        **{f"p{q}_ms": 1e3 * float(np.percentile(times, q)) for q in (50, 95, 99)},
    }


def _kind(reason: str) -> str:
    """Return the attack that a logged reason belongs to."""
    words: tuple[tuple[str, str], ...] = (
        ("another protocol", "noise"),
        ("checksum", "damaged"),
        ("payload of", "oversized"),
        ("another bundle", "wrong digest"),
        ("replay", "replayed"),
        ("heads send requests", "not a request"),
        ("make one here", "other codes"),
    )
    return next((kind for word, kind in words if word in reason), reason)


if __name__ == "__main__":
    main()
