"""The C head client: the unsplit network's codes over a socket, from here and from aarch64, and no frame lost."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.evaluate import code_labels
from edge.link.codec import to_packet
from edge.link.wire import Kind, Packet, encode
from edge.serve.head import open_head
from edge.serve.tail import local_of, open_tail
from export.bundle import write_bundle
from export.targets import find_target
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run
from tests.dynamic_bundles import exits, filtered
from tests.head_client import MACHINES, answers, built, frames_of, missing, parsed, read_codes
from tests.served import served
from tests.serving import ends_of, serving, split_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return split_bundle(tmp_path_factory.mktemp("c") / "bundle")


@pytest.fixture(scope="module", params=MACHINES)
def client(request, bundle, tmp_path_factory):
    """The command of a client, built once for each machine."""
    reason = missing(request.param)
    if reason is not None:
        pytest.skip(reason)
    return built(tmp_path_factory.mktemp(request.param), bundle.path, request.param)


def labels(bundle):
    return [bundle.manifest.labels[k] for k in bundle.parts[1].outputs.reshape(len(inputs(bundle)), -1).argmax(1)]


def inputs(bundle):
    return bundle.parts[0].inputs


def test_over_a_socket_every_code_is_the_unsplit_networks(bundle, client, tmp_path):
    with served(bundle.path) as server:
        lines, codes = answers(client, bundle, server.port, frames_of(inputs(bundle)), tmp_path, "-d", "20000")
        assert server.stop() == {"answered": len(lines), "event": "stopped", "refused": 0}
    np.testing.assert_array_equal(codes, bundle.parts[1].outputs)
    assert {(line.answered_by, line.reason) for line in lines} == {("server", "")}
    assert {line.sent_bytes for line in lines} == {ends_of(bundle).request.packet_bytes}
    assert [line.label for line in lines] == labels(bundle) and len(set(labels(bundle))) > 1


def test_killing_the_server_in_the_middle_loses_no_frame(bundle, client, tmp_path):
    wanted = len(inputs(bundle))
    with served(bundle.path) as server:
        command = [*client, "-d", "20000", "-o", str(tmp_path / "codes.bin"), "127.0.0.1", str(server.port)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            text = b""
            for index in range(wanted):
                if index == wanted // 2:
                    server.process.kill()
                    server.process.wait()
                process.stdin.write(frames_of(inputs(bundle)[index : index + 1]))
                process.stdin.flush()
                text += process.stdout.readline()
            process.stdin.close()
            assert process.wait(20) == 0
    lines = parsed(text.decode())
    assert [line.answered_by for line in lines] == ["server"] * (wanted // 2) + ["local"] * (wanted - wanted // 2)
    assert "not there" in lines[wanted // 2].reason and "tried again later" in lines[-1].reason
    np.testing.assert_array_equal(read_codes(tmp_path / "codes.bin", bundle), bundle.parts[1].outputs)
    assert [line.frame for line in lines] == list(range(1, wanted + 1))


def test_a_deadline_is_kept_by_the_local_tail(bundle, client, tmp_path):
    tail = open_tail(bundle.path)
    slow = replace(tail, run=lambda codes: (time.sleep(0.4), tail.run(codes))[1])
    with serving(slow) as running:
        lines, codes = answers(client, bundle, running.port, frames_of(inputs(bundle)[:3]), tmp_path, "-d", "40")
    assert {(line.answered_by, line.reason) for line in lines} == {("local", "no answer in time")}
    assert all(line.latency_ms >= 40 for line in lines)
    np.testing.assert_array_equal(codes, bundle.parts[1].outputs[:3])


@contextmanager
def replying(make):
    """A server that answers whatever comes with `make(number of the connection)`, then closes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def work():
            for number in range(1, 100):
                try:
                    stream, _ = listener.accept()
                except OSError:
                    return
                with stream:
                    stream.recv(65536)
                    stream.sendall(make(number))

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def answer(bundle, frame, **changes):
    ends = ends_of(bundle)
    made = to_packet(ends.answer, bundle.parts[1].outputs[0], kind=Kind.ANSWER, digest=ends.digest, frame=frame)
    return encode(replace(made, **changes))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda b, n: b"HTTP/1.1 400 Bad Request\r\n\r\n" + bytes(60), "does not speak this protocol"),
        (lambda b, n: answer(b, n)[:-1] + b"\x00", "a damaged answer"),
        (lambda b, n: answer(b, n)[:20], "not there"),
        (lambda b, n: b"", "not there"),
        (lambda b, n: answer(b, n + 1), "another frame"),
        (lambda b, n: answer(b, n, digest=bytes(16)), "another bundle"),
        (lambda b, n: answer(b, n, count=3), "another size"),
        (lambda b, n: answer(b, n, payload=bytes(5000)), "another size"),
        (lambda b, n: encode(Packet(Kind.REFUSAL, bytes(16), n, 0, b"too busy\n\x07")), "too busy??"),
        (lambda b, n: encode(Packet(Kind.REFUSAL, bytes(16), n, 0, b"x" * 300)), "x" * 255),
    ],
)
def test_what_is_no_answer_is_never_taken_for_one(bundle, client, tmp_path, make, reason):
    with replying(lambda number: make(bundle, number)) as port:
        lines, codes = answers(client, bundle, port, frames_of(inputs(bundle)[1:2]), tmp_path, "-d", "20000")
    assert [line.answered_by for line in lines] == ["local"] and reason in lines[0].reason
    np.testing.assert_array_equal(codes, bundle.parts[1].outputs[1:2])


