"""Servers beside ours, as processes: the same tail behind tornado's HTTP, and an echo that runs nothing at all.

python -m benchmarks.serve_peers http|echo BUNDLE
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from benchmarks.load_clients import Ask, Question
from edge.link.wire import CHECKSUM, HEADER, Kind, Packet, decode_header, encode
from edge.serve.tail import Tail, open_tail

PEERS = ("http", "echo")


def main() -> None:
    kind, bundle = sys.argv[1:]
    asyncio.run({"http": _http, "echo": _echo}[kind](open_tail(Path(bundle))))


async def _http(tail: Tail) -> None:
    """Answer POST / with the codes of the output; every request runs by itself, in a thread as ours does."""
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.web import Application, RequestHandler

    from edge.link.packing import pack, unpack

    class Handler(RequestHandler):
        async def post(self) -> None:
            codes = unpack(tail.request.format, self.request.body, tail.request.count).reshape(tail.request.shape)
            found = await asyncio.to_thread(tail.run, codes[None])
            self.finish(pack(tail.answer.format, found[0]))

    server, sockets = HTTPServer(Application([("/", Handler)])), bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    print(sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


async def _echo(tail: Tail) -> None:
    """Read packets and answer each with codes of zero: the floor of what asyncio costs for the same bytes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                header = decode_header(await reader.readexactly(HEADER.size))
                await reader.readexactly(header.payload_bytes + CHECKSUM.size)
                payload = bytes(tail.answer.payload_bytes)
                writer.write(encode(Packet(Kind.ANSWER, header.digest, header.frame, tail.answer.count, payload)))
                await writer.drain()
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def asks_http() -> Ask:
    """Return what asks the HTTP server over a connection that stays open."""

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, frame: int, what: Question) -> bytes:
        head = f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(what.payload)}\r\n\r\n"
        writer.write(head.encode() + what.payload)
        lines = (await reader.readuntil(b"\r\n\r\n")).lower().split(b"\r\n")
        length = next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))
        return await reader.readexactly(length)

    return ask


if __name__ == "__main__":
    main()
