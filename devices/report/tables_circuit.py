"""Tables of what a core takes of an FPGA: against the device's budget, by layer, and its clock."""

from __future__ import annotations

from collections.abc import Sequence

from devices.circuit import RESOURCES, Circuit, Layer, Usage
from devices.measurement import Measurement
from devices.report import units
from devices.report.joined import Entry
from devices.report.table import Cell, Column, Table, cells, number_columns, text_columns


def entry_tables(found: Sequence[Entry]) -> tuple[Table, ...]:
    """Return the tables of every entry that holds a circuit."""
    return tuple(table for entry in found for table in circuit_tables(entry.measurement, entry.label))


def circuit_tables(item: Measurement, label: str) -> tuple[Table, ...]:
    """Return three tables: resources and budget, clock and throughput, resources by layer; none without a circuit."""
    circuit = item.circuit
    if circuit is None:
        return ()
    name = f"{label} on {item.board} ({circuit.device}), {item.method}"
    found = (_budget(circuit, name), _timing(item, circuit, name), _layers(circuit, name))
    return tuple(table for table in found if table.rows)


def _budget(circuit: Circuit, name: str) -> Table:
    columns = (Column("resource"), *number_columns("netlist", "placed", "device has", "share"))
    rows = tuple(_resource(circuit, key) for key in RESOURCES)
    verdict = "does not fit" if circuit.beyond else "fits"
    return Table(f"Resources of {name}: {verdict}", columns, rows)


def _resource(circuit: Circuit, key: str) -> tuple[Cell, ...]:
    placed = units.DASH if circuit.placed is None else _figure(circuit.placed, key)
    taken, there = getattr(circuit.counted, key), getattr(circuit.available, key)
    words = f"{circuit.bram_unit}, {units.count(circuit.bram_bits)} bits each" if key == "bram" else ""
    excess = key in circuit.beyond
    share = Cell(units.percent(taken / there, 1), "beyond the device" if excess else "", "bad" if excess else "")
    return cells(Cell(key.upper(), words), _figure(circuit.used, key), placed, _figure(circuit.available, key), share)


def _figure(usage: Usage, key: str) -> str:
    return units.count(getattr(usage, key))


def _timing(item: Measurement, circuit: Circuit, name: str) -> Table:
    rows = [cells("highest clock", _clock(circuit))]
    if item.cycles:
        rows.append(cells("cycles of one inference", Cell(units.count(max(item.cycles)), circuit.cycles_from)))
    if item.samples_s:
        rows.append(cells("latency at that clock", units.seconds(max(item.samples_s))))
    if circuit.interval_cycles:
        rows.append(cells("cycles between inferences", units.count(circuit.interval_cycles)))
    if circuit.inferences_per_s is not None:
        rate = units.count(round(circuit.inferences_per_s))
        rows.append(cells("inferences per second at that clock", rate))
    if circuit.bitstream_bytes is not None:
        rows.append(cells("bitstream", units.size(circuit.bitstream_bytes)))
    rows += [cells("note", note) for note in circuit.notes]
    return Table(f"Clock of {name}", (*text_columns("figure"), Column("value", wide=True)), tuple(rows))


def _clock(circuit: Circuit) -> Cell:
    if circuit.clock_hz is None:
        return Cell(circuit.clock_reason, kind="absent")
    asked = f"{circuit.target_hz / 1e6:g} MHz asked for"
    path = f"; longest path {circuit.critical_path}" if circuit.critical_path else ""
    return Cell(f"{circuit.clock_hz / 1e6:.1f} MHz", asked + path)


def _layer_cycles(layer: Layer) -> tuple[str, ...]:
    return (units.DASH if layer.cycles is None else units.count(layer.cycles),)


def _layers(circuit: Circuit, name: str) -> Table:
    heads = (
        *(key.upper() for key in RESOURCES),
        *(("cycles",) if any(layer.cycles for layer in circuit.layers) else ()),
    )
    columns = (Column("layer", wide=True), *number_columns(*heads))
    rows = tuple(
        cells(layer.name, *(_figure(layer.usage, key) for key in RESOURCES), *_layer_cycles(layer))[: len(columns)]
        for layer in circuit.layers
        if any(getattr(layer.usage, key) for key in RESOURCES)
    )
    return Table(f"Resources by layer of {name}: each on its own, so the sum can exceed the whole", columns, rows)
