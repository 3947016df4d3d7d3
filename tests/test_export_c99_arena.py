"""The memory plan: nothing that is alive at the same time overlaps, and the arena is near its lower bound."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from export.c99.arena import ALIGNMENT_BYTES, Buffer, busiest_bytes, plan

lives = st.lists(st.tuples(st.integers(1, 200), st.integers(0, 9), st.integers(0, 5)), max_size=12)


def buffers_of(drawn: list[tuple[int, int, int]]) -> list[Buffer]:
    return [Buffer(f"b{i}", size, first, first + extra) for i, (size, first, extra) in enumerate(drawn)]


@settings(max_examples=200, deadline=None, derandomize=True)
@given(lives)
def test_no_two_living_buffers_overlap(drawn):
    buffers = buffers_of(drawn)
    made = plan(buffers)
    for number, a in enumerate(buffers):
        assert made.offsets[a.name] % ALIGNMENT_BYTES == 0
        assert made.offsets[a.name] + a.size_bytes <= made.arena_bytes
        for b in buffers[:number]:
            apart = a.last < b.first or b.last < a.first
            above = made.offsets[a.name] >= made.offsets[b.name] + b.size_bytes
            below = made.offsets[b.name] >= made.offsets[a.name] + a.size_bytes
            assert apart or above or below
    assert made.arena_bytes >= busiest_bytes(buffers)


def test_a_chain_reuses_memory_and_meets_the_lower_bound():
    chain = [Buffer(f"t{i}", 1000 >> (i % 2), i, i + 1) for i in range(12)]
    assert plan(chain).arena_bytes == busiest_bytes(chain) < sum(b.size_bytes for b in chain)


def test_no_buffers_need_no_arena():
    assert plan([]).arena_bytes == 0
