"""Cut points and the choices of a search in a terminal."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from devices.report import units
from edge.commands.common import print_table
from edge.splitting.points import Point
from edge.splitting.record import Choice, Cost, Figure, Rates, SplitRecord

#: So many choices are printed whole.
FEW = 24


def print_points(title: str, found: Sequence[Point]) -> None:
    """Print every cut point with its bytes, MACs and memory."""
    names = [name for name, _ in found[0].wire_bytes]
    columns = ("cut", "shape", "format", *(f"bytes, {name}" for name in names), "MACs before", "after", "head", "tail")
    rows = [
        (
            point.tensor,
            "x".join(map(str, point.shape[1:])),
            point.own,
            *(units.count(size) for _, size in point.wire_bytes),
            f"{units.count(point.macs_before)} ({_share(point)})",
            units.count(point.macs_after),
            units.size(point.head_peak_bytes),
            units.size(point.tail_peak_bytes),
        )
        for point in found
    ]
    print_table(f"{title}: cut points; head and tail are peaks of activation memory", columns, rows)


def _share(point: Point) -> str:
    total = point.macs_before + point.macs_after
    return units.percent(point.macs_before / total, 0) if total else units.DASH


def print_choices(found: SplitRecord) -> None:
    """Print all of a few choices, else those on the front, fastest first, and what the figures are."""
    from rich.console import Console
    from rich.text import Text

    console = Console()
    shown = [one for one in ordered(found.choices) if len(found.choices) <= FEW or one.front or one.way != "split"]
    columns, rows = filled(columns_of(found), [row(one) for one in shown])
    print_table(f"{link_text(found)}; * is on the front of {', '.join(found.objectives)}", columns, rows)
    console.print(Text(summary(found)))
    if len(shown) < len(found.choices):
        console.print(Text(f"{len(found.choices) - len(shown)} choices off the front are in the report"))
    for why, count in _reasons(found).items():
        console.print(Text(f"left out: {count}: {why}", style="dim"))
    for note in found.notes:
        console.print(Text(note, style="dim"))


def _reasons(found: SplitRecord) -> dict[str, str]:
    """Return what was left out by reason: how many, and the first one's name."""
    names: dict[str, list[str]] = {}
    for name, why in found.left_out:
        names.setdefault(why, []).append(name)
    return {why: f"{len(list_)} such as {list_[0]}" if len(list_) > 1 else list_[0] for why, list_ in names.items()}


def columns_of(found: SplitRecord) -> tuple[str, ...]:
    """Return the heads of `row`, with the method of device and server where all have the same."""
    sides = [
        {cost.seconds.method for cost in costs if cost is not None and cost.seconds.value is not None}
        for costs in ([one.device for one in found.choices], [one.server for one in found.choices])
    ]
    device, server = (f", {next(iter(methods))}" if len(methods) == 1 else "" for methods in sides)
    return (
        "",
        "way",
        "cut",
        "link",
        "top-1",
        "latency",
        f"device{device}",
        "instructions, counted",
        "energy",
        f"server{server}",
        "bytes",
        "split is fastest",
    )


def filled(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Leave columns out in which no row says anything."""
    kept = [i for i in range(len(columns)) if i == 0 or any(row[i] != units.DASH for row in rows)]
    return tuple(columns[i] for i in kept), [tuple(row[i] for i in kept) for row in rows]


def ordered(choices: Sequence[Choice]) -> list[Choice]:
    """Return choices, fastest first."""
    return sorted(choices, key=lambda one: math.inf if one.latency_s.value is None else one.latency_s.value)


def row(choice: Choice) -> tuple[str, ...]:
    """Return a choice as the cells of `columns_of`."""
    place = choice.place
    return (
        "*" if choice.front else "",
        choice.network if choice.way == "split" else f"{choice.way}: {choice.network}",
        units.DASH if place is None else place.tensor,
        units.DASH if place is None else place.format,
        units.percent(choice.accuracy),
        _with_method(choice.latency_s, units.seconds),
        _side(choice.device),
        units.DASH if choice.device is None else _count(choice.device.instructions),
        _with_method(choice.energy_j, units.joules),
        _side(choice.server),
        units.count(choice.wire_bytes),
        units.DASH if choice.rates is None else rates_text(choice.rates),
    )


def _side(cost: Cost | None) -> str:
    return units.DASH if cost is None or cost.seconds.value is None else units.seconds(cost.seconds.value)


def _count(figure: Figure) -> str:
    return units.DASH if figure.value is None else units.count(figure.value)


def _with_method(figure: Figure, text: Callable[[float], str]) -> str:
    """Return a figure whose method differs between choices."""
    return units.DASH if figure.value is None else f"{text(figure.value)} {figure.method}"


def rates_text(rates: Rates) -> str:
    """Return where a split is the fastest way."""
    if rates.start is None or rates.end is None:
        return "never"
    if math.isinf(rates.end):
        return f"above {bits(rates.start)}" if rates.start > 0 else "always"
    return f"{bits(rates.start)} to {bits(rates.end)}" if rates.start > 0 else f"below {bits(rates.end)}"


def bits(rate: float) -> str:
    """Return a rate such as `1.25 Mbit/s`."""
    scales = ((1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"), (1.0, "bit/s"))
    factor, unit = next(((f, u) for f, u in scales if rate >= f), scales[-1])
    return f"{units.significant(rate / factor)} {unit}"


def link_text(found: SplitRecord) -> str:
    """Return the link and the two ends in words."""
    ends = [side.partition(":")[0] for side in (found.device, found.server)]
    trip = "no round trip" if found.round_trip_s == 0 else f"{units.seconds(found.round_trip_s)} round trip"
    return f"{ends[0]} and {ends[1]} at {bits(found.rate_bit_s)}, {trip}"


def summary(found: SplitRecord) -> str:
    """Return in a sentence which way is fastest at this link."""
    first = ordered(found.choices)[0]
    return (
        f"fastest at this link: {first.name} ({units.seconds(first.latency_s.value or 0.0)}, "
        f"{units.percent(first.accuracy)} of {units.count(found.images)} images of {found.data})"
    )
