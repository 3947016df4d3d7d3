"""Emulated links are the model's: the relay, and the kernel's token bucket between network namespaces where allowed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager

import numpy as np
import pytest

from benchmarks.link_emulators import BURST_BYTES, THERE, cannot_shape, namespace, plug, relayed, shape
from benchmarks.split_link_table import BOUND, by_cell, measured_best, table
from edge.link.model import Costs, Link, best_way, break_even, seconds
from edge.serve.client import Client
from edge.serve.tail import open_tail
from tests.head_client import answers, built, frames_of, missing
from tests.served import served, wait_until
from tests.serving import ends_of, serving, split_bundle

#: A frame of 172 bytes and an answer of 54 take 36 ms at 50 kbit/s.
LINKS = (Link(50e3, 0.02), Link(200e3, 0.05), Link(1e6, 0.1))
#: A busy machine wakes late now and then: the best of so many frames counts.
FRAMES = 30
#: Ethernet, IPv4, and TCP with a time stamp.
HEADERS = 66


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return split_bundle(tmp_path_factory.mktemp("emulated") / "bundle")


@pytest.fixture
def on_time():
    """Threads and processes that start in this test run before others: a busy machine is no slow link."""
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except PermissionError:
        pytest.skip("a real-time priority is not allowed here, so that lateness would say nothing about the link")
    yield
    os.sched_setscheduler(0, *before)


@pytest.fixture(scope="module")
def without():
    """Seconds of the server without a link: the least of some frames."""
    found = {}

    def ask(bundle):
        if bundle.path not in found:
            with serving(open_tail(bundle.path)) as running:
                found[bundle.path] = min(times(bundle, running.port, lambda all_s: len(all_s) > 20))
        return found[bundle.path]

    return ask


def times(bundle, port, enough):
    """Seconds of frames after the first, which makes the connection, until there are enough; answers must be right."""
    client, tail, found = Client(ends_of(bundle, local=False), "127.0.0.1", port, deadline_s=30), bundle.parts[1], []
    for number in range(FRAMES + 1):
        index = number % len(tail.inputs)
        outcome = client.infer(tail.inputs[index])
        np.testing.assert_array_equal(outcome.codes, tail.outputs[index])
        found.append(outcome.latency_s)
        if number and enough(found[1:]):
            break
    client.close()
    return found[1:]


def model_s(bundle, link, server_s):
    ends = ends_of(bundle)
    costs = Costs(1.0, 0.0, server_s, 1.0, 1, ends.request.packet_bytes, answer_bytes=ends.answer.packet_bytes)
    return seconds(costs, link)["split"]


@pytest.mark.parametrize("link", LINKS, ids=["50 kbit, 20 ms", "200 kbit, 50 ms", "1 Mbit, 100 ms"])
def test_a_frame_over_the_relay_takes_what_the_model_says(bundle, link, on_time, without):
    expected = model_s(bundle, link, without(bundle))
    with serving(open_tail(bundle.path)) as running, relayed(running.port, link) as port:
        found = times(bundle, port, lambda all_s: min(all_s) < (1 + BOUND / 3) * expected)
    assert (1 - BOUND) * expected < min(found) < (1 + BOUND) * expected


# Before the tests that keep a namespace, which has the name of this process.
def test_a_namespace_can_be_made_again_at_once():
    reasons = [cannot_shape() for _ in range(4)]
    assert len(set(reasons)) == 1  # a kernel that allows it once allows it always
    if reasons[0] is not None:
        pytest.skip(f"no network namespace with a token bucket here: {reasons[0]}")


@pytest.fixture(scope="module")
def inside():
    reason = cannot_shape()
    if reason is not None:
        pytest.skip(f"no network namespace with a token bucket here: {reason}")
    with namespace() as prefix:
        shape(1e9)
        yield prefix


@contextmanager
def far(bundle, inside):
    """A server in the namespace; yields its process and port."""
    command = [*inside, sys.executable, "-m", "edge.cli", "serve", str(bundle.path), "--listen", f"{THERE}:0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield json.loads(process.stdout.readline())["port"]
        finally:
            process.kill()


def test_the_token_bucket_holds_a_stream_to_its_rate(bundle, inside, on_time, without):
    """Frames one after another; the other direction carries less, so that its bucket is never empty."""
    rate, frames = 100e3, 60
    with far(bundle, inside) as port:
        shape(rate)
        client, tail = Client(ends_of(bundle, local=False), THERE, port, deadline_s=30), bundle.parts[1]
        client.infer(tail.inputs[0])
        begin = time.monotonic()
        sent = sum(client.infer(tail.inputs[k % len(tail.inputs)]).sent_bytes + HEADERS for k in range(frames))
        took = time.monotonic() - begin
        client.close()
    expected = Link(rate, 0.0).transfer_s(sent - BURST_BYTES)
    assert (1 - BOUND) * expected < took < (1 + BOUND) * (expected + frames * without(bundle))


def test_a_cable_that_is_pulled_out_loses_no_frame(bundle, inside):
    tail = bundle.parts[1]
    with far(bundle, inside) as port:
        shape(10e6)
        client, by = Client(ends_of(bundle), THERE, port, deadline_s=20.0), []

        def ask(count):
            for number in range(count):
                outcome = client.infer(tail.inputs[number % len(tail.inputs)])
                np.testing.assert_array_equal(outcome.codes, tail.outputs[number % len(tail.inputs)])
                by.append(outcome.answered_by)

        ask(5)
        client.deadline_s = 0.3
        plug(inserted=False)
        ask(4)
        plug(inserted=True)
        client.deadline_s = 20.0
        wait_until(lambda: (ask(1), by[-1] == "server")[1], 60)
        client.close()
    assert by[:9] == ["server"] * 5 + ["local"] * 4 and by[-1] == "server"


def test_the_c_head_under_qemu_falls_back_on_a_slow_link_and_not_on_a_fast_one(bundle, tmp_path):
    reason = missing("aarch64")
    if reason is not None:
        pytest.skip(reason)
    command = built(tmp_path, bundle.path, "aarch64")
    frames = bundle.parts[0].inputs[:4]
    with served(bundle.path) as server:
        for link, deadline, by in ((Link(10e6, 0.02), "30000", "server"), (Link(5e3, 0.02), "150", "local")):
            with relayed(server.port, link) as port:
                lines, codes = answers(command, bundle, port, frames_of(frames), tmp_path, "-d", deadline)
            assert [line.answered_by for line in lines] == [by] * 4
            np.testing.assert_array_equal(codes, bundle.parts[1].outputs[:4])


def test_the_table_shows_where_split_is_best():
    costs = Costs(1.0, 0.4, 0.01, 0.02, 40_000, 4_000, answer_bytes=1_000)
    rows = []
    for rate in (0.03e6, 0.3e6, 5e6):
        link = Link(rate, 0.05)
        for way in ("split", "remote"):
            found = seconds(costs, link)[way]
            rows.append(
                {"emulator": "relay", "way": way, "rate_bit_s": rate, "round_trip_s": 0.05, "frames": 3,
                 "measured_s": 1.01 * found, "least_s": found, "most_s": found, "model_s": found, "error": 0.01,
                 "link_error": 0.02}
            )  # fmt: skip
    rows[-1]["error"] = 0.2
    cells = by_cell(rows)
    best = [measured_best(cell, costs) for cell in cells.values()]
    assert best == ["local", "split", "remote"] == [best_way(costs, Link(rate, 0.05)) for _, rate, _ in cells]
    fields = {name: getattr(costs, name) for name in Costs.__dataclass_fields__}
    record = {"instructions": [1, 2], "clock_hz": 1e6, "board": "b", "labels": 3, "costs": fields, "results": rows}
    about = {"about": "a net", "mac_share": 0.3, "emulators": "token bucket,relay"}
    text = table({**record, "no_token_bucket": "no tc", "priority": False, **about})
    limits = break_even(costs, 0.05)
    assert "6 cells, 1 more than 15%" in text and "No token bucket here: no tc" in text
    assert f"from {limits.split_from / 1e6:.3f} to {limits.split_to / 1e6:.3f} Mbit/s" in text
    assert "split is best at the measured rates 0.3 to 0.3 Mbit/s" in text
