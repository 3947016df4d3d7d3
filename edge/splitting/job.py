"""What a search for the best cut is asked: networks, link, both machines, formats, data, and how long to measure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from devices.board import Board
from devices.inventory import RemoteBoard
from edge.dataset import Dataset
from edge.errors import EdgeError
from edge.link.model import Link
from quant import graph_file
from quant.formats import Format
from quant.graph import Graph


@dataclass(frozen=True, eq=False)
class Network:
    """A quantised network under the name that tables show."""

    name: str
    graph: Graph

    @property
    def digest(self) -> str:
        """SHA-256 of the graph's file."""
        return digest_of(self.graph)


@dataclass(frozen=True, slots=True)
class Measuring:
    """How long costs are measured: windows of latencies, their length, and the warm-up before them, in seconds."""

    windows: int = 5
    window_s: float = 0.1
    warmup_s: float = 0.1


@dataclass(frozen=True, eq=False)
class SplitJob:
    """One search.

    Attributes:
        networks: the ones that are cut; the same network with other bottlenecks, say.
        whole: the one that runs undivided, here (local) or there (remote).
        dataset: training images choose the ranges of the link, test images give the accuracy.
        link: rate and round trip.
        device, server: boards.
        formats: of the link.
        channels: only cuts of so many channels; empty: any.
        tensors: only these cuts; empty: any.
        every: keep cuts, too, that send more than the input in every format.
        images: how many test images; calibration: how many training images; seed: which ones.
        input_bytes: what a device sends that runs nothing; None: the codes of the input, packed.
        mips: million instructions per second of a device that counts instructions; None: what `clocks` says.
        measuring: how long.
    """

    networks: tuple[Network, ...]
    whole: Network
    dataset: Dataset
    link: Link
    device: Board | RemoteBoard
    server: Board | RemoteBoard
    formats: tuple[Format, ...]
    channels: tuple[int, ...] = ()
    tensors: tuple[str, ...] = ()
    every: bool = False
    images: int = 1000
    calibration: int = 128
    seed: int = 0
    input_bytes: int | None = None
    mips: float | None = None
    measuring: Measuring = Measuring()

    def __post_init__(self) -> None:
        """Refuse what could not be told apart, and networks of other inputs."""
        names = [network.name for network in self.networks]
        if len(set(names)) < len(names):
            raise EdgeError(f"two models are called the same: {', '.join(names)}. Give files of different names.")
        shapes = {network.graph.shape(network.graph.input) for network in (*self.networks, self.whole)}
        if len(shapes) > 1:
            raise EdgeError(f"the models take inputs of different shapes: {', '.join(map(str, sorted(shapes)))}.")


def digest_of(graph: Graph) -> str:
    """Return the SHA-256 of a graph as it would be saved."""
    return hashlib.sha256(graph_file.to_bytes(graph)).hexdigest()


def bare(board: Board | RemoteBoard) -> Board:
    """Return what a board is, wherever it stands."""
    return board.board if isinstance(board, RemoteBoard) else board
