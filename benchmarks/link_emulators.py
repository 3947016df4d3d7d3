"""Slow links on one machine: the relay, and the kernel's token buckets between two network namespaces.

The kernel here may lack `netem`, which delays packets; behind the token bucket the delay is then the relay's, too.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager

from edge.link.model import Link
from edge.link.relay import start_relay

#: The kernel's bucket holds one packet: what it lets through at once after a pause.
MTU_BYTES, BURST_BYTES = 600, 620
#: A relay that only delays.
UNLIMITED_BIT_S = 1e12
#: Connections that their client has closed are gone after so long.
STOP_S = 5.0
#: Ends of the cable between the namespaces: of the block for benchmarks (RFC 2544), another for each process.
_PID = os.getpid()
HERE, THERE = (f"198.18.{_PID >> 6 & 255}.{4 * (_PID & 63) + end}" for end in (1, 2))
NAMESPACE, CABLE = f"edgemill-{_PID}", (f"em{_PID}a", f"em{_PID}b")


@contextmanager
def relayed(port: int, link: Link, host: str = "127.0.0.1") -> Iterator[int]:
    """Carry connections to a server over a link by the relay; yields the port to connect to."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    relay = asyncio.run_coroutine_threadsafe(start_relay(host, port, link), loop).result(10)
    try:
        yield relay.port
    finally:
        asyncio.run_coroutine_threadsafe(_end(relay.stop()), loop).result(2 * STOP_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _end(stopping: Coroutine[None, None, None]) -> None:
    """Stop listening, and wait for what is still on its way."""
    await stopping
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:
        await asyncio.wait(others, timeout=STOP_S)


def cannot_shape() -> str | None:
    """Return why namespaces with a token bucket cannot be made here; None: they can."""
    missing = [tool for tool in ("ip", "tc") if shutil.which(tool) is None]
    if missing:
        return f"not installed: {', '.join(missing)}"
    if os.geteuid() != 0:
        return "network namespaces need root"
    try:
        with namespace():
            shape(1e6)
    except subprocess.CalledProcessError as error:
        return f"'{' '.join(error.cmd)}': {error.stderr.strip() or error}"
    return None


@contextmanager
def namespace() -> Iterator[tuple[str, ...]]:
    """Make a namespace with a cable to it; yields what a command is prefixed with to run there.

    Raises:
        CalledProcessError: the kernel or the rights do not allow it, or another one is there.
    """
    here, there = CABLE
    _run("ip", "netns", "add", NAMESPACE)
    try:
        _run("ip", "link", "add", here, "mtu", str(MTU_BYTES), "type", "veth", "peer", "name", there)
        _run("ip", "link", "set", there, "netns", NAMESPACE)
        _run("ip", "address", "add", f"{HERE}/30", "dev", here)
        _run("ip", "link", "set", here, "up")
        inside = ("ip", "netns", "exec", NAMESPACE)
        _run(*inside, "ip", "link", "set", there, "mtu", str(MTU_BYTES))
        _run(*inside, "ip", "address", "add", f"{THERE}/30", "dev", there)
        _run(*inside, "ip", "link", "set", there, "up")
        _run(*inside, "ip", "link", "set", "lo", "up")
        yield inside
    finally:
        # The cable first: the kernel takes a namespace apart later, and the next one needs the same names.
        subprocess.run(["ip", "link", "delete", here], check=False, capture_output=True)
        _run("ip", "netns", "delete", NAMESPACE)


def plug(*, inserted: bool) -> None:
    """Pull the cable out, or put it in again."""
    _run("ip", "link", "set", CABLE[0], "up" if inserted else "down")


def shape(rate_bit_s: float) -> None:
    """Let both directions of the cable through at a rate; packets wait, none is dropped."""
    bucket = ("root", "tbf", "rate", f"{rate_bit_s:.0f}bit", "burst", str(BURST_BYTES), "latency", "60s")
    here, there = CABLE
    _run("tc", "qdisc", "replace", "dev", here, *bucket)
    _run("ip", "netns", "exec", NAMESPACE, "tc", "qdisc", "replace", "dev", there, *bucket)


@contextmanager
def shaped(port: int, link: Link) -> Iterator[int]:
    """Carry connections to a server in the namespace at the link's rate, delayed by a relay; yields the port."""
    shape(link.rate_bit_s)
    with relayed(port, Link(UNLIMITED_BIT_S, link.round_trip_s), THERE) as found:
        yield found


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True, text=True)