@given(st.integers(0, 60), st.binary(min_size=1, max_size=80), st.booleans())
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_answer_never_becomes_a_wrong_code(bundle, client, tmp_path, place, noise, cut):
    data = bytearray(answer(bundle, 1))
    data[place : place + len(noise)] = bytes(
        x ^ y for x, y in zip(data[place : place + len(noise)], noise, strict=False)
    )
    sent = bytes(data[: place + 1] if cut else data)
    with replying(lambda number: sent) as port:
        lines, codes = answers(client, bundle, port, frames_of(inputs(bundle)[:1]), tmp_path, "-d", "20000")
    assert lines[0].answered_by == ("server" if sent == answer(bundle, 1) else "local")
    np.testing.assert_array_equal(codes, bundle.parts[1].outputs[:1])


def test_raw_pixels_go_through_the_generated_table(bundle, client, tmp_path):
    pixels = np.random.default_rng(3).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    spec = bundle.manifest.preprocess
    head = bundle.parts[0].graph
    x = spec.apply(pixels.transpose(0, 3, 1, 2))
    cut = run(lower(head), quantise_input(head.quant(head.input), x), fast_dot)[head.output]
    _, codes = answers(client, bundle, 1, pixels.tobytes(), tmp_path, "-r")
    np.testing.assert_array_equal(codes, ends_of(bundle).local(cut))
    assert len({row.tobytes() for row in codes}) > 1


@pytest.mark.parametrize("machine", MACHINES)
def test_what_a_filter_drops_is_neither_sent_nor_answered(tmp_path, machine):
    if missing(machine) is not None:
        pytest.skip(missing(machine))
    made = write_bundle(tmp_path / "bundle", filtered(), find_target("arm-m"))
    command, frames = built(tmp_path, made.path, machine), made.parts[0].inputs
    crossing = open_head(made)(frames)
    rest = made.parts[-1].graph
    wanted = run(lower(rest), crossing.codes[crossing.sent], fast_dot)[rest.output]
    with served(made.path) as server:
        lines, codes = answers(command, made, server.port, frames_of(frames), tmp_path, "-d", "20000")
        assert server.stop()["answered"] == crossing.sent.sum()
    assert [line.answered_by for line in lines] == ["server" if sent else "filter" for sent in crossing.sent]
    assert {line.sent_bytes for line in lines if line.answered_by == "filter"} == {0}
    np.testing.assert_array_equal(codes, wanted)
    lines, codes = answers(command, made, server.port, frames_of(frames), tmp_path)
    assert [line.answered_by for line in lines] == ["local" if sent else "filter" for sent in crossing.sent]
    np.testing.assert_array_equal(codes, wanted)
    assert 0 < crossing.sent.sum() < len(frames) and len({row.tobytes() for row in wanted}) > 5


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("drops", [False, True])
def test_a_small_local_tail_settles_what_it_is_sure_of_and_answers_for_a_server_that_is_gone(tmp_path, machine, drops):
    if missing(machine) is not None:
        pytest.skip(missing(machine))
    spec = with_filter(exits()) if drops else exits()
    made = write_bundle(tmp_path / "bundle", spec, find_target("arm-m"))
    command, frames = built(tmp_path, made.path, machine), made.parts[0].inputs
    crossing, here = open_head(made)(frames), local_of(made)
    rest = made.parts[-1].graph
    wanted = run(lower(rest), crossing.codes[crossing.sent], fast_dot)[rest.output]
    small, large = code_labels(here.graph, crossing.answers), code_labels(rest, wanted)
    expected = {True: small.copy(), False: small}
    expected[True][crossing.sent] = large
    silent = ~crossing.sent & ~crossing.settled
    with served(made.path) as server:
        for up, port in ((True, server.port), (False, 1)):
            lines, codes = answers(command, made, port, frames_of(frames), tmp_path, "-d", "20000")
            who = np.where(silent, "filter", np.where(crossing.sent & up, "server", "local"))
            assert [line.answered_by for line in lines] == who.tolist()
            assert [line.label for line in lines] == [
                "-" if silent[k] else made.manifest.labels[label] for k, label in enumerate(expected[up])
            ]
            assert [line.reason == "sure here" for line in lines] == crossing.settled.tolist()
            assert [line.sent_bytes > 0 for line in lines] == (crossing.sent & up).tolist()
            np.testing.assert_array_equal(codes, wanted if up else wanted[:0])
        assert server.stop()["answered"] == crossing.sent.sum()
    assert crossing.sent.any() and crossing.settled.any() and silent.any() == drops
    assert len(set(small[crossing.settled].tolist())) > 1 and (small[crossing.sent] != large).any()


def with_filter(bundle):
    """The bundle with a filter before its exit."""
    stage, leave, rest = bundle.parts
    return replace(bundle, parts=(stage, filtered(0.3).parts[1], replace(leave, source=stage.name), rest))


@pytest.mark.parametrize(
    "words",
    [(), ("127.0.0.1",), ("localhost", "7070"), ("127.0.0.1", "0"), ("127.0.0.1", "x"), ("-d", "0", "::1", "7")],
)
def test_a_call_that_is_wrong_says_how_it_is_used(client, words):
    done = subprocess.run([*client, *words], input=b"", capture_output=True, check=False)
    assert done.returncode == 2 and b"usage:" in done.stderr


def test_a_frame_that_is_cut_short_is_said(bundle, client):
    frames = frames_of(inputs(bundle)[:2])
    done = subprocess.run([*client, "127.0.0.1", "1"], input=frames[:-1], capture_output=True, check=False)
    assert done.returncode == 1 and b"frame 2 is cut short" in done.stderr
    assert len(parsed(done.stdout.decode())) == 1
