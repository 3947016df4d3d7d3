"""Tables of energy per inference: gross, net, uncertainty, the meter and what it added up. Methods never mix."""

from __future__ import annotations

from collections.abc import Sequence

from devices.meters.energy import Energy
from devices.report import units
from devices.report.joined import Entry, cost, energy_method, entries
from devices.report.table import Cell, Column, Table, cells, number_columns, text_columns
from devices.report.verdict import has_wrong
from devices.run_record import RunRecord
from devices.stats import summarise


def energy_table(method: str, found: Sequence[Entry]) -> Table:
    """Return joules per inference of one method, a row per part and board."""
    columns = (
        *text_columns("scheme", "part", "board"),
        *number_columns("windows", "gross per inference", "expanded uncertainty (k = 2)", "net per inference", "power"),
        Column("meter and rails", wide=True),
    )
    return Table(f"Energy per inference, {method}", columns, tuple(_row(entry) for entry in found))


def energy_tables(found: Sequence[Entry]) -> tuple[Table, ...]:
    """Return a table for every method of the entries that hold energy."""
    holding = [entry for entry in found if entry.measurement.energy_j is not None]
    methods = dict.fromkeys(map(energy_method, holding))
    return tuple(energy_table(m, [entry for entry in holding if energy_method(entry) == m]) for m in methods)


def choice_table(run: RunRecord) -> Table:
    """Return whole networks with accuracy, latency and energy of one board; marked where no other beats all three."""
    known = {record.scheme: record.accuracy.quantised_accuracy for record in run.schemes}
    found = [e for e in entries(run) if e.is_whole and e.scheme in known and _sound(e) and _complete(e)]
    figures = [(known[e.scheme], cost(e, "latency"), cost(e, "energy")) for e in found]
    columns = (*text_columns("board", "scheme"), *number_columns("top-1", "latency", "energy"), Column("on the front"))
    rows = tuple(
        cells(
            entry.measurement.board,
            entry.scheme,
            units.percent(figure[0]),
            units.seconds(figure[1]),
            units.joules(figure[2]),
            Cell("no", kind="absent") if _beaten(i, found, figures) else Cell("yes", kind="good"),
        )
        for i, (entry, figure) in enumerate(zip(found, figures, strict=True))
    )
    return Table("Accuracy, latency and energy together, board by board", columns, rows)


def _sound(entry: Entry) -> bool:
    return entry.bundle is None or not has_wrong(entry.bundle)


def _complete(entry: Entry) -> bool:
    return bool(entry.measurement.samples_s and entry.measurement.energy_j)


def _beaten(index: int, found: Sequence[Entry], figures: Sequence[tuple[float, float, float]]) -> bool:
    """Say whether another network on the same board is at least as good in all three and better in one."""
    mine, board = figures[index], found[index].measurement.board
    others = (f for e, f in zip(found, figures, strict=True) if e.measurement.board == board and f != mine)
    return any(o[0] >= mine[0] and o[1] <= mine[1] and o[2] <= mine[2] for o in others)


def note_rows(found: Sequence[Entry]) -> tuple[tuple[str, str], ...]:
    """Return what meters have to say of their figures, and the measurements it concerns."""
    titles: dict[str, list[str]] = {}
    for entry in found:
        for note in entry.measurement.energy.notes if entry.measurement.energy else ():
            titles.setdefault(note, []).append(entry.title)
    return tuple((note, ", ".join(dict.fromkeys(where))) for note, where in titles.items())


def _row(entry: Entry) -> tuple[Cell, ...]:
    item = entry.measurement
    joules = summarise(item.energy_j or ())
    spread = f"± {units.joules(joules.mad)} MAD" if joules.n > 1 else ""
    head = (entry.scheme, item.part, item.board, str(joules.n), Cell(units.joules(joules.median), spread))
    if item.energy is None:
        return cells(*head, *(Cell(units.DASH, "not recorded", "absent"),) * 3, Cell(units.DASH))
    return cells(*head, *_metered(item.energy))


def _metered(energy: Energy) -> tuple[Cell, ...]:
    power = summarise(energy.power_w)
    idle = f"idle {units.watts(energy.idle_w)}" if energy.idle_w is not None else ""
    return (
        _uncertainty(energy),
        _net(energy),
        Cell(units.watts(power.median), idle),
        Cell(energy.meter, " + ".join(energy.rails)),
    )


def _uncertainty(energy: Energy) -> Cell:
    if energy.expanded_j is None or energy.u_a_j is None:
        return Cell(units.DASH, f"type B only: {units.joules(energy.u_b_j)}", "absent")
    parts = f"A {units.joules(energy.u_a_j)}, B {units.joules(energy.u_b_j)}"
    return Cell(f"± {units.joules(energy.expanded_j)}", parts)


def _net(energy: Energy) -> Cell:
    if energy.median_net_j is None:
        return Cell(units.DASH, energy.net_reason or "", "absent")
    return Cell(units.joules(energy.median_net_j), "idle taken off")
