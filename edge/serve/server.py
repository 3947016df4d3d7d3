"""The tail's server: packets in, packets out, over TCP or TLS, for many clients at once.

A client that breaks the protocol is answered with the reason and closed; the others never notice. Every event is one
line of JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from edge.errors import EdgeError
from edge.link.codec import from_packet, to_packet
from edge.link.wire import CHECKSUM, HEADER, Kind, Packet, decode, decode_header, encode
from edge.serve.batches import FAILURES, Batches
from edge.serve.limits import Limits
from edge.serve.tail import Tail
from quant.formats import Array

Log = Callable[[str], None]
#: Answers that may wait for one client before its next packet is read.
PENDING = 32


class RefusedError(EdgeError):
    """A packet that gets its reason as an answer; `fatal` where the stream cannot be trusted any more."""

    def __init__(self, reason: str, frame: int = 0, *, fatal: bool = True) -> None:
        super().__init__(reason)
        self.frame, self.fatal = frame, fatal


@dataclass(slots=True)
class Server:
    """A running server: where it listens, and what it has done so far."""

    tail: Tail
    limits: Limits
    log: Log
    batches: Batches
    listener: asyncio.Server | None = None
    clients: set[asyncio.Task[None]] = field(default_factory=set)
    answered: int = 0
    refused: int = 0

    @property
    def port(self) -> int:
        """The port, chosen by the system where 0 was asked for."""
        assert self.listener is not None
        found: int = self.listener.sockets[0].getsockname()[1]
        return found


async def start(
    tail: Tail, host: str, port: int, log: Log, limits: Limits | None = None, tls: ssl.SSLContext | None = None
) -> Server:
    """Listen, and answer from now on.

    Raises:
        EdgeError: the address cannot be listened on.
    """
    given = limits or Limits()
    given = replace(given, payload_bytes=given.payload_bytes or tail.request.payload_bytes)
    server = Server(tail, given, log, Batches(tail.run, given))
    server.batches.start()
    try:
        server.listener = await asyncio.start_server(
            lambda reader, writer: _client(server, reader, writer), host, port, ssl=tls
        )
    except OSError as error:
        await server.batches.stop()
        # asyncio repeats the address in its text.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
        raise EdgeError(f"cannot listen on {host} port {port}: {reason}. Choose another address.") from error
    _say(server, "listening", host=host, port=server.port, executed_by=tail.executed_by, tls=tls is not None)
    return server


async def stop(server: Server) -> None:
    """Take no more clients, answer what was begun, close."""
    assert server.listener is not None
    server.listener.close()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.batches.queue.join(), server.limits.stop_s)
    for task in tuple(server.clients):
        task.cancel()
    await asyncio.gather(*server.clients, return_exceptions=True)
    await server.batches.stop()
    server.tail.close()
    _say(server, "stopped", answered=server.answered, refused=server.refused)


def report(server: Server) -> None:
    """Log how the server is: clients, asyncio tasks, frames that wait, and what it has done so far."""
    counts = {"clients": len(server.clients), "tasks": len(asyncio.all_tasks())}
    waiting = server.batches.queue.qsize()
    _say(server, "status", **counts, waiting=waiting, answered=server.answered, refused=server.refused)


async def _client(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    task = asyncio.current_task()
    assert task is not None
    peer = str(writer.get_extra_info("peername"))
    if len(server.clients) >= server.limits.connections:
        await _refuse(server, writer, RefusedError(f"{server.limits.connections} clients are the most here."), peer)
        await _close(writer)
        return
    server.clients.add(task)
    _say(server, "connected", peer=peer)
    try:
        await _converse(server, reader, writer, peer)
    except* (ConnectionError, ssl.SSLError) as group:
        _say(server, "lost", peer=peer, reason=type(group.exceptions[0]).__name__)
    finally:
        server.clients.discard(task)
        await _close(writer)


async def _converse(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, peer: str) -> None:
    """Read packets until the client ends, breaks the protocol or falls silent; answers are written as they come."""
    last, lock, room = -1, asyncio.Lock(), asyncio.Semaphore(PENDING)
    async with asyncio.TaskGroup() as answers:
        while True:
            try:
                packet = await _next(server, reader, last)
                if packet is None:
                    return
                last = packet.frame
                codes = _codes(server.tail, packet)
            except RefusedError as error:
                async with lock:
                    await _refuse(server, writer, error, peer)
                if error.fatal:
                    return
                last = max(last, error.frame)
                continue
            except asyncio.IncompleteReadError as error:
                # Not raised through the group: frames that came whole are still answered.
                _say(server, "lost", peer=peer, reason=type(error).__name__)
                return
            await room.acquire()
            answers.create_task(_answer(server, writer, lock, room, packet.frame, codes, peer))


async def _next(server: Server, reader: asyncio.StreamReader, last: int) -> Packet | None:
    """Return the next packet, None at the end of the stream.

    Raises:
        RefusedError: it is none, or too slow.
    """
    try:
        first = await asyncio.wait_for(reader.read(1), server.limits.idle_s)
        if not first:
            return None
        return await asyncio.wait_for(_rest(server, reader, first, last), server.limits.packet_s)
    except TimeoutError:
        raise RefusedError("no whole packet came in time.") from None
    except EdgeError as error:
        raise error if isinstance(error, RefusedError) else RefusedError(str(error)) from error


async def _rest(server: Server, reader: asyncio.StreamReader, first: bytes, last: int) -> Packet:
    head = first + await reader.readexactly(HEADER.size - 1)
    assert server.limits.payload_bytes is not None
    header = decode_header(head, server.limits.payload_bytes)
    packet = decode(head + await reader.readexactly(header.payload_bytes + CHECKSUM.size))
    if packet.kind is not Kind.REQUEST:
        raise RefusedError(f"a packet of kind {packet.kind.name.lower()}; heads send requests.", packet.frame)
    if packet.digest != server.tail.digest:
        raise RefusedError("the head is of another bundle than this tail; deploy both from one.", packet.frame)
    if packet.frame <= last:
        raise RefusedError(f"frame {packet.frame} after frame {last}: ids must grow; is it a replay?", packet.frame)
    return packet


def _codes(tail: Tail, packet: Packet) -> Array:
    try:
        return from_packet(tail.request, packet)
    except EdgeError as error:
        raise RefusedError(str(error), packet.frame, fatal=False) from error


async def _answer(
    server: Server,
    writer: asyncio.StreamWriter,
    lock: asyncio.Lock,
    room: asyncio.Semaphore,
    frame: int,
    codes: Array,
    peer: str,
) -> None:
    try:
        tail = server.tail
        try:
            found = await server.batches.ask(codes)
        except FAILURES as error:
            async with lock:
                await _refuse(server, writer, RefusedError(f"the tail failed: {error}", frame), peer)
            return
        data = encode(to_packet(tail.answer, found, kind=Kind.ANSWER, digest=tail.digest, frame=frame))
        async with lock:
            await _send(server, writer, data)
        server.answered += 1
    except (ConnectionError, TimeoutError) as error:
        _say(server, "lost", peer=peer, reason=f"an answer could not be sent: {type(error).__name__}")
        writer.close()
    finally:
        room.release()


async def _send(server: Server, writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await asyncio.wait_for(writer.drain(), server.limits.packet_s)


async def _refuse(server: Server, writer: asyncio.StreamWriter, error: RefusedError, peer: str) -> None:
    server.refused += 1
    _say(server, "refused", peer=peer, frame=error.frame, reason=str(error))
    packet = Packet(Kind.REFUSAL, server.tail.digest, error.frame, 0, str(error).encode())
    with contextlib.suppress(ConnectionError, TimeoutError):
        await _send(server, writer, encode(packet))


async def _close(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, TimeoutError, ssl.SSLError):
        writer.close()
        await asyncio.wait_for(writer.wait_closed(), 2.0)


def _say(server: Server, event: str, **fields: object) -> None:
    server.log(json.dumps({"event": event, **fields}, sort_keys=True))
