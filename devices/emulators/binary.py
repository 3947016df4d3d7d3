"""The emulated machines as runtimes of binary networks, whose inputs and outputs are float32."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from devices import tools
from devices.emulators.emulated import MACHINES
from devices.emulators.machine import RUN_LIMIT_S, Machine, Runner
from devices.emulators.trial import missing
from export.binary_parity import BinaryRuntime, from_memory, to_memory
from quant.binary_net import BinaryNetwork
from quant.formats import Array


@contextmanager
def runner(machine: Machine, folder: Path, stem: str, limit_s: float = RUN_LIMIT_S) -> Iterator[Runner]:
    """Open the C of a binary network on a machine; inputs are those of `to_memory`.

    Raises:
        DeviceError: a tool is missing.
    """
    tools.require(machine.tools)
    with tempfile.TemporaryDirectory(prefix="edgemill-") as work:
        yield Runner(machine, folder.resolve(), stem, Path(work), limit_s)


def runtime_of(machine: Machine) -> BinaryRuntime:
    """Return a machine as a runtime of the same name."""

    def run(folder: Path, stem: str, network: BinaryNetwork, x: Array) -> Array:
        with runner(machine, folder, stem) as opened:
            lines = [line for found, _ in opened.lines(to_memory(network, x)) for line in found]
        return from_memory(network, b"".join(line.data for line in lines if line.kind == "output"), len(x))

    def pieces(folder: Path, stem: str, network: BinaryNetwork, x: Array) -> Mapping[int, bytes]:
        shown: dict[int, bytearray] = {}
        with runner(machine, folder, stem) as opened:
            for found, _ in opened.lines(to_memory(network, x), tap=True):
                for line in found:
                    if line.kind == "tensor":
                        shown.setdefault(line.index, bytearray()).extend(line.data)
        return {number: bytes(data) for number, data in shown.items()}

    return BinaryRuntime(machine.name, lambda: missing(machine), run, pieces)


RUNTIMES: tuple[BinaryRuntime, ...] = tuple(runtime_of(machine) for machine in MACHINES)
