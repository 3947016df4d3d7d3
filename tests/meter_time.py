"""Time for meters in tests: a clock that moves only when somebody waits or asks, and a pause that never sleeps."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from devices.meters.sampler import Timing

#: No test waits longer for a thread, in seconds.
PATIENCE_S = 60.0


@dataclass
class FakeTime:
    """A clock in ns. After `samples` pauses nothing more is sampled, and `full` is set."""

    samples: int = 300
    now_ns: int = 1_000_000_000
    taken: int = 0
    full: threading.Event = field(default_factory=threading.Event)

    def clock(self) -> int:
        """A microsecond passes with every look at the clock."""
        self.now_ns += 1_000
        return self.now_ns

    def pause(self, stop: threading.Event, seconds: float) -> bool:
        """Let time pass at once; rest until the end when there are enough samples."""
        self.now_ns += round(seconds * 1e9)
        self.taken += 1
        if self.taken > self.samples:
            self.full.set()
            return stop.wait(PATIENCE_S)
        return stop.is_set()

    @property
    def timing(self) -> Timing:
        """The same for the sampler."""
        return Timing(self.clock, self.pause)

    def wait(self) -> None:
        """Wait for all samples."""
        assert self.full.wait(PATIENCE_S)
