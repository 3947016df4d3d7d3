"""The relay is the link it was told to be: times of frames over it follow the model, and nothing changes on the way."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pytest

from edge.link.model import Link
from edge.link.relay import start_relay
from edge.serve.client import Client
from edge.serve.tail import open_tail
from tests.serving import ends_of, serving, split_bundle

#: A frame of 128 + 44 bytes takes 17 ms at 80 kbit/s, besides its round trip.
LINKS = (Link(80e3, 0.02), Link(1e6, 0.05))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return split_bundle(tmp_path_factory.mktemp("relay") / "bundle")


@contextmanager
def relayed(running, link):
    """A relay to a running server, in its loop."""
    relay = asyncio.run_coroutine_threadsafe(start_relay("127.0.0.1", running.port, link), running.loop).result(5)
    try:
        yield relay
    finally:
        asyncio.run_coroutine_threadsafe(relay.stop(), running.loop).result(5)


@pytest.mark.parametrize("link", LINKS, ids=["80 kbit, 20 ms", "1 Mbit, 50 ms"])
def test_frames_take_at_least_what_the_model_says_and_arrive_whole(bundle, link):
    ends = ends_of(bundle, local=False)
    with serving(open_tail(bundle.path)) as running, relayed(running, link) as relay:
        client = Client(ends, "127.0.0.1", relay.port, deadline_s=10)
        outcomes = [client.infer(codes) for codes in bundle.parts[1].inputs]
        client.close()
        carried = relay.carried[0]
    np.testing.assert_array_equal(np.stack([o.codes for o in outcomes]), bundle.parts[1].outputs)
    assert carried == sum(o.sent_bytes for o in outcomes)
    answer_s = ends.answer.packet_bytes * 8 / link.rate_bit_s
    # The first frame makes the connection. No upper bound here: a loaded machine is no slow link.
    assert min(o.latency_s for o in outcomes[1:]) >= link.transfer_s(outcomes[0].sent_bytes) + answer_s - 1e-3


def test_a_slower_link_is_slower(bundle):
    medians = []
    with serving(open_tail(bundle.path)) as running:
        for link in (Link(1e6, 0.02), Link(40e3, 0.02)):
            with relayed(running, link) as relay:
                client = Client(ends_of(bundle, local=False), "127.0.0.1", relay.port, deadline_s=10)
                medians.append(statistics.median(client.infer(c).latency_s for c in bundle.parts[1].inputs[:5]))
                client.close()
    assert medians[1] > medians[0]


def test_the_command_says_how_it_is_used():
    command = [sys.executable, "-m", "edge.link.relay", "1", "x"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 2 and "4mbit,20ms" in done.stderr
