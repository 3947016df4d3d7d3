"""A module around a core that has more ports than a device has pins: bits go in and out one by one."""

from __future__ import annotations

from devices.errors import DeviceError
from devices.synthesis.elaborate import Port, Top

CLOCK = "clk"


def wrapper(name: str, top: Top) -> tuple[str, str]:
    """Return the wrapper's module name and its Verilog.

    All inputs but the clock come from a shift register, all outputs go through one that is loaded while `load` is
    high. Every path into and out of the core so begins and ends in a register, as it would beside other logic.

    Raises:
        DeviceError: the core has no clock of the expected name, or a direction without any port.
    """
    inputs = tuple(port for port in top.ports if port.is_input and port.name != CLOCK)
    outputs = tuple(port for port in top.ports if not port.is_input)
    if not any(port.name == CLOCK for port in top.ports) or not inputs or not outputs:
        raise DeviceError(f"'{name}' has no port '{CLOCK}', or no other input, or no output, so it cannot be wrapped.")
    wires = [f".{CLOCK}({CLOCK})", *_connections(inputs, "given"), *_connections(outputs, "made")]
    given, made = (sum(port.bits for port in ports) for ports in (inputs, outputs))
    module = f"{name}_pins"
    text = f"""// '{name}' behind four pins, to be placed and routed on its own.
module {module} (
    input wire {CLOCK},
    input wire shift_in,
    input wire load,
    output wire shift_out
);
  reg [{given}:0] given;
  reg [{made}:0] out;
  wire [{made - 1}:0] made;
  always @(posedge {CLOCK}) begin
    given <= {{given[{given - 1}:0], shift_in}};
    out   <= load ? {{1'b0, made}} : {{out[0], out[{made}:1]}};
  end
  assign shift_out = out[0];
  {name} core ({", ".join(wires)});
endmodule
"""
    return module, text


def _connections(ports: tuple[Port, ...], bus: str) -> list[str]:
    """Return the connections of ports to slices of a bus, from bit 0 up."""
    made, low = [], 0
    for port in ports:
        made.append(f".{port.name}({bus}[{low + port.bits - 1}:{low}])")
        low += port.bits
    return made
