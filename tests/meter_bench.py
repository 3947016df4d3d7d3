"""What the benches of all meters share: a meter at work, and a reading that moves until it fails."""

from __future__ import annotations

import errno
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from devices.meters.meter import Meter

SAMPLES = 300
DENIED = PermissionError(errno.EACCES, "Permission denied")
MISSING = FileNotFoundError(errno.ENOENT, "No such file or directory")
BROKEN = OSError(errno.EIO, "Input/output error")


@dataclass
class Bench:
    """A meter, what happens while it records, and the clock of its trace; None: the file's own."""

    meter: Meter
    work: Callable[[], None]
    clock: Callable[[], int] | None


@dataclass
class Reading:
    """A value that moves, and after `good` readings does what the fault says."""

    fault: str | None
    good: int
    failure: Mapping[str, Exception] = field(default_factory=dict)
    count: int = 0
    last: float = 0.0

    def next(self, base: float, rises: float = 0.0) -> float:
        """Return the next value, or raise what the fault raises."""
        self.count += 1
        broken = self.fault is not None and self.count > self.good
        if broken and self.fault in self.failure:
            raise self.failure[str(self.fault)]
        if broken and self.fault == "nan":
            return math.nan
        if not (broken and self.fault == "stale" and self.last):
            self.last = base * (1 + self.count % 7 / 100) + rises * self.count
        return self.last
