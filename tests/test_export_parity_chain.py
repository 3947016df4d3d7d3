"""Parity of head and tail: each alone, and as a chain that hands its codes on."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from export.bundle import write_bundle
from export.bundle_read import Bundle
from export.errors import ExportError
from export.parity import STATUSES, Parity, certificate, check_bundle
from export.runtimes.session import Runtime
from quant.formats import Array
from tests.bundles import plain_target, toy_spec
from tests.faulty import Plain, runtime_of


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Bundle:
    """The toy network as head and tail."""
    return write_bundle(tmp_path_factory.mktemp("parity") / "split", toy_spec(split=True), plain_target())


def test_head_and_tail_are_checked_alone_and_as_a_chain(split):
    results = check_bundle(split, [runtime_of(Plain)])
    assert [(r.part, r.status) for r in results] == [
        ("head", "bit-exact"),
        ("tail", "bit-exact"),
        ("head+tail", "bit-exact"),
    ]
    assert all(r.labels > 1 for r in results)


@pytest.mark.parametrize(("spoil", "wrong"), [("x", {"head", "head+tail"}), ("c", {"tail", "head+tail"})])
def test_a_wrong_half_makes_a_wrong_chain(split, spoil, wrong):
    results = check_bundle(split, [runtime_of(lambda graph: Plain(graph, spoil))])
    assert {r.part for r in results if r.status == "wrong"} == wrong


def test_a_runtime_with_its_own_rounding_is_not_chained(split):
    assert [r.part for r in check_bundle(split, [runtime_of(Plain, exact=False)])] == ["head", "tail"]


def test_a_missing_runtime_is_said_for_every_part_and_the_chain(split):
    absent = Runtime("absent", "plain", True, lambda: "not installed", lambda _f, _n, graph: Plain(graph))
    assert [(r.part, r.status, r.reason) for r in check_bundle(split, [absent])] == [
        (name, "not run", "not installed") for name in ("head", "tail", "head+tail")
    ]


def test_a_chain_that_stops_is_wrong(split):
    class Stopping(Plain):
        def run(self, codes: Array) -> Array:
            """Refuse the tail's codes."""
            if self.graph.input == "c":
                raise ExportError("out of memory")
            return super().run(codes)

    results = check_bundle(split, [runtime_of(Stopping)])
    assert [r.status for r in results] == ["bit-exact", "wrong", "wrong"]


def every(split: Bundle) -> Iterator[Parity]:
    """Results of several statuses."""
    yield from check_bundle(split, [runtime_of(Plain)])
    yield from check_bundle(split, [runtime_of(lambda graph: Plain(graph, "x"))])


def test_certificates_hold_every_field_and_known_statuses(split):
    record = certificate(list(every(split)))["results"]
    assert isinstance(record, list)
    assert {item["status"] for item in record} <= set(STATUSES)
    assert any(item["first"] for item in record)
    assert set(record[0]) == set(Parity.__dataclass_fields__)
