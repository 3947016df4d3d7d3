"""The host's side of the protocol: commands to one device under test, and its answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from devices.dut import dialect
from devices.dut.port import Address, Port, open_port, parse_address
from devices.errors import DeviceError
from devices.timing import raw_clock

#: Bytes of input in one `db` command: directly, and through an interface board.
DIRECT_BYTES = 31
BRIDGED_BYTES = 26
#: Seconds for a command that computes nothing, and for one inference command that nothing is known of.
ANSWER_S = 5.0
INFER_S = 30.0
#: How often a device is asked for its name: it may be starting when the port is opened.
GREETINGS = 3


def seconds() -> float:
    """Return the seconds of the clock that meters and workers use."""
    return raw_clock() / 1e9


@dataclass(slots=True, eq=False)
class Dut:
    """A device under test.

    Attributes:
        port: the line to it.
        bridged: whether an interface board stands between.
        clock: seconds, the clock of meters on this machine.
        traffic_bytes: sent and received so far: what they take on the line is no time of the network.
    """

    port: Port
    bridged: bool = False
    clock: Callable[[], float] = seconds
    traffic_bytes: int = 0
    _rest: bytes = field(default=b"", repr=False)

    def greet(self, limit_s: float = ANSWER_S) -> str:
        """Return the device's name; what it said before is dropped, as it may just have started.

        Raises:
            DeviceError: it does not answer the protocol.
        """
        for attempt in range(GREETINGS):
            self._send("name")
            until = self.clock() + limit_s
            named: list[str] = []
            while (line := self._line(until)) is not None:
                text = line.decode("ascii", errors="replace").strip()
                named += [text] if text.startswith("m-name-dut-[") else []
                if text == dialect.READY and named:
                    return dialect.bracketed(named[-1:], "m-name-dut")
            if attempt + 1 < GREETINGS:
                self._rest = b""
        raise DeviceError(
            f"no answer to 'name' within {GREETINGS} times {limit_s:g} s: is the firmware running, does it speak "
            "MLPerf Tiny's protocol, and is the baud rate right?"
        )

    def ask(self, command: str, limit_s: float = ANSWER_S) -> tuple[str, ...]:
        """Send a command and return the lines of its answer without the last one, `m-ready`.

        Raises:
            DeviceError: the answer is not there in time, is damaged, or refuses.
        """
        self._drop()
        self._send(command)
        until, lines = self.clock() + limit_s, list[str]()
        while True:
            line = self._line(until)
            if line is None:
                said = f"; the last line was '{lines[-1]}'" if lines else ""
                raise DeviceError(f"the device did not answer '{command[:40]}' within {limit_s:g} s{said}.")
            text = dialect.decode(line)
            if text == dialect.READY:
                dialect.refuse_errors(lines, command[:40])
                return tuple(lines)
            lines += [text] if text else []

    def profile(self) -> tuple[str, str]:
        """Return what the device says of its firmware and of its model."""
        lines = self.ask("profile")
        return dialect.bracketed(lines, "m-profile"), dialect.bracketed(lines, "m-model")

    def timestamp(self) -> int | None:
        """Return the device's microseconds, or None where it pulls a pin instead."""
        return dialect.mark(self.ask("timestamp"))

    def load(self, data: bytes) -> None:
        """Send the input of the next inferences.

        Raises:
            DeviceError: the device takes another number of bytes, or did not take them all.
        """
        self.ask(f"db load {len(data)}")
        step, lines = BRIDGED_BYTES if self.bridged else DIRECT_BYTES, tuple[str, ...]()
        for start in range(0, len(data), step):
            lines = self.ask(f"db {data[start : start + step].hex()}")
            if ("m-load-done" in lines) != (start + step >= len(data)):
                raise DeviceError(f"the device took {start} of {len(data)} bytes of input; some were lost on the line.")

    def stored(self, count: int, offset: int = 0) -> bytes:
        """Return bytes of the input as the device holds them."""
        return dialect.buffer(self.ask(f"db print {count} {offset}"))

    def infer(self, count: int, warmup: int, limit_s: float = INFER_S) -> dialect.Inference:
        """Run warm-ups and then `count` inferences between two time marks."""
        return dialect.inference(self.ask(f"infer {count} {warmup}", limit_s), count, warmup)

    def results(self) -> tuple[float, ...]:
        """Return the results of the last inference."""
        return dialect.results(self.ask("results"))

    def close(self) -> None:
        """Let the port go."""
        self.port.close()

    def _send(self, command: str) -> None:
        data = f"{command}%".encode("ascii")
        self.traffic_bytes += len(data)
        self.port.write(data)

    def _line(self, until: float) -> bytes | None:
        """Return the next whole line, or None when the time is over."""
        while b"\n" not in self._rest:
            left = until - self.clock()
            found = self.port.read(left) if left > 0 else b""
            if not found:
                return None
            self.traffic_bytes += len(found)
            self._rest += found
        line, self._rest = self._rest.split(b"\n", 1)
        return line + b"\n"

    def _drop(self) -> None:
        """Forget what came unasked, such as the second answer to a name that was asked for twice."""
        while self.port.read(0.0):
            pass
        self._rest = b""


def open_dut(uri: str, open_line: Callable[[Address], Port] = open_port) -> Dut:
    """Open the device at `serial:///dev/ttyACM0?baud=115200`; it is not spoken to yet.

    Args:
        uri: see `devices.dut.port.parse_address`.
        open_line: opens the port; tests give another one.

    Raises:
        DeviceError: the address makes no sense, or the port cannot be opened.
    """
    address = parse_address(uri)
    return Dut(open_line(address), address.bridged)
