"""Random networks with random folds as streaming cores; `benchmarks/fpga_parity.py` runs many more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.fpga_batch import Simulated, simulate, wrong
from benchmarks.fpga_parity import random_case
from benchmarks.growth import labels
from tests.stream_cores import needs_verilator

FAST = (4, 6, 14, 18, 19, 23)
SLOW = (0, 1, 2, 5, 11, 13, 16, 21, 22, 28)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Simulated]:
    return _simulated(FAST, tmp_path_factory.mktemp("fast"), fast=True)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Simulated]:
    return _simulated(SLOW, tmp_path_factory.mktemp("slow"), fast=False)


def _simulated(seeds: tuple[int, ...], folder: Path, fast: bool) -> dict[int, Simulated]:
    return dict(zip(seeds, simulate([random_case(seed) for seed in seeds], folder, fast=fast), strict=True))


@needs_verilator
@pytest.mark.parametrize("seed", FAST)
def test_random_network_is_bit_and_clock_exact(seed: int, simulated: dict[int, Simulated]) -> None:
    _check(simulated[seed])


@needs_verilator
@pytest.mark.slow
@pytest.mark.parametrize("seed", SLOW)
def test_more_random_networks_are_bit_and_clock_exact(seed: int, many: dict[int, Simulated]) -> None:
    _check(many[seed])


def _check(one: Simulated) -> None:
    assert wrong(one) == ""
    graph, codes = one.case.graph, one.codes["plain"]
    assert len(one.case.codes) >= 6 and len({frame.tobytes() for frame in codes}) > 1
    assert len(labels(graph.quant(graph.output).format, np.asarray(codes))) > 1
