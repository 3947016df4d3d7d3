"""A device under test as a board: what it gives, and what is known of its state."""

from __future__ import annotations

from devices.board import Board
from devices.dut.port import parse_address
from devices.state import STATES, Conditions

TRANSPORT = "serial"
RUNTIME = "c-dut"
SCHEME = "serial://"
_SILENT = "a device under test on a serial line does not say"
_ABSENT = (
    ("instructions", "the protocol counts no instructions; mps2-an386 and other emulated cores do"),
    ("cycles", "the protocol counts no cycles"),
    ("flash", "the protocol does not tell it; see edgemill profile BUNDLE --board mps2-an386"),
    ("code", "the protocol does not tell it; see edgemill profile BUNDLE --board mps2-an386"),
    ("ram", "the protocol does not tell it; see edgemill profile BUNDLE --board mps2-an386"),
    ("stack", "the protocol does not tell it; see edgemill profile BUNDLE --board mps2-an386"),
    ("energy", "energy mode needs a meter that sees the device's pin: --meter lpm01a:PORT,VOLTAGE"),
)


def serial_board(name: str, uri: str) -> Board:
    """Return the board at `serial:///dev/ttyACM0?baud=115200`, which runs generated C behind MLPerf Tiny's protocol.

    Raises:
        DeviceError: the address makes no sense.
    """
    parse_address(uri)
    return Board(
        name=name,
        summary=f"{uri}, MLPerf Tiny's protocol",
        target="arm-m",
        transport=TRANSPORT,
        runtime=RUNTIME,
        cpu=None,
        method="measured",
        metrics=("latency", "energy", "arena"),
        absent=_ABSENT,
        uri=uri,
    )


def silent_conditions(device: str, firmware: str) -> Conditions:
    """Return the state of a device that only says who it is."""
    return Conditions(
        cpu_model=device,
        cores=1,
        system=firmware,
        load_before=None,
        load_after=None,
        governor=None,
        governor_reason=_SILENT,
        absent=tuple((name, _SILENT) for name in sorted(STATES)),
    )
