"""A tail's server and its clients: the same codes as in one process, and nobody suffers from a bad neighbour."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.errors import EdgeError
from edge.link.codec import to_packet
from edge.link.wire import CHECKSUM, HEADER, Kind, Packet, decode, decode_header, encode
from edge.serve.client import Client, Tally
from edge.serve.limits import Limits
from edge.serve.tail import open_tail, tail_of
from edge.serve.tls import client_context, server_context
from export.errors import ExportError
from tests.serving import LIMITS, ends_of, serving, split_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return split_bundle(tmp_path_factory.mktemp("serve") / "bundle")


@pytest.fixture(scope="module")
def tail(bundle):
    return open_tail(bundle.path)


@pytest.fixture(scope="module")
def running(tail):
    with serving(tail) as found:
        yield found


def talk(port, data):
    """Send bytes; return every packet until the server closes or is silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as stream:
        stream.sendall(data)
        stream.shutdown(socket.SHUT_WR)
        answer = b""
        while more := stream.recv(65536):
            answer += more
    packets = []
    while answer:
        size = HEADER.size + decode_header(answer[: HEADER.size]).payload_bytes + CHECKSUM.size
        packets.append(decode(answer[:size]))
        answer = answer[size:]
    return packets


def request(bundle, frame=1, index=0, **changes):
    ends = ends_of(bundle)
    codes = bundle.parts[1].inputs[index]
    return replace(to_packet(ends.request, codes, kind=Kind.REQUEST, digest=ends.digest, frame=frame), **changes)


def assert_healthy(bundle, running):
    """Somebody else is still answered rightly."""
    client = Client(ends_of(bundle, local=False), "127.0.0.1", running.port, deadline_s=5)
    try:
        np.testing.assert_array_equal(client.infer(bundle.parts[1].inputs[0]).codes, bundle.parts[1].outputs[0])
    finally:
        client.close()


@pytest.mark.parametrize("entropy", ["none", "zstd"])
def test_over_a_socket_every_frame_is_bit_identical(bundle, running, entropy):
    client = Client(ends_of(bundle, local=False, entropy=entropy), "127.0.0.1", running.port, deadline_s=5)
    head, whole = bundle.parts
    found = [client.infer(codes) for codes in head.outputs]
    client.close()
    np.testing.assert_array_equal(np.stack([outcome.codes for outcome in found]), whole.outputs)
    assert len(np.unique(whole.outputs.reshape(len(whole.outputs), -1).argmax(1))) > 1
    assert {outcome.answered_by for outcome in found} == {"server"}
    assert all(0 < outcome.sent_bytes <= ends_of(bundle).request.packet_bytes for outcome in found)


def test_many_clients_at_once_each_get_their_own_answers(bundle, running):
    wrong, done = [], []

    def ask(seed):
        client = Client(ends_of(bundle, local=False), "127.0.0.1", running.port, deadline_s=20)
        order = np.random.default_rng(seed).permutation(len(bundle.parts[1].inputs))
        for index in order:
            outcome = client.infer(bundle.parts[1].inputs[index])
            (done if np.array_equal(outcome.codes, bundle.parts[1].outputs[index]) else wrong).append(index)
        client.close()

    threads = [threading.Thread(target=ask, args=(seed,)) for seed in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and len(done) == 24 * len(bundle.parts[1].inputs)
    assert any(size > 1 for size in running.server.batches.sizes)  # frames of several clients ran together


def test_answers_carry_the_ids_of_their_requests(bundle, running):
    data = b"".join(encode(request(bundle, frame=id_, index=id_ % 5)) for id_ in (3, 9, 12))
    assert sorted(packet.frame for packet in talk(running.port, data)) == [3, 9, 12]


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (lambda b: encode(request(b))[:-1] + b"\x00", "checksum"),
        (lambda b: encode(request(b, digest=bytes(16))), "another bundle"),
        (lambda b: encode(request(b, kind=Kind.ANSWER)), "heads send requests"),
        (lambda b: encode(request(b)) * 2, "replay"),
        (lambda b: encode(request(b, payload=b"\x00" * 4000)), "payload of 4000 bytes"),
        (lambda b: b"GET / HTTP/1.1\r\nHost: a\r\nAccept: everything there is\r\n\r\n", "another protocol"),
    ],
)
def test_a_packet_that_breaks_the_protocol_gets_its_reason_and_the_rest_goes_on(bundle, running, make, word):
    packets = talk(running.port, make(bundle))
    reasons = [packet.payload.decode() for packet in packets if packet.kind is Kind.REFUSAL]
    assert len(reasons) == 1 and word in reasons[0]
    assert any(word in event["reason"] for event in running.events("refused"))
    assert_healthy(bundle, running)


