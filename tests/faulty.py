"""Runtimes for tests of parity: the reference itself, but for what a test lets it do wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from export.parity import reference_tensors
from export.runtimes.session import Runtime, Session
from quant.formats import Array
from quant.graph import Graph
from tests.bundles import head_and_tail

Change = Callable[[Array], Array]


def same(codes: Array) -> Array:
    """Change nothing."""
    return codes


@dataclass
class Faulty:
    """A session that is the reference, but for what it changes behind the first layer and at the output."""

    graph: Graph
    first: Change = same
    last: Change = same
    closed: list[bool] = field(default_factory=list)

    def run(self, codes: Array) -> Array:
        """Return the last tensor."""
        return self.tensors(codes)[self.graph.output]

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Run the first layer, change its codes, run the rest on them."""
        head, tail = head_and_tail(self.graph, 1)
        begun = self.first(reference_tensors(head, codes)[head.output].copy())
        values = reference_tensors(tail, begun)
        return {**values, self.graph.output: self.last(values[self.graph.output].copy())}

    def timed(self, codes: Array) -> Callable[[], None]:
        """Return the whole computation."""

        def once() -> None:
            self.run(codes)

        return once

    def close(self) -> None:
        """Note that it was closed."""
        self.closed.append(True)


def runtime_of(session: Callable[[Graph], Session], *, exact: bool = True) -> Runtime:
    """A runtime that opens such sessions."""
    return Runtime("fake", "plain", exact, lambda: None, lambda _folder, _name, graph: session(graph))


@dataclass
class Plain:
    """The reference of any part; `spoil` changes the outputs of parts with that input tensor."""

    graph: Graph
    spoil: str = ""

    def run(self, codes: Array) -> Array:
        """Return the output codes."""
        codes = reference_tensors(self.graph, codes)[self.graph.output].copy()
        return np.roll(codes, 1, axis=0) if self.graph.input == self.spoil else codes

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Return the output."""
        return {self.graph.output: self.run(codes)}

    def timed(self, codes: Array) -> Callable[[], None]:
        """Return the whole computation."""

        def once() -> None:
            self.run(codes)

        return once

    def close(self) -> None:
        """Nothing to free."""
