"""Many clients of a tail's server at once, and hostile ones among them: what each got, and how long it took."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from edge.errors import EdgeError
from edge.link.wire import CHECKSUM, HEADER, Kind, Packet, decode, decode_header, encode

#: An oversized packet promises so many payload bytes.
PROMISED = 1 << 30


@dataclass(frozen=True, slots=True)
class Question:
    """Payload of a request with its number of codes, and the payload that must come back."""

    count: int
    payload: bytes
    answer: bytes


@dataclass(slots=True)
class Outcome:
    """What a stretch of time gave: seconds of each answer, wrong ones, failures, and refusals by kind of attack."""

    seconds: list[float] = field(default_factory=list)
    wrong: int = 0
    failed: list[str] = field(default_factory=list)
    attacks: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    unexpected: list[str] = field(default_factory=list)


#: One question over a connection; returns the answer's payload.
Ask = Callable[[asyncio.StreamReader, asyncio.StreamWriter, int, Question], Coroutine[Any, Any, bytes]]


def asks_packets(digest: bytes) -> Ask:
    """Return what asks `edgemill serve`."""

    async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, frame: int, what: Question) -> bytes:
        writer.write(encode(Packet(Kind.REQUEST, digest, frame, what.count, what.payload)))
        packet = await read_packet(reader)
        if packet.kind is not Kind.ANSWER or packet.frame != frame:
            raise EdgeError(f"{packet.kind.name.lower()} of frame {packet.frame}: {packet.payload[:80]!r}")
        return packet.payload

    return ask


async def read_packet(reader: asyncio.StreamReader) -> Packet:
    """Read one packet."""
    head = await reader.readexactly(HEADER.size)
    return decode(head + await reader.readexactly(decode_header(head).payload_bytes + CHECKSUM.size))


async def load(
    port: int, ask: Ask, questions: list[Question], clients: int, duration_s: float, hostile: bytes | None = None
) -> Outcome:
    """Let so many clients ask one question after another; with `hostile`, a digest, one attacker of each kind, too."""
    found, loop = Outcome(), asyncio.get_running_loop()
    until = loop.time() + duration_s
    work = [_client(port, ask, questions, number, until, found) for number in range(clients)]
    if hostile is not None:
        work += [_attacker(port, name, hostile, questions[0], until, found) for name in ATTACKS]
    await asyncio.gather(*work)
    return found


async def _client(port: int, ask: Ask, questions: list[Question], number: int, until: float, found: Outcome) -> None:
    loop = asyncio.get_running_loop()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    frame = 0
    try:
        while (begin := loop.time()) < until:
            what = questions[(number + frame) % len(questions)]
            frame += 1
            answer = await asyncio.wait_for(ask(reader, writer, frame, what), 60)
            found.seconds.append(loop.time() - begin)
            found.wrong += answer != what.answer
    except (OSError, EdgeError, asyncio.IncompleteReadError, TimeoutError) as error:
        found.failed.append(f"client {number}, frame {frame}: {error!r}")
    finally:
        writer.close()
        await writer.wait_closed()


def _good(digest: bytes, what: Question, frame: int = 1) -> bytes:
    return encode(Packet(Kind.REQUEST, digest, frame, what.count, what.payload))


def _noise(digest: bytes, what: Question) -> bytes:
    return random.randbytes(random.randint(HEADER.size, 4000))


def _damaged(digest: bytes, what: Question) -> bytes:
    data = bytearray(_good(digest, what))
    data[random.randrange(HEADER.size, len(data))] ^= random.randint(1, 255)
    return bytes(data)


def _truncated(digest: bytes, what: Question) -> bytes:
    data = _good(digest, what)
    return data[: random.randrange(1, len(data))]


def _oversized(digest: bytes, what: Question) -> bytes:
    head = HEADER.pack(b"EMLK", 1, 1, 0, 0, digest, 1, PROMISED, PROMISED)
    return head + struct.pack("<I", zlib.crc32(head)) + bytes(5000)


#: What an attacker sends, and how many answers and refusals it must get. A stream that ends is let go without a word.
ATTACKS: dict[str, tuple[Callable[[bytes, Question], bytes], int, int]] = {
    "noise": (_noise, 0, 1),
    "damaged": (_damaged, 0, 1),
    "oversized": (_oversized, 0, 1),
    "wrong digest": (lambda digest, what: _good(bytes(x ^ 1 for x in digest), what), 0, 1),
    "replayed": (lambda digest, what: 2 * _good(digest, what), 1, 1),
    "not a request": (lambda digest, what: encode(Packet(Kind.ANSWER, digest, 1, what.count, what.payload)), 0, 1),
    "other codes": (lambda digest, what: encode(Packet(Kind.REQUEST, digest, 1, 3, what.payload)), 0, 1),
    "truncated": (_truncated, 0, 0),
}


async def _attacker(port: int, name: str, digest: bytes, what: Question, until: float, found: Outcome) -> None:
    """Attack, read what comes back until the server closes, and again."""
    loop = asyncio.get_running_loop()
    make, answers, refusals = ATTACKS[name]
    while loop.time() < until:
        found.attacks[name] += 1
        got = await attack(port, make(digest, what))
        found.refusals[name] += got[Kind.REFUSAL]
        if (got[Kind.ANSWER], got[Kind.REFUSAL]) != (answers, refusals):
            found.unexpected.append(f"{name}: {got[Kind.ANSWER]} answers and {got[Kind.REFUSAL]} refusals")
        await asyncio.sleep(0.05)


async def attack(port: int, data: bytes) -> Counter[Kind]:
    """Send bytes, end the stream, and return how many packets of which kind come back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    got: Counter[Kind] = Counter()
    try:
        writer.write(data)
        writer.get_extra_info("socket").shutdown(socket.SHUT_WR)
        while True:
            got[(await asyncio.wait_for(read_packet(reader), 60)).kind] += 1
    except (asyncio.IncompleteReadError, ConnectionError):
        return got
    finally:
        writer.close()