def test_codes_that_are_wrong_spoil_one_frame_only(bundle, running):
    good = request(bundle, frame=5)
    packets = talk(running.port, encode(request(bundle, frame=4, count=3)) + encode(good))
    assert [(packet.kind, packet.frame) for packet in packets] == [(Kind.REFUSAL, 4), (Kind.ANSWER, 5)]


@given(st.binary(min_size=1, max_size=300), st.integers(0, 10_000))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_never_gets_an_answer_nor_stops_the_server(bundle, running, noise, place):
    packet = bytearray(encode(request(bundle)))
    at = place % len(packet)
    packet[at : at + len(noise)] = bytes(x ^ y for x, y in zip(packet[at : at + len(noise)], noise, strict=False))
    damaged = bytes(packet)
    packets = talk(running.port, damaged)
    if damaged != encode(request(bundle)):
        assert all(packet.kind is Kind.REFUSAL for packet in packets)
    assert_healthy(bundle, running)


def test_a_truncated_packet_is_let_go(bundle, running):
    before = len(running.events("lost"))
    assert talk(running.port, encode(request(bundle))[:20]) == []
    until = time.monotonic() + 5
    while len(running.events("lost")) == before and time.monotonic() < until:
        time.sleep(0.01)
    assert running.events("lost")[before]["reason"] == "IncompleteReadError"
    assert_healthy(bundle, running)


def test_a_client_that_dawdles_is_closed(bundle, tail):
    with serving(tail, replace(LIMITS, packet_s=0.2)) as running:
        with socket.create_connection(("127.0.0.1", running.port), timeout=5) as stream:
            stream.sendall(encode(request(bundle))[:10])
            assert b"in time" in stream.recv(4096)
        assert_healthy(bundle, running)


def test_too_many_clients_are_told_so(bundle, tail):
    with serving(tail, replace(LIMITS, connections=1)) as running:
        first, second = (socket.create_connection(("127.0.0.1", running.port), timeout=5) for _ in range(2))
        with first, second:
            first.sendall(encode(request(bundle)))
            assert first.recv(4)
            assert b"the most here" in second.recv(4096)


def test_a_failing_runtime_spoils_its_frames_and_is_said(bundle, tail):
    def fails(codes):
        raise ExportError("the runtime is gone")

    with serving(replace(tail, run=fails)) as running:
        (packet,) = talk(running.port, encode(request(bundle)))
        assert packet.kind is Kind.REFUSAL and b"runtime is gone" in packet.payload


def test_a_full_queue_stops_reading_instead_of_growing(bundle, tail):
    slow = replace(tail, run=lambda codes: (time.sleep(0.01), tail.run(codes))[1])
    with serving(slow, Limits(queue=2, batch=1, packet_s=5.0)) as running:
        data = b"".join(encode(request(bundle, frame=i + 1, index=i % 5)) for i in range(60))
        packets = talk(running.port, data)
        assert [packet.frame for packet in packets] == list(range(1, 61))
        assert running.server.batches.queue.qsize() <= 2


def test_a_server_that_stops_answers_what_it_has_begun(bundle, tail):
    slow = replace(tail, run=lambda codes: (time.sleep(0.3), tail.run(codes))[1])
    answers = []
    with serving(slow) as running:
        thread = threading.Thread(target=lambda: answers.extend(talk(running.port, encode(request(bundle)))))
        thread.start()
        while not running.events("connected"):
            time.sleep(0.01)
        time.sleep(0.1)
    thread.join(10)
    assert [packet.kind for packet in answers] == [Kind.ANSWER]


def test_no_frame_is_lost_when_the_server_dies_in_the_middle(bundle, tail):
    client = Client(ends_of(bundle), "127.0.0.1", 1, deadline_s=2)
    tally, inputs, outputs = Tally(), bundle.parts[1].inputs, bundle.parts[1].outputs
    with serving(tail) as running:
        client.port = running.port
        for codes, wanted in zip(inputs, outputs, strict=True):
            outcome = client.infer(codes)
            np.testing.assert_array_equal(outcome.codes, wanted)
            tally.add(outcome)
    for codes, wanted in zip(inputs, outputs, strict=True):
        outcome = client.infer(codes)
        np.testing.assert_array_equal(outcome.codes, wanted)
        tally.add(outcome)
    client.close()
    assert tally.frames == 2 * len(inputs) and tally.by_server == len(inputs)
    assert sum(tally.reasons.values()) == len(inputs)


