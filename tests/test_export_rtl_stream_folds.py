"""One convolution folded in many ways, for every family: products made as a style says, in the clocks it states."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.fpga_batch import Case, Simulated, simulate, wrong
from export.rtl.stream.device import LATTICE_ECP5, LATTICE_ICE40, XILINX
from export.rtl.stream.folds import Fold
from quant.formats import E4M3, INT8, find_format
from quant.graph import Graph
from tests.stream_cores import FRAMES, check, needs_verilator
from tests.stream_nets import one_beat, single_conv
from tests.toys import random_codes

INT4, E2M1 = find_format("int4"), find_format("e2m1")
#: Activations, weights, fold, family, lanes of the input.
FOLDS = (
    (INT8, INT8, Fold(8, 8, "dsp_pair"), XILINX, 8),
    (INT8, INT8, Fold(2, 4, "dsp"), LATTICE_ECP5, 4),
    (INT8, INT8, Fold(1, 8, "dsp_pair"), XILINX, 2),
    (INT8, INT8, Fold(4, 1, "dsp"), LATTICE_ICE40, 1),
    (INT8, E2M1, Fold(4, 8, "lut"), XILINX, 8),
    (E4M3, E4M3, Fold(2, 2, "dsp"), LATTICE_ECP5, 1),
    (INT4, INT4, Fold(8, 1, "lut"), LATTICE_ICE40, 2),
)


def _title(index: int) -> str:
    act, weight, fold, device, _ = FOLDS[index]
    return f"{weight.name}-{act.name}-{fold.pe}x{fold.simd}-{fold.style}-{device.family}"


def _case(index: int) -> Case:
    act, weight, fold, device, lanes = FOLDS[index]
    graph: Graph = single_conv(act, weight)
    return Case(graph, random_codes(graph, FRAMES), {"n0": fold, "n1": Fold(fold.pe)}, lanes, device)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> list[Simulated]:
    return simulate([_case(index) for index in range(len(FOLDS))], tmp_path_factory.mktemp("folds"), fast=False)


@needs_verilator
@pytest.mark.parametrize("index", range(len(FOLDS)), ids=_title)
def test_fold_is_bit_and_clock_exact(index: int, simulated: list[Simulated]) -> None:
    check(simulated[index])


@needs_verilator
def test_many_frames_are_under_way_at_once(tmp_path: Path) -> None:
    graph = one_beat()
    one = simulate([Case(graph, random_codes(graph, 100), {"n0": Fold(1, 4)}, 4)], tmp_path)[0]
    found = wrong(one)
    assert found == "", found
    assert one.latency > 6 * one.interval
    assert len(set(one.codes["plain"].reshape(-1).tolist())) > 10


@needs_verilator
def test_a_fold_makes_a_core_as_fast_as_it_says(simulated: list[Simulated]) -> None:
    steps = 8 * 8 * 3 * 2 * 5 * 4
    for index, one in enumerate(simulated):
        fold, lanes = FOLDS[index][2], FOLDS[index][4]
        assert one.interval == max(steps // (fold.pe * fold.simd), 8 * 5 * 4 // min(lanes, fold.simd))
