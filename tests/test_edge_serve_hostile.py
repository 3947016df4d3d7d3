"""Whole connections made of good and bad pieces: each gets what it must, is logged, and the clients beside it go on."""

from __future__ import annotations

import asyncio
import gc
import socket
import struct
import threading
import tracemalloc
import zlib
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.load_clients import ATTACKS, Question, asks_packets, load
from edge.link.codec import compress, to_packet
from edge.link.packing import pack
from edge.link.wire import CHECKSUM, HEADER, Kind, decode, decode_header, encode
from edge.serve.client import Client, Tally
from edge.serve.server import start, stop
from edge.serve.tail import open_tail
from tests.served import served, wait_until
from tests.serving import LIMITS, ends_of, serving, split_bundle

NEIGHBOURS = 3
#: What a piece of a connection is: whether the server goes on after it, and a word of its reason.
FATAL = {
    "damaged": "checksum",
    "digest": "another bundle",
    "replay": "replay",
    "answer": "heads send requests",
    "oversized": "are the most",
    "version": "wire version 9",
    "noise": "another protocol",
}
HARMLESS = {"count": "make one here", "bomb": "decompresses to more than"}
SILENT = "truncated"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return split_bundle(tmp_path_factory.mktemp("hostile") / "bundle")


@pytest.fixture(scope="module")
def running(bundle):
    with serving(open_tail(bundle.path)) as found:
        yield found


@contextmanager
def neighbours(bundle, running):
    """Clients that ask all the time; yields what they count, and fails where one was wrong or not answered."""
    ended, counts, wrong = threading.Event(), [0] * NEIGHBOURS, []

    def ask(number):
        client = Client(ends_of(bundle, local=False), "127.0.0.1", running.port, deadline_s=30)
        tail = bundle.parts[1]
        while not ended.is_set():
            index = (counts[number] + number) % len(tail.inputs)
            if not np.array_equal(client.infer(tail.inputs[index]).codes, tail.outputs[index]):
                wrong.append(index)
            counts[number] += 1
        client.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(NEIGHBOURS)]
    for thread in threads:
        thread.start()
    try:
        yield counts
    finally:
        ended.set()
        for thread in threads:
            thread.join(30)
    assert not wrong


@pytest.fixture(scope="module")
def beside(bundle, running):
    with neighbours(bundle, running) as counts:
        yield counts


def good(bundle, frame, **changes):
    ends, codes = ends_of(bundle), bundle.parts[1].inputs[frame % len(bundle.parts[1].inputs)]
    return encode(
        replace(to_packet(ends.request, codes, kind=Kind.REQUEST, digest=ends.digest, frame=frame), **changes)
    )


def forged(bundle, frame, version=1, count=None, length=None):
    """A header of one's own over a good payload, with the right checksum."""
    ends = ends_of(bundle)
    payload = good(bundle, frame)[HEADER.size : -CHECKSUM.size]
    count, length = count or ends.request.count, length or len(payload)
    data = HEADER.pack(b"EMLK", version, 1, 0, 0, ends.digest, frame, count, length) + payload
    return data + struct.pack("<I", zlib.crc32(data))


def piece(bundle, kind, frame, noise):
    """The bytes of a piece of a connection; `noise` are the bytes that hypothesis chose."""
    match kind:
        case "good":
            return good(bundle, frame)
        case "damaged":
            data = bytearray(good(bundle, frame))
            data[HEADER.size + noise[0] % 100] ^= noise[1] | 1
            return bytes(data)
        case "digest":
            return good(bundle, frame, digest=noise[:16])
        case "replay":
            return good(bundle, frame - 1)
        case "answer":
            return good(bundle, frame, kind=Kind.ANSWER)
        case "oversized":
            return forged(bundle, frame, length=1000 + noise[0] * 2**20)
        case "version":
            return forged(bundle, frame, version=9)
        case "noise":
            return b"\x00" + noise
        case "count":
            return forged(bundle, frame, count=7)
        case "bomb":
            return good(bundle, frame, payload=compress(bytes(1 << 20)), compressed=True)
        case "truncated":
            return good(bundle, frame)[: 1 + noise[0] % 170]
    raise AssertionError(kind)


def expected(kinds):
    """What must come back: answers' frames, and (frame, word) of refusals. After a fatal piece nothing counts."""
    answers, refusals = [], []
    for frame, kind in enumerate(kinds, start=2):
        if kind == "good":
            answers.append(frame)
        elif kind in HARMLESS:
            refusals.append(HARMLESS[kind])
        elif kind in FATAL:
            refusals.append(FATAL[kind])
            break
        else:
            break
    return answers, refusals


