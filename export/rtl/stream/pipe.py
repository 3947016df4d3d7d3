"""A pipe: a generated module of fixed latency that takes a beat in every clock and never waits."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pipe:
    """A generated module, the clocks from `in_valid` to `out_valid`, its Verilog, and its memory files (name, text).

    `multipliers` is how many blocks of multipliers it is written for; tools may make small ones of LUTs.

    Ports: `clk`, `rst` (synchronous, at least one clock), `in_valid`, inputs (`in_acc`, `in_data`, or `in_a` and
    `in_b`), `out_valid`, `out_data`. Lane i of a port of codes of N bits lies at bits [i*N +: N]. A pipe with
    constants per channel counts the channels from reset on.
    """

    module: str
    latency: int
    verilog: str
    memories: tuple[tuple[str, str], ...] = ()
    multipliers: int = 0
