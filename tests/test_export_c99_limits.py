"""What the generated C may cost: instructions per MAC, code and working memory, counted on emulated cores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.arm_networks import pointwise
from benchmarks.arm_table import LIMITS
from devices.emulators.emulated import MACHINES
from devices.emulators.machine import Machine, open_part
from devices.emulators.trial import cannot_count, missing
from export import arm_a, arm_m
from export.runtimes.tflm import TFLITE_MICRO
from export.runtimes.tflm_arena import measure_arena
from export.target import Source
from quant.graph import Graph, macs
from quant.program import lower
from quant.reference import fast_dot, quantise_input, run
from tests.networks import network

CORES = {
    "M3": "mps2-an385",
    "M4": "mps2-an386",
    "M7": "mps2-an500",
    "M55": "mps3-an547",
    "A72": "qemu-aarch64",
    "A76": "qemu-aarch64-a76",
}


def machine_of(core: str) -> Machine:
    """Return a machine that counts, or skip with the reason."""
    machine = next(machine for machine in MACHINES if machine.name == CORES[core])
    reason = missing(machine) or cannot_count(machine)
    if reason is not None:
        pytest.skip(reason)
    return machine


def cost(machine: Machine, graph: Graph, codes: np.ndarray, folder: Path) -> tuple[float, int]:
    """Return instructions per MAC and bytes of code; the outputs must be the reference's."""
    expected = run(lower(graph), codes, fast_dot)[graph.output]
    facts = arm_m.TARGET.write(Source("net", graph, codes, expected), folder)
    session = open_part(machine, folder, "net", graph)
    made, counts, footprint = session.run(codes), session.instructions(codes[:1]), session.footprint()
    session.close()
    assert np.array_equal(made, expected)
    assert len(np.unique(made)) > 5
    return counts[0] / sum(macs(graph).values()), footprint.flash_bytes - int(str(facts["weight_bytes"]))


@pytest.mark.parametrize("core", LIMITS["pointwise"])
def test_the_pointwise_layer(tmp_path, core):
    machine, case = machine_of(core), pointwise()
    assert cost(machine, case.graph, case.codes, tmp_path)[0] <= LIMITS["pointwise"][core]


@pytest.mark.parametrize(("name", "limit"), [("resnet8", LIMITS["ResNet-8"]["M4"]), ("kws", LIMITS["DS-CNN"]["M4"])])
def test_whole_networks_on_a_cortex_m4(tmp_path, name, limit):
    machine, net = machine_of("M4"), network(name, count=2)
    codes = quantise_input(net.graph.quant(net.graph.input), net.inputs)
    per_mac, code_bytes = cost(machine, net.graph, codes, tmp_path)
    assert per_mac <= limit
    assert code_bytes < 24 * 1024


@pytest.mark.parametrize("name", ["resnet8", "kws"])
def test_working_memory_is_no_more_than_tflite_micro_takes(tmp_path, name):
    reason = TFLITE_MICRO.missing()
    if reason is not None:
        pytest.skip(reason)
    net = network(name, count=2)
    codes = quantise_input(net.graph.quant(net.graph.input), net.inputs)
    source = Source("net", net.graph, codes, run(lower(net.graph), codes, fast_dot)[net.graph.output])
    facts = arm_m.TARGET.write(source, tmp_path)
    arm_a.TARGET.write(source, tmp_path)
    arena = measure_arena(tmp_path, "net", net.graph)
    assert int(str(facts["arena_bytes"])) <= arena.total_bytes
    assert int(str(facts["arena_bytes"])) <= 1.02 * int(str(facts["busiest_bytes"]))
