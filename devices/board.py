"""What a board is: data about one real or emulated device and what can be measured on it."""

from __future__ import annotations

from dataclasses import dataclass

from devices.tools import Tool

#: What a measurement can hold. A board lists the ones it gives; every other one gets a reason.
METRICS = ("latency", "instructions", "cycles", "energy", "arena", "flash", "code", "ram", "stack")

#: Those that say what an inference takes of a device's memories, in bytes.
MEMORIES = ("arena", "flash", "code", "ram", "stack")

#: How a plan gets to a board: a worker process here, one of the emulators, a compiler's estimate, synthesis,
#: a made-up device; `ssh` and `shell` for boards of the inventory, by SSH or in this machine's shell; trtexec where
#: this machine is a Jetson; MLPerf Tiny's protocol on a serial line.
TRANSPORTS = (
    "local",
    "qemu-user",
    "qemu-system",
    "qemu-root",
    "verilator",
    "estimate",
    "synthesis",
    "null",
    "ssh",
    "shell",
    "trtexec",
    "serial",
)


@dataclass(frozen=True, slots=True)
class Board:
    """One device.

    Attributes:
        name: what a person types.
        summary: one line for lists.
        target: the target whose bundles it runs; None takes those of any target.
        transport: one of TRANSPORTS.
        runtime: the runtime that executes a part, by name.
        cpu: the core that executes, or None when it is this machine's.
        method: `measured`, `simulated` or `synthesised`; goes with every figure.
        metrics: what it gives, from METRICS.
        absent: why it does not give the others, where the reason is the board's own.
        packages: distributions whose versions are recorded with a measurement.
        tools: commands whose versions are recorded with a measurement.
        uri: where it answers, for boards whose transport needs no more than that.
    """

    name: str
    summary: str
    target: str | None
    transport: str
    runtime: str
    cpu: str | None
    method: str
    metrics: tuple[str, ...]
    absent: tuple[tuple[str, str], ...] = ()
    packages: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    uri: str | None = None

    def takes(self, target: str) -> bool:
        """Whether the board runs bundles of a target."""
        return self.target is None or self.target == target
