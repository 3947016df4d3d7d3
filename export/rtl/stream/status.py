"""Status registers of a core behind an AXI4-Lite port: what they count, their Verilog, and a C header."""

from __future__ import annotations

from dataclasses import dataclass

from export.rtl.bounds import unsigned_bits
from export.rtl.stream.plan import Design
from export.rtl.stream.streams import streams
from export.rtl.stream.text import filled, lines

#: What the first register reads: this layout of registers.
IDENTITY = 0x45444D31
#: Ports of the AXI4-Lite slave: direction, bits (0: the address), name.
_PORTS = (
    ("input", 0, "awaddr"),
    ("input", 3, "awprot"),
    ("input", 1, "awvalid"),
    ("output", 1, "awready"),
    ("input", 32, "wdata"),
    ("input", 4, "wstrb"),
    ("input", 1, "wvalid"),
    ("output", 1, "wready"),
    ("output", 2, "bresp"),
    ("output", 1, "bvalid"),
    ("input", 1, "bready"),
    ("input", 0, "araddr"),
    ("input", 3, "arprot"),
    ("input", 1, "arvalid"),
    ("output", 1, "arready"),
    ("output", 32, "rdata"),
    ("output", 2, "rresp"),
    ("output", 1, "rvalid"),
    ("input", 1, "rready"),
)
_FIXED = (
    ("identity", "32'h{identity:08x}", f"{IDENTITY:#010x}: this layout of registers"),
    ("digest", "DIGEST", "which core this is: it changes with every file of the core"),
    ("control", "{31'b0, |under}", "bit 0 reads 1 while a frame is under way; writing 1 to it clears all counters"),
    ("frames_in", "frames_in", "frames whose last beat came in"),
    ("frames_out", "frames_out", "frames whose last beat of the first output was taken"),
    ("frame_errors", "frame_errors", "frames of a wrong length"),
    ("busy_low", "busy[31:0]", "clocks with a frame under way, low half; reading it keeps the high half"),
    ("busy_high", "busy_high", "the high half, as it was when the low half was read last"),
    ("input_waits", "input_waits", "clocks in which the sender had a beat that the core did not take"),
    ("input_gaps", "input_gaps", "clocks in which the core would have taken a beat of a frame and there was none"),
)


@dataclass(frozen=True, slots=True)
class Register:
    """One register of 32 bits: its name, its address in bytes, and what it holds."""

    name: str
    offset: int
    what: str


def registers(plan: Design) -> tuple[Register, ...]:
    """Return the registers of a core; () where it has none."""
    if not plan.status:
        return ()
    waits = [
        (f"output_waits_{index}", f"clocks in which a beat of {stream.port} was not taken")
        for index, stream in enumerate(streams(plan))
    ]
    named = [*((name, what) for name, _, what in _FIXED), *waits]
    return tuple(Register(name, 4 * index, what) for index, (name, what) in enumerate(named))


def address_bits(plan: Design) -> int:
    """Return the bits of an address of a register, in bytes."""
    return unsigned_bits(registers(plan)[-1].offset + 3)


def status_ports(plan: Design) -> str:
    """Return the ports of the registers; empty where a core has none."""
    if not plan.status:
        return ""
    return "\n" + "\n".join(
        f"    {way} wire {f'[{(bits or address_bits(plan)) - 1}:0] ' if bits != 1 else ''}s_axil_{port},"
        for way, bits, port in _PORTS
    )


def status_inputs(plan: Design) -> dict[str, int]:
    """Return the bits of the registers' input ports by name; {} where a core has none."""
    if not plan.status:
        return {}
    return {f"s_axil_{port}": bits or address_bits(plan) for way, bits, port in _PORTS if way == "input"}


def status_instance(name: str, plan: Design) -> str:
    """Return the instance that watches the streams of a core; empty where it has no registers."""
    if not plan.status:
        return ""
    given = list(reversed(streams(plan)))
    outputs = {wire: "{" + ", ".join(f"{stream.port}_t{wire}" for stream in given) + "}" for wire in ("valid", "ready")}
    ports = ", ".join(f".{port}(s_axil_{port})" for _, _, port in _PORTS)
    return (
        f"\n  {name}_status status (.clk(clk), .rst(rst), {ports}, .s_valid(s_axis_tvalid), .s_ready(s_axis_tready), "
        f".s_last(s_axis_tlast), .error(frame_error), .m_valid({outputs['valid']}), .m_ready({outputs['ready']}), "
        f".m_last({given[-1].port}_tlast));"
    )


def status_module(name: str, plan: Design, digest: str) -> str:
    """Return the module of the registers; empty where a core has none. `digest` is 8 hexadecimal digits."""
    if not plan.status:
        return ""
    count = len(plan.results)
    reads = [value.format(identity=IDENTITY) if "identity" in value else value for _, value, _ in _FIXED]
    reads += [f"output_waits[{32 * index} +: 32]" for index in range(count)]
    index_bits = address_bits(plan) - 2
    values = {
        "MODULE": f"{name}_status",
        "ADDRESS": str(address_bits(plan)),
        "COUNT": str(count),
        "DIGEST": digest,
        "CONTROL": f"{index_bits}'d{_place('control')}",
        "BUSY": f"{index_bits}'d{_place('busy_low')}",
        "READS": lines([f"{index_bits}'d{place}: register = {read};" for place, read in enumerate(reads)], 6),
    }
    return filled("status.v", values)


def _place(name: str) -> int:
    return next(index for index, (known, _, _) in enumerate(_FIXED) if known == name)


def header(name: str, plan: Design, digest: str) -> str:
    """Return a C header with the places of the registers and what the first two read."""
    prefix = name.upper()
    rows = [f"#define {prefix}_{r.name.upper()} {r.offset:#04x}  /* {r.what} */" for r in registers(plan)]
    return (
        f"/* Status registers of the core {name}, 32 bits each: bytes from its AXI4-Lite base. Counters wrap. */\n"
        f"#ifndef {prefix}_REGISTERS_H\n#define {prefix}_REGISTERS_H\n"
        f"#define {prefix}_IDENTITY_VALUE {IDENTITY:#010x}u\n#define {prefix}_DIGEST_VALUE 0x{digest}u\n"
        + "\n".join(rows)
        + "\n#endif\n"
    )
