"""The visible list of targets. A new target is one file with a `TARGET` and one word here."""

from __future__ import annotations

from export import arm_a, arm_m, ethos_u, fpga, host, jetson
from export.errors import ExportError
from export.target import Target
from quant.names import find

TARGETS: tuple[Target, ...] = (host.TARGET, *jetson.TARGETS, arm_a.TARGET, arm_m.TARGET, ethos_u.TARGET, fpga.TARGET)


def find_target(name: str) -> Target:
    """Return the target called `name`, or raise ExportError with the nearest known name."""
    return find(name, TARGETS, "target", ExportError)
