"""What a core takes of an FPGA, by layer, and the clock that place and route reached: values without tools."""

from __future__ import annotations

from dataclasses import dataclass, fields

from devices import strict
from devices.errors import DeviceError

#: The resources that are counted, in the order of tables.
RESOURCES = ("lut", "ff", "bram", "dsp")


@dataclass(frozen=True, slots=True)
class Usage:
    """Resources used, or available.

    Attributes:
        lut: look-up tables, those in carry chains and small memories included.
        ff: flip-flops and latches.
        bram: block memories in the unit of the device; a half of one that can be halved counts 0.5.
        dsp: multipliers or DSP blocks.
    """

    lut: int
    ff: int
    bram: float
    dsp: int

    def beyond(self, budget: Usage) -> tuple[str, ...]:
        """Return the resources of which there is more than `budget` has."""
        return tuple(name for name in RESOURCES if getattr(self, name) > getattr(budget, name))


@dataclass(frozen=True, slots=True)
class Layer:
    """One instance in the top module, synthesised on its own.

    `cycles` is how long it works on one inference, where the exporter states it; layers that stream work at once.
    """

    name: str
    usage: Usage
    cycles: int | None = None


@dataclass(frozen=True, slots=True)
class Circuit:
    """One core on one device.

    Attributes:
        device: device, package and speed grade, in words.
        bram_unit, bram_bits: what one block memory is called, and how many bits it holds.
        used: of the whole core, counted in the netlist of the flat design.
        placed: the same as the placer counts it; None where nothing was placed.
        available: what the device has.
        cells: every kind of cell in that netlist and how often it occurs, sorted.
        layers: the instances in the top module, each synthesised on its own, and `(top)` for what is between them.
            Their sum can exceed `used`, as a flat design shares and simplifies across layers. Empty where the top
            has no instances.
        clock_hz: the highest clock that static timing allows after routing; None where nothing was routed.
        clock_reason: why there is no clock; empty where there is one.
        target_hz: the clock that the tools were asked for.
        seed: of the placer.
        critical_path: where the longest path begins and ends, and how much of it is wires; empty without timing.
        cycles_from: `simulated`, or `stated by the exporter`, or empty where there are no cycles.
        interval_cycles: clocks from one inference to the next when inputs wait; None where nothing says.
        bitstream_bytes: of the packed bitstream; None where none was packed.
        notes: what a reader has to know about these figures.
    """

    device: str
    bram_unit: str
    bram_bits: int
    used: Usage
    placed: Usage | None
    available: Usage
    cells: tuple[tuple[str, int], ...]
    layers: tuple[Layer, ...]
    clock_hz: float | None
    clock_reason: str
    target_hz: float
    seed: int
    critical_path: str = ""
    cycles_from: str = ""
    interval_cycles: int | None = None
    bitstream_bytes: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def counted(self) -> Usage:
        """What is compared with the device: the placer's count where there is one."""
        return self.placed or self.used

    @property
    def beyond(self) -> tuple[str, ...]:
        """The resources of which the core takes more than the device has; empty when it fits."""
        return self.counted.beyond(self.available)

    @property
    def inferences_per_s(self) -> float | None:
        """Throughput at the highest clock; None where the clock or the interval is unknown."""
        if self.clock_hz is None or not self.interval_cycles:
            return None
        return self.clock_hz / self.interval_cycles


def usage_from_record(record: object, where: str) -> Usage:
    """Read what `dataclasses.asdict` made of a usage."""
    body = strict.fields(record, RESOURCES, where)
    counts = {name: strict.count(body[name], f"{where}.{name}") for name in ("lut", "ff", "dsp")}
    bram = body["bram"]
    return Usage(bram=strict.real(float(bram) if type(bram) is int else bram, f"{where}.bram"), **counts)


def circuit_from_record(record: object, where: str) -> Circuit:
    """Read what `dataclasses.asdict` made of a circuit and JSON kept.

    Raises:
        DeviceError: naming `where` and the key that is missing, unknown or of a wrong type.
    """
    body = strict.fields(record, tuple(f.name for f in fields(Circuit)), where)

    def text(key: str) -> str:
        return strict.typed(body[key], str, f"{where}.{key}")

    def number(key: str) -> int:
        return strict.count(body[key], f"{where}.{key}")

    def listed(key: str) -> list[object]:
        return list(strict.typed(body[key], list, f"{where}.{key}"))

    return Circuit(
        device=text("device"),
        bram_unit=text("bram_unit"),
        bram_bits=number("bram_bits"),
        used=usage_from_record(body["used"], f"{where}.used"),
        placed=None if body["placed"] is None else usage_from_record(body["placed"], f"{where}.placed"),
        available=usage_from_record(body["available"], f"{where}.available"),
        cells=tuple(_cell(item, f"{where}.cells") for item in listed("cells")),
        layers=tuple(_layer(item, f"{where}.layers") for item in listed("layers")),
        clock_hz=None if body["clock_hz"] is None else strict.real(body["clock_hz"], f"{where}.clock_hz"),
        clock_reason=text("clock_reason"),
        target_hz=strict.real(body["target_hz"], f"{where}.target_hz"),
        seed=number("seed"),
        critical_path=text("critical_path"),
        cycles_from=text("cycles_from"),
        interval_cycles=_optional(body["interval_cycles"], f"{where}.interval_cycles"),
        bitstream_bytes=_optional(body["bitstream_bytes"], f"{where}.bitstream_bytes"),
        notes=tuple(strict.typed(note, str, f"{where}.notes") for note in listed("notes")),
    )


def _optional(value: object, where: str) -> int | None:
    return None if value is None else strict.count(value, where)


def _cell(value: object, where: str) -> tuple[str, int]:
    pair = strict.typed(value, list, where)
    if len(pair) != 2:
        raise DeviceError(f"{where} holds {pair}; it must be a cell's name and a count.")
    return strict.typed(pair[0], str, where), strict.count(pair[1], where)


def _layer(value: object, where: str) -> Layer:
    record = strict.typed(value, dict, where)
    body = strict.fields({"cycles": None, **record}, ("name", "usage", "cycles"), where)
    return Layer(
        name=strict.typed(body["name"], str, f"{where}.name"),
        usage=usage_from_record(body["usage"], f"{where}.usage"),
        cycles=_optional(body["cycles"], f"{where}.cycles"),
    )
