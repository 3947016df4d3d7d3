"""What the command line asks of an FPGA core, as a request to the exporter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from devices.boards import find_board
from devices.boards_fpga import FPGAS, find_fpga
from devices.synthesis.device import Fpga
from edge.errors import EdgeError
from export.rtl.stream.device import FAMILIES, Device, Resources
from export.rtl.stream.fulfil import read_request
from export.rtl.stream.output import Output
from export.rtl.stream.request import CircuitRequest
from quant.graph import Graph
from quant.names import suggestion

#: What leaves a core: the codes of the network's output, or the label they stand for.
LOGITS, LABELS = "logits", "labels"
HEADS = (LOGITS, LABELS)
#: The clock that a rate is meant at where no board says another.
CLOCK_HZ = 100e6
#: Families of boards (as synthesis tools call them) that build their products alike.
_ALIKE = {"xc7": "xc", "xcup": "xc"}


def circuit_request(
    board: str | None,
    rate: float | None,
    folding: Path | None,
    *,
    sequential: bool,
    head: str | None = None,
    taps: Sequence[str] = (),
    status: bool = False,
) -> CircuitRequest | None:
    """Return the request for a board's device, a rate in frames per second, or a folding file; None asks for nothing.

    The rate is meant at the clock that the board's tools are asked for, 100 MHz without a board. `head` is `LABELS`,
    `LOGITS` or None (logits, or what the folding file says), `taps` are tensors that leave the core, too. `status`
    asks for registers that count.

    Raises:
        EdgeError: the options contradict each other, or the board has no FPGA.
        ExportError: the folding file is damaged.
    """
    if sequential and (head == LABELS or taps or status):
        raise EdgeError(
            "--sequential: that core gives the codes of the network's output only; leave it out, or --head, "
            "--tap-output and --status."
        )
    asked = _asked(board, rate, folding, sequential=sequential)
    if asked is None and head != LABELS and not taps and not status:
        return None
    asked = asked or CircuitRequest("stream")
    labels = asked.labels if head is None else head == LABELS
    outputs = tuple(Output(tap) for tap in taps) or asked.taps
    return replace(asked, labels=labels, taps=outputs, status=status or asked.status)


def circuits_of(asked: CircuitRequest, graphs: Sequence[Graph]) -> tuple[CircuitRequest, ...]:
    """Return the request of every part of a network: labels leave the last one, taps the part that makes them.

    Raises:
        EdgeError: no part makes a tensor that is tapped.
    """
    made = [tuple(node.output for node in graph.nodes) for graph in graphs]
    for tap in asked.taps:
        if not any(tap.tensor in names for names in made):
            known = [name for names in made for name in names]
            raise EdgeError(
                f"--tap-output {tap.tensor}: no step makes a tensor of that name.{suggestion(tap.tensor, known)}"
            )
    return tuple(
        replace(
            asked,
            labels=asked.labels and index == len(graphs) - 1,
            taps=tuple(tap for tap in asked.taps if tap.tensor in names),
        )
        for index, names in enumerate(made)
    )


def _asked(board: str | None, rate: float | None, folding: Path | None, *, sequential: bool) -> CircuitRequest | None:
    searched = board is not None or rate is not None
    if searched + (folding is not None) + sequential > 1:
        raise EdgeError(
            "give --board and --rate, or --folding, or --sequential: each of them decides how the core is built."
        )
    if folding is not None:
        return read_request(folding)
    if sequential:
        return CircuitRequest("sequential")
    if not searched:
        return None
    asked = CircuitRequest("stream") if board is None else _on(_fpga(board))
    clock_hz = CLOCK_HZ if board is None else _fpga(board).target_hz
    cycles = None if rate is None else math.floor(clock_hz / rate)
    if cycles == 0:
        raise EdgeError(f"--rate {rate:g}: more than one frame in a clock of {clock_hz / 1e6:g} MHz.")
    return CircuitRequest("stream", asked.device, asked.budget, cycles)


def _fpga(name: str) -> Fpga:
    board = find_board(name)
    if board.target != "fpga" or all(fpga.name != board.name for fpga in FPGAS):
        known = ", ".join(fpga.name for fpga in FPGAS)
        raise EdgeError(f"--board {name}: not a board with an FPGA; those are {known}.")
    return find_fpga(board)


def _on(fpga: Fpga) -> CircuitRequest:
    budget = Resources(fpga.budget.lut, fpga.budget.dsp, fpga.budget.bram)
    return CircuitRequest("stream", _device(fpga), budget)


def _device(fpga: Fpga) -> Device:
    family = _ALIKE.get(fpga.family, fpga.family)
    return next(device for device in FAMILIES if device.family == family)
