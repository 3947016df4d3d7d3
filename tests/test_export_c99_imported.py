"""Networks quantised by Google's tools, as generated C on one CPU of each instruction set: every tensor bit-exact."""

from __future__ import annotations

import pytest

from benchmarks.batch import run_batch
from benchmarks.cpus import CPUS, reason_not_to_run
from benchmarks.parity_nets import imported
from devices.emulators.machine import Machine
from tests.networks import DATA

NAMES = ("host", "mps2-an385", "mps2-an386", "mps3-an547", "qemu-aarch64", "qemu-aarch64-a76")


@pytest.mark.slow
@pytest.mark.parametrize("machine", [m for m in CPUS if m.name in NAMES], ids=lambda machine: machine.name)
def test_imported_networks_are_bit_exact(machine: Machine) -> None:
    reason = reason_not_to_run(machine)
    if reason:
        pytest.skip(reason)
    if not DATA.is_dir():
        pytest.skip("the .tflite files of MLPerf Tiny and Coral are not here")
    verdicts = [verdict for case in imported(DATA) for verdict in run_batch(machine, [case])]
    assert [verdict.wrong for verdict in verdicts] == ["", ""]
    assert min(verdict.codes for verdict in verdicts) > 100_000