def talk(port, data):
    """Send all, end the stream; return this side's address and every packet that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as stream:
        stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)
        found = b""
        while more := stream.recv(65536):
            found += more
        name = str(stream.getsockname())
    packets = []
    while found:
        size = HEADER.size + decode_header(found[: HEADER.size]).payload_bytes + CHECKSUM.size
        packets.append(decode(found[:size]))
        found = found[size:]
    return name, packets


#: A packet that is cut short can only be the last.
CONNECTIONS = st.builds(
    lambda kinds, ends: [*kinds, *ends],
    st.lists(st.sampled_from(["good", "good", *FATAL, *HARMLESS]), min_size=1, max_size=6),
    st.sampled_from([[], [SILENT]]),
)


def test_any_connection_gets_what_it_must_and_is_logged(bundle, running, beside):
    @given(CONNECTIONS, st.binary(min_size=64, max_size=300))
    @settings(max_examples=60, deadline=None)
    def check(kinds, noise):
        before = list(beside)
        # A first good frame, so that there is something to replay.
        data = good(bundle, 1) + b"".join(piece(bundle, kind, f, noise) for f, kind in enumerate(kinds, start=2))
        name, packets = talk(running.port, data)
        assert_as_expected(bundle, running, kinds, name, packets)
        wait_until(lambda: all(now > old for now, old in zip(beside, before, strict=True)))

    check()


def assert_as_expected(bundle, running, kinds, name, packets):
    answers, refusals = expected(kinds)
    outputs, fmt = bundle.parts[1].outputs, ends_of(bundle).answer.format
    answered = [packet for packet in packets if packet.kind is Kind.ANSWER]
    assert all(packet.payload == pack(fmt, outputs[packet.frame % len(outputs)]) for packet in answered)
    assert sorted(packet.frame for packet in answered) == [1, *answers]
    found = [packet.payload.decode() for packet in packets if packet.kind is Kind.REFUSAL]
    assert len(found) == len(refusals) and all(word in said for word, said in zip(refusals, found, strict=True))
    assert [event["reason"] for event in running.events("refused") if event["peer"] == name] == found


def questions_of(bundle):
    tail, part = open_tail(bundle.path), bundle.parts[1]
    return [
        Question(tail.request.count, pack(tail.request.format, codes), pack(tail.answer.format, outputs))
        for codes, outputs in zip(part.inputs, part.outputs, strict=True)
    ]


def test_the_server_keeps_no_object_of_those_who_are_gone(bundle):
    tail, questions, held = open_tail(bundle.path), questions_of(bundle), []

    async def rounds():
        server = await start(tail, "127.0.0.1", 0, lambda line: None, LIMITS)
        for _ in range(3):
            found = await load(server.port, asks_packets(tail.digest), questions, 8, 1.0, tail.digest)
            assert len(found.seconds) > 8 and (found.wrong, found.failed, found.unexpected) == (0, [], [])
            del found
            while server.clients:
                await asyncio.sleep(0.01)
            gc.collect()
            held.append((len(gc.get_objects()), tracemalloc.get_traced_memory()[0], len(asyncio.all_tasks())))
        await stop(server)

    tracemalloc.start()
    try:
        asyncio.run(rounds())
    finally:
        tracemalloc.stop()
    # The first round fills caches. A leak of one object for every frame or attack would be hundreds.
    assert held[2][0] - held[1][0] < 50
    assert held[2][1] - held[1][1] < 32 * 1024
    assert held[0][2] == held[2][2] == 2


@pytest.mark.parametrize(("clients", "duration_s"), [(8, 1.5), pytest.param(64, 10.0, marks=pytest.mark.slow)])
def test_attackers_of_every_kind_beside_clients(bundle, clients, duration_s):
    """A short form of benchmarks/serve_load.py: a process of its own, which holds nothing more at its end."""
    tail, questions = open_tail(bundle.path), questions_of(bundle)
    with served(bundle.path, "--status-s", "0.1") as server:
        wait_until(lambda: server.events("status"))
        found = asyncio.run(load(server.port, asks_packets(tail.digest), questions, clients, duration_s, tail.digest))
        wait_until(lambda: server.events("status")[-1]["clients"] == 0)
        wait_until(lambda: server.events("status")[-1]["tasks"] == server.events("status")[0]["tasks"])
        refused = len(server.events("refused"))
        last = server.stop()
    assert (found.wrong, found.failed, found.unexpected) == (0, [], [])
    assert len(found.seconds) > clients and all(found.attacks[name] > 0 for name in ATTACKS)
    assert refused == sum(found.refusals.values()) == last["refused"]
    assert last["answered"] == len(found.seconds) + found.attacks["replayed"]
    assert len({question.answer for question in questions}) > 1


def test_a_server_killed_in_the_middle_loses_no_frame_of_a_head_with_a_local_tail(bundle):
    """SIGKILL while several heads are asking: every frame is answered, rightly, and says by whom."""
    tail, tallies, wrong = bundle.parts[1], [Tally() for _ in range(4)], []
    with served(bundle.path) as server:
        ready = threading.Barrier(len(tallies) + 1)

        def ask(tally):
            client = Client(ends_of(bundle), "127.0.0.1", server.port, deadline_s=20)
            for number in range(200):
                if number == 20:
                    ready.wait(30)
                index = number % len(tail.inputs)
                outcome = client.infer(tail.inputs[index])
                tally.add(outcome)
                if not np.array_equal(outcome.codes, tail.outputs[index]):
                    wrong.append(number)
            client.close()

        threads = [threading.Thread(target=ask, args=(tally,)) for tally in tallies]
        for thread in threads:
            thread.start()
        ready.wait(30)
        wait_until(lambda: all(tally.frames > 25 for tally in tallies), 30)
        server.process.kill()
        for thread in threads:
            thread.join(60)
    assert not wrong
    for tally in tallies:
        assert tally.frames == 200 and 20 < tally.by_server < 200
        assert sum(tally.reasons.values()) == 200 - tally.by_server
