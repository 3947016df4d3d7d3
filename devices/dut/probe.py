"""Ask boards on serial lines whether they are there, and what they run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from devices.board import Board
from devices.dut.driver import Dut
from devices.dut.port import Address, Port, open_port, parse_address
from devices.errors import DeviceError
from devices.remote.probe import Probed

#: A probe gives up early: somebody waits for it.
ANSWER_S = 2.0


def probe_serial(
    boards: Sequence[Board], open_line: Callable[[Address], Port] = open_port, limit_s: float = ANSWER_S
) -> tuple[Probed, ...]:
    """Ask boards who they are, one after the other; those that do not answer have the reason.

    Args:
        boards: with an address of a serial line.
        open_line: opens the port; tests give another one.
        limit_s: for each of three questions after the name.
    """
    return tuple(_probe(board, open_line, limit_s) for board in boards)


def _probe(board: Board, open_line: Callable[[Address], Port], limit_s: float) -> Probed:
    try:
        address = parse_address(board.uri or "")
        dut = Dut(open_line(address), address.bridged)
        try:
            name = dut.greet(limit_s)
            firmware, model = dut.profile()
            mode = "energy" if dut.timestamp() is None else "performance"
        finally:
            dut.close()
    except DeviceError as error:
        return Probed(board.name, False, str(error))
    return Probed(board.name, True, f"{name}: firmware '{firmware}', model '{model}', built for {mode} mode")
