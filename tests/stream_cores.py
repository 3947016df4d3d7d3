"""Helpers of the tests of streaming cores: cases with folds, and what must hold of a simulated core."""

from __future__ import annotations

import shutil

import pytest

from benchmarks.fpga_batch import Case, Simulated, wrong
from benchmarks.random_folds import random_folds
from export.rtl.stream.device import XILINX, Device
from export.rtl.stream.schedule import bottleneck
from quant.graph import Graph
from quant.program import lower
from quant.reference import fast_dot, run
from tests.rtl import assert_varied
from tests.toys import random_codes

FRAMES = 6

needs_verilator = pytest.mark.skipif(shutil.which("verilator") is None, reason="verilator is not installed")
needs_icarus = pytest.mark.skipif(shutil.which("iverilog") is None, reason="iverilog is not installed")


def folded(graph: Graph, seed: int, device: Device = XILINX) -> Case:
    """Return a case with random frames, folds and input lanes."""
    folds, lanes = random_folds(lower(graph), device, seed)
    return Case(graph, random_codes(graph, FRAMES), folds, lanes, device)


def check(simulated: Simulated, *, labels: bool = True) -> None:
    """Assert that codes are the reference's with and without waits, that clocks are those the core states.

    And that the slowest place sets the interval.
    """
    case, plan = simulated.case, simulated.core.plan
    assert len(case.codes) >= FRAMES
    found = wrong(simulated)
    assert found == "", found
    assert simulated.core.schedule.interval == bottleneck(plan)
    expected = run(plan.program, case.codes, fast_dot)[plan.program.output]
    assert_varied(expected, plan.program.quant(plan.program.output).format, labels)
