"""The link model: times as written, and break-even rates that a sweep over rates finds, too."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.errors import EdgeError
from edge.link.model import Costs, Link, best_way, break_even, parse_link, seconds

#: A slow device, a fast server, a cut that is smaller than the input.
TYPICAL = Costs(device_s=0.2, head_s=0.03, tail_s=0.002, server_s=0.005, input_bytes=20_000, cut_bytes=2_000)


@pytest.mark.parametrize(
    ("text", "rate", "trip"),
    [("4mbit,20ms", 4e6, 0.02), ("250kbit", 250e3, 0.0), ("1.5gbit, 1s", 1.5e9, 1.0), ("9600bit,0ms", 9600, 0.0)],
)
def test_links_are_read(text, rate, trip):
    assert parse_link(text) == Link(rate, trip)


@pytest.mark.parametrize("text", ["", "4", "4mb,20ms", "mbit", "4mbit,20", "-1mbit", "4mbit,20ms,3", "0mbit"])
def test_what_is_no_link_is_refused(text):
    with pytest.raises(EdgeError):
        parse_link(text)


def test_times_are_as_written():
    found = seconds(TYPICAL, Link(1e6, 0.01))
    assert found["local"] == 0.2
    assert found["split"] == pytest.approx(0.03 + 16_000 / 1e6 + 0.01 + 0.002)
    assert found["remote"] == pytest.approx(160_000 / 1e6 + 0.01 + 0.005)


def test_an_answer_takes_the_link_as_well():
    costs, link = replace(TYPICAL, answer_bytes=1_000), Link(1e6, 0.01)
    assert link.transfer_s(2_000, 1_000) == pytest.approx(24_000 / 1e6 + 0.01)
    for way, more in (("local", 0.0), ("split", 8_000 / 1e6), ("remote", 8_000 / 1e6)):
        assert seconds(costs, link)[way] - seconds(TYPICAL, link)[way] == pytest.approx(more)
    assert break_even(costs, 0.01).local_below > break_even(TYPICAL, 0.01).local_below


def test_a_filter_spares_the_link():
    half = Costs(**{**{f: getattr(TYPICAL, f) for f in TYPICAL.__dataclass_fields__}, "passed": 0.5})
    link = Link(1e5, 0.02)
    spared = seconds(TYPICAL, link)["split"] - seconds(half, link)["split"]
    assert spared == pytest.approx(0.5 * (link.transfer_s(2_000) + 0.002))


def test_split_is_best_between_two_rates():
    found = break_even(TYPICAL, 0.01)
    assert found.split_from == found.local_below and found.split_to == found.remote_above
    assert best_way(TYPICAL, Link(found.split_from * 0.99, 0.01)) == "local"
    assert best_way(TYPICAL, Link(found.split_from * 1.01, 0.01)) == "split"
    assert best_way(TYPICAL, Link(found.split_to * 0.99, 0.01)) == "split"
    assert best_way(TYPICAL, Link(found.split_to * 1.01, 0.01)) == "remote"


@given(
    st.floats(0.001, 1), st.floats(0.0001, 1), st.floats(0.0001, 0.5), st.floats(0.0001, 0.5),
    st.integers(10, 100_000), st.integers(10, 100_000), st.floats(0, 0.2), st.floats(0.01, 1), st.integers(0, 5_000),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_the_interval_is_where_a_sweep_finds_it(device, head, tail, server, given_bytes, cut_bytes, trip, passed, back):
    costs = Costs(device, head, tail, server, given_bytes, cut_bytes, passed, back)
    found = break_even(costs, trip)
    for rate in np.geomspace(1e2, 1e10, 120):
        times = seconds(costs, Link(float(rate), trip))
        split, others = times["split"], min(times["local"], times["remote"])
        if math.isclose(split, others, rel_tol=1e-6):
            continue
        inside = found.split_from is not None and found.split_from < rate < found.split_to
        assert (split < others) == inside


def test_a_head_as_slow_as_the_network_never_pays():
    costs = Costs(device_s=0.1, head_s=0.2, tail_s=0.01, server_s=0.01, input_bytes=100, cut_bytes=1000)
    assert break_even(costs, 0.0).split_from is None
