"""How a written part is executed: `Runtime` is data about one way to execute, `Session` one opened part."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from quant.formats import Array, IntArray
from quant.graph import Graph

if TYPE_CHECKING:
    from export.bundle_read import Bundle


class Session(Protocol):
    """One opened part. Codes go in and come out in graph layout (NCHW) and in the graph's formats, [N, ...]."""

    def run(self, codes: Array) -> Array:
        """Return the output codes of a batch."""

    def tensors(self, codes: Array) -> dict[str, Array]:
        """Return the codes of every graph tensor this runtime can show for a batch, by tensor name."""

    def timed(self, codes: Array) -> Callable[[], None]:
        """Return a function that runs one inference of `codes[:1]`: a ready input is passed in, its output copied out.

        Which type the input has, and whether its quantisation is part of the inference, is the runtime's own; its
        docstring says so.
        """

    def close(self) -> None:
        """Free what the session holds."""


@dataclass(frozen=True, slots=True, eq=False)
class StreamOut:
    """What one stream out of a part carried for a batch: codes of a tensor [N, ...], or labels [N] made of them."""

    port: str
    tensor: str
    labels: bool
    values: Array


@runtime_checkable
class Streaming(Protocol):
    """A session of a part that may have more outputs than the codes of its graph's output."""

    def beyond(self, codes: Array) -> tuple[StreamOut, ...]:
        """Return what every stream carried for a batch; () where `run` shows all there is."""


@dataclass(frozen=True, eq=False)
class Told:
    """What a bundle with rules answered for N inputs: index of the part and of the label, int64 [N]; -1: dropped."""

    part: IntArray
    label: IntArray


@dataclass(frozen=True, slots=True)
class Runtime:
    """One way to execute the parts of a target on this machine.

    `exact` says that the runtime must give the reference's very codes; otherwise outputs may differ, and how far is
    reported. `missing()` is None when the runtime works here (it really opens something; an import check is not
    enough), else the reason and how to get it. `open(folder, name, graph)` opens the part `name` in `folder`.
    `joint(bundle, codes)` runs the parts of a bundle with rules as one program that decides by itself; None where the
    target has none.
    """

    name: str
    target: str
    exact: bool
    missing: Callable[[], str | None]
    open: Callable[[Path, str, Graph], Session]
    joint: Callable[[Bundle, Array], Told] | None = None
