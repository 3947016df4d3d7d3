"""A slow link on one machine: a relay between client and server that delays bytes and lets them through at a rate.

    python -m edge.link.relay 7071 127.0.0.1:7070 4mbit,20ms

Half of the round trip is waited in each direction. Bytes leave one after another as on a serial line, a queue of
QUEUE_BYTES before it, so a sender that is too fast is held back.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from dataclasses import dataclass, field

from edge.errors import EdgeError
from edge.link.model import Link, parse_link

#: Bytes that are passed on at once: smaller than a packet, so that long packets show their transfer time.
CHUNK = 1024
QUEUE_BYTES = 64 * 1024


@dataclass(slots=True)
class Relay:
    """A running relay: its port, and the bytes it has carried from clients."""

    listener: asyncio.Server
    carried: list[int] = field(default_factory=lambda: [0])

    @property
    def port(self) -> int:
        """Where it listens."""
        found: int = self.listener.sockets[0].getsockname()[1]
        return found

    async def stop(self) -> None:
        """Take no more connections; those that are open end with their peers."""
        self.listener.close()


async def start_relay(host: str, port: int, link: Link, listen: int = 0) -> Relay:
    """Listen on 127.0.0.1 and carry every connection to a server over a link.

    Raises:
        EdgeError: the port is taken.
    """
    carried = [0]

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(host, port)
        except OSError:
            writer.close()
            return
        both = (_pump(reader, back, link, carried), _pump(there, writer, link, [0]))
        await asyncio.gather(*both, return_exceptions=True)

    try:
        listener = await asyncio.start_server(carry, "127.0.0.1", listen)
    except OSError as error:
        raise EdgeError(f"the relay cannot listen on port {listen}: {error.strerror}.") from error
    return Relay(listener, carried)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, link: Link, carried: list[int]) -> None:
    """Carry one direction: a chunk leaves when the one before it has left, and arrives half a round trip later."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUE_BYTES // CHUNK)
    delivery = loop.create_task(_deliver(queue, writer))
    free = 0.0
    try:
        while data := await reader.read(CHUNK):
            carried[0] += len(data)
            free = max(free, loop.time()) + len(data) * 8 / link.rate_bit_s
            await queue.put((free + link.round_trip_s / 2, data))
            await asyncio.sleep(max(0.0, free - loop.time() - QUEUE_BYTES * 8 / link.rate_bit_s))
    finally:
        await queue.put((0.0, b""))
        await delivery


async def _deliver(queue: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
    loop = asyncio.get_running_loop()
    with contextlib.suppress(ConnectionError):
        while True:
            at, data = await queue.get()
            if not data:
                break
            await asyncio.sleep(max(0.0, at - loop.time()))
            writer.write(data)
            await writer.drain()
    with contextlib.suppress(ConnectionError):
        writer.close()
        await writer.wait_closed()


async def _forever(listen: int, host: str, port: int, link: Link) -> None:
    relay = await start_relay(host, port, link, listen)
    print(f"listening on 127.0.0.1:{relay.port}", flush=True)
    await relay.listener.serve_forever()


def main() -> int:
    """Run a relay until it is interrupted."""
    try:
        listen, server, text = sys.argv[1:]
        host, _, port = server.rpartition(":")
        numbers, link = (int(listen), int(port)), parse_link(text)
    except (ValueError, EdgeError) as error:
        print(f"usage: python -m edge.link.relay PORT HOST:PORT 4mbit,20ms ({error})", file=sys.stderr)
        return 2
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_forever(numbers[0], host, numbers[1], link))
    return 0


if __name__ == "__main__":
    sys.exit(main())