def test_a_deadline_is_kept_by_the_local_tail(bundle, tail):
    slow = replace(tail, run=lambda codes: (time.sleep(0.5), tail.run(codes))[1])
    with serving(slow) as running:
        client = Client(ends_of(bundle), "127.0.0.1", running.port, deadline_s=0.05)
        outcome = client.infer(bundle.parts[1].inputs[0])
        client.close()
    assert outcome.answered_by == "local" and "within 50 ms" in outcome.reason
    np.testing.assert_array_equal(outcome.codes, bundle.parts[1].outputs[0])


def test_without_a_local_tail_a_dead_server_is_an_error_with_its_reason(bundle):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = Client(ends_of(bundle, local=False), "127.0.0.1", port, deadline_s=1)
    with pytest.raises(EdgeError, match="no local tail"):
        client.infer(bundle.parts[1].inputs[0])


def test_a_server_of_another_bundle_is_refused_and_the_local_tail_answers(tmp_path, bundle, running):
    other = split_bundle(tmp_path / "other", seed=4)
    outcome = Client(ends_of(other), "127.0.0.1", running.port, deadline_s=5).infer(other.parts[1].inputs[0])
    assert outcome.answered_by == "local" and "another bundle" in outcome.reason
    np.testing.assert_array_equal(outcome.codes, other.parts[1].outputs[0])


def test_a_bundle_that_is_not_split_has_no_tail(bundle):
    whole = replace(bundle, manifest=replace(bundle.manifest, parts=bundle.manifest.parts[:1]))
    with pytest.raises(EdgeError, match="head and a tail"):
        tail_of(whole)


@pytest.mark.parametrize("change", [{"connections": 0}, {"packet_s": 0.0}, {"wait_s": -1.0}, {"payload_bytes": 0}])
def test_limits_that_let_nothing_through_are_refused(change):
    with pytest.raises(EdgeError, match="limit"):
        Limits(**change)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A certificate that signs itself, valid for 127.0.0.1, for both sides."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=edge "
        "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem"
    )
    try:
        subprocess.run(command.split(), cwd=folder, check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    return folder / "cert.pem", folder / "key.pem"


def test_tls_with_mutual_authentication(bundle, tail, certificates):
    cert, key = certificates
    with serving(tail, tls=server_context(cert, key, clients=cert)) as running:
        client = Client(ends_of(bundle, local=False), "127.0.0.1", running.port, 5, client_context(cert, cert, key))
        np.testing.assert_array_equal(client.infer(bundle.parts[1].inputs[1]).codes, bundle.parts[1].outputs[1])
        client.close()
        for tls in (client_context(cert), None):  # without a certificate, and without TLS
            outcome = Client(ends_of(bundle), "127.0.0.1", running.port, 2, tls).infer(bundle.parts[1].inputs[0])
            assert outcome.answered_by == "local"


def test_why_tls_does_not_come_about_is_said(bundle, tail, certificates, tmp_path):
    cert, key = certificates
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=other "
        "-keyout k.pem -out c.pem"
    )
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True)
    frame, ends = bundle.parts[1].inputs[0], ends_of(bundle)
    with serving(tail, tls=server_context(cert, key)) as running:
        stranger = client_context(tmp_path / "c.pem")
        outcome = Client(ends, "127.0.0.1", running.port, 5, stranger).infer(frame)
        assert "a certificate that is not trusted here: self" in outcome.reason
        outcome = Client(ends, "127.0.0.1", running.port, 5, None).infer(frame)
        assert "closed the connection; if it always does, it may want TLS" in outcome.reason
    with serving(tail) as running:
        outcome = Client(ends, "127.0.0.1", running.port, 5, client_context(cert)).infer(frame)
        assert "broke off TLS" in outcome.reason


def test_files_that_are_no_certificates_are_named(tmp_path, certificates):
    cert, key = certificates
    (tmp_path / "no.pem").write_text("nothing")
    for make in (
        lambda: server_context(tmp_path / "no.pem", key),
        lambda: server_context(cert, key, tmp_path / "missing.pem"),
        lambda: client_context(tmp_path / "no.pem"),
        lambda: client_context(cert, cert),
    ):
        with pytest.raises(EdgeError):
            make()


def test_a_port_that_is_taken_is_said(tail, running):
    import asyncio

    from edge.serve.server import start

    with pytest.raises(EdgeError, match=r"port \d+: Address already in use. Choose another"):
        asyncio.run(start(tail, "127.0.0.1", running.port, lambda line: None))


def test_a_refusal_of_the_wrong_frame_is_no_answer():
    packet = Packet(Kind.REFUSAL, bytes(16), 1, 0, b"why")
    assert decode(encode(packet)).payload == b"why"
