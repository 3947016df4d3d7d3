"""A made-up device under test behind a port without a line: its own clock, and faults on request."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from devices.errors import DeviceError


def greatest_last(data: bytes) -> str:
    """Results that depend on the input: its sum, and its first byte."""
    return f"{sum(data)},{data[0]},"


@dataclass
class Made:
    """The device's state; `change` may alter the lines of an answer before they are sent."""

    answer: Callable[[bytes], str] = greatest_last
    takes: int = 40
    inference_us: int = 1000
    now_us: int = 0
    energy: bool = False
    profile: str = "made up, simulated"
    change: Callable[[str, list[str]], list[str]] = lambda _, lines: lines
    data: bytearray = field(default_factory=bytearray)
    edges_s: list[float] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    sent: bytearray = field(default_factory=bytearray)
    pending: str = ""
    gone: bool = False

    # the port
    def write(self, data: bytes) -> None:
        if self.gone:
            raise DeviceError("the device on made-up is gone: unplugged.")
        self.pending += data.decode()
        while "%" in self.pending:
            command, self.pending = self.pending.split("%", 1)
            self.commands.append(command)
            lines = self.change(command, [*self.lines(command), "m-ready"])
            self.sent += "".join(f"{line}\r\n" for line in lines).encode("latin1")

    def read(self, limit_s: float) -> bytes:
        found, self.sent = bytes(self.sent), bytearray()
        return found

    def close(self) -> None:
        self.gone = True

    # the firmware
    def mark(self) -> list[str]:
        if self.energy:
            self.edges_s.append(self.now_us / 1e6)
            return []
        return [f"m-lap-us-{self.now_us % (1 << 32)}"]

    def lines(self, command: str) -> list[str]:
        words = command.split()
        match words[0]:
            case "name":
                return ["m-name-dut-[made]"]
            case "profile":
                return [f"m-profile-[{self.profile}]", "m-model-[none]"]
            case "timestamp":
                return self.mark()
            case "db":
                return self.buffer(words[1], words)
            case "infer":
                return self.infer(int(words[1]), int(words[2]))
            case "results":
                return [f"m-results-[{self.answer(bytes(self.data))}]"]
        return ["e-[Unknown command]"]

    def buffer(self, what: str, words: list[str]) -> list[str]:
        if what == "load":
            if int(words[2]) != self.takes:
                return [f"e-[This network takes {self.takes} bytes]"]
            self.data.clear()
            return [f"m-[Expecting {self.takes} bytes]"]
        if what == "print":
            at = int(words[3])
            shown = self.data[at : at + int(words[2])]
            return [f"m-buffer-{shown[i : i + 8].hex('-')}" for i in range(0, len(shown), 8)]
        assert re.fullmatch(r"[0-9a-f]+", what)
        self.data += bytes.fromhex(what)
        return ["m-load-done"] if len(self.data) >= self.takes else []

    def infer(self, count: int, warmup: int) -> list[str]:
        self.now_us += 200_000 + warmup * self.inference_us
        begin = self.mark()
        self.now_us += count * self.inference_us
        return [
            f"m-warmup-start-{warmup}",
            "m-warmup-done",
            f"m-infer-start-{count}",
            *begin,
            *self.mark(),
            "m-infer-done",
            f"m-results-[{self.answer(bytes(self.data))}]",
        ]
