"""Pieces of pipelined Verilog: `name_3` is the signal `name` as it is 3 clocks behind the inputs of its module."""

from __future__ import annotations

from dataclasses import dataclass

from export.rtl.fields import literal


@dataclass(frozen=True, slots=True)
class Part:
    """Declarations with continuous assignments, and assignments at every clock."""

    wires: tuple[str, ...] = ()
    clocked: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Signal:
    """A value `clock` clocks behind the inputs: the registers of one name in several clocks are its history."""

    name: str
    bits: int
    clock: int
    signed: bool = False

    def at(self, clock: int) -> str:
        """Return its name that many clocks behind the inputs."""
        return f"{self.name}_{clock}"

    @property
    def text(self) -> str:
        """Its name at its own clock."""
        return self.at(self.clock)

    def part(self, low: int, count: int) -> str:
        """Return `count` bits from bit `low` on, sign- or zero-extended where they reach beyond the signal."""
        inside = min(count, self.bits - low)
        if inside <= 0:
            return f"{{{count}{{{self.top}}}}}" if self.signed else literal(0, count)
        kept = self.text if inside == self.bits else f"{self.text}[{low + inside - 1}:{low}]"
        if inside == count:
            return kept
        fill = f"{{{count - inside}{{{self.top}}}}}" if self.signed else literal(0, count - inside)
        return f"{{{fill}, {kept}}}"

    @property
    def top(self) -> str:
        """Its highest bit."""
        return f"{self.text}[{self.bits - 1}]" if self.bits > 1 else self.text


def join(*parts: Part) -> Part:
    """Return parts one behind the other."""
    wires = tuple(line for part in parts for line in part.wires)
    return Part(wires, tuple(line for part in parts for line in part.clocked))


def register(signal: Signal, expression: str) -> Part:
    """Return the register that holds an expression of the clock before."""
    return Part((f"reg {_range(signal)}{signal.text};",), (f"{signal.text} <= {expression};",))


def wire(signal: Signal, expression: str) -> Part:
    """Return a signal without a register."""
    return Part((f"wire {_range(signal)}{signal.text} = {expression};",))


def constant(name: str, value: int, bits: int, clock: int = 0, signed: bool = False) -> tuple[Signal, Part]:
    """Return a constant as a signal."""
    signal = Signal(name, bits, clock, signed)
    return signal, wire(signal, literal(value, bits, signed))


def hold(signal: Signal, clock: int) -> tuple[Signal, Part]:
    """Return a signal delayed up to another clock, and its registers."""
    later = [Signal(signal.name, signal.bits, k, signal.signed) for k in range(signal.clock + 1, clock + 1)]
    parts = [register(one, one.at(one.clock - 1)) for one in later]
    return (later[-1] if later else signal), join(*parts)


def module(comment: str, name: str, ports: tuple[str, ...], parts: Part) -> str:
    """Return a module; `ports` are complete declarations behind the clock."""
    header = ",\n".join(f"    {port}" for port in ("input wire clk", *ports))
    body = "\n".join(f"  {line}" for line in parts.wires)
    clocked = "\n".join(f"    {line}" for line in parts.clocked)
    process = f"\n\n  always @(posedge clk) begin\n{clocked}\n  end" if clocked else ""
    return f"// {comment}\nmodule {name} (\n{header}\n);\n{body}{process}\nendmodule\n"


def port(direction: str, name: str, bits: int, signed: bool = False) -> str:
    """Return the declaration of a port."""
    return f"{direction} wire {'signed ' if signed else ''}[{bits - 1}:0] {name}"


def _range(signal: Signal) -> str:
    return f"{'signed ' if signal.signed else ''}[{signal.bits - 1}:0] "
