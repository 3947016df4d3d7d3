"""Streaming cores in many number formats: with the gates that are synthesised and with a simulator's products."""

from __future__ import annotations

import pytest

from benchmarks.fpga_batch import Simulated, simulate
from export.rtl.stream.device import FAMILIES
from quant.formats import find_format
from tests.rtl_graphs import mixed_net, residual_net
from tests.stream_cores import check, folded, needs_verilator

#: Activations, weights, zero point.
FAST = (("int8", "int8", 12), ("int4", "int4", 3), ("e4m3", "e4m3", 0), ("int8", "e2m1", -9), ("uint8", "int8", 128))
GATES = (("int8", "int8", -7), ("int8", "e2m1", 5), ("e4m3", "e4m3", 0))
SLOW = (
    ("int16", "int8", -1000),
    ("e5m2", "e2m1", 0),
    ("e4m3fn", "e4m3fn", 0),
    ("e5m2ocp", "e2m1", 0),
    ("int3", "int2", 0),
    ("e3m0", "e1m2", 0),
    ("uint5", "e3m2", 9),
    ("e4m3", "int8", 0),
    ("int12", "int16", 0),
)
MIXED = (("int8", "e4m3", ("int8", "e4m3")), ("e2m3", "e3m4", ("e2m1", "int4")))


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, int], Simulated]:
    return _residual(FAST, tmp_path_factory.mktemp("fast"), fast=True)


@pytest.fixture(scope="module")
def gates(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, int], Simulated]:
    return _residual(GATES, tmp_path_factory.mktemp("gates"), fast=False)


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str, int], Simulated]:
    return _residual(SLOW, tmp_path_factory.mktemp("slow"), fast=False)


def _residual(formats, folder, fast):
    cases = [
        folded(residual_net(find_format(act), find_format(weight), zero), 20 + seed, FAMILIES[seed % 3])
        for seed, (act, weight, zero) in enumerate(formats)
    ]
    return dict(zip(formats, simulate(cases, folder, fast=fast), strict=True))


@needs_verilator
@pytest.mark.parametrize("formats", FAST)
def test_format_is_bit_and_clock_exact(formats, fast) -> None:
    check(fast[formats])


@needs_verilator
@pytest.mark.parametrize("formats", GATES)
def test_gates_are_bit_and_clock_exact(formats, gates) -> None:
    check(gates[formats])


@needs_verilator
@pytest.mark.slow
@pytest.mark.parametrize("formats", SLOW)
def test_gates_of_other_formats_are_bit_and_clock_exact(formats, slow) -> None:
    check(slow[formats])


@needs_verilator
@pytest.mark.slow
def test_several_formats_in_one_core(tmp_path) -> None:
    cases = []
    for seed, (first, second, weights) in enumerate(MIXED):
        pair = (find_format(weights[0]), find_format(weights[1]))
        cases.append(folded(mixed_net(find_format(first), find_format(second), pair), seed))
    for simulated in simulate(cases, tmp_path, fast=False):
        check(simulated, labels=False)
