"""The null device: it ships with the product, computes nothing real and says so; everything about it is repeatable.

Commands and pipelines can be tried on it, and tested, without a runtime. Its clock is its own: an inference takes
1 ns per multiply-accumulate and up to 1 % more, in a fixed pattern.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from export.runtimes.session import Runtime
from quant.formats import Array
from quant.graph import Graph, macs

SOURCE = "made up by the null board: no device was involved"
#: Every inference costs at least this, so that a graph without a convolution takes time too.
BASE_NS = 1000


@dataclass(slots=True)
class NullClock:
    """A clock that only the null session moves."""

    now_ns: int = 0

    def read_ns(self) -> int:
        """Return the time in nanoseconds since the session was opened."""
        return self.now_ns


@dataclass(frozen=True, eq=False)
class NullSession:
    """A session that answers with codes derived from the input, not from the network."""

    graph: Graph
    clock: NullClock = field(default_factory=NullClock)

    def run(self, codes: Array) -> Array:
        """Return codes that depend on the input in a fixed way and mean nothing, [N, ...]."""
        fmt, shape = self.graph.quant(self.graph.output).format, self.graph.shape(self.graph.output)[1:]
        weights = np.arange(1, codes[0].size + 1, dtype=np.int64)
        sums = codes.reshape(len(codes), -1).astype(np.int64) @ weights
        spread = sums[:, None] * 31 + np.arange(int(np.prod(shape)), dtype=np.int64) * 17
        span = fmt.max_ordinal - fmt.min_ordinal + 1
        return fmt.from_ordinals(spread % span + fmt.min_ordinal).reshape(len(codes), *shape)

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Return the output only: there are no other tensors."""
        return {self.graph.output: self.run(codes)}

    def timed(self, codes: Array) -> Callable[[], None]:
        """Return a function that moves the clock by one made-up inference."""
        base, clock = BASE_NS + sum(macs(self.graph).values()), self.clock

        def infer() -> None:
            clock.now_ns += base + base * (clock.now_ns // base * 7919 % 97) // 9700

        return infer

    def close(self) -> None:
        """Nothing to free."""


def open_session(folder: Path, name: str, graph: Graph) -> NullSession:
    """Open any part; its files are not read."""
    return NullSession(graph)


#: Not in `devices.runtimes.RUNTIMES`: nothing may be verified with it.
RUNTIME = Runtime(name="null", target="any", exact=False, missing=lambda: None, open=open_session)
