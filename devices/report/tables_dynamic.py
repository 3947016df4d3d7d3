"""Tables of a bundle with rules: who answered, what it costs on boards, networks beside it, a memory."""

from __future__ import annotations

from devices.dynamic_record import BoardCosts, DynamicRecord, PartFigures, expected_cost, mean_cost
from devices.report import svg, units
from devices.report.front import short_count
from devices.report.paired import standard_error
from devices.report.table import Cell, Column, Table, cells, number_columns, text_columns

#: Size of the bar of a share.
_BAR = (92.0, 5.0)


def parts_table(found: DynamicRecord) -> Table:
    """Return what each part did, with the shares that were requested and reached."""
    rows = [_part_row(part, found.images) for part in found.parts]
    if found.dropped:
        share = Cell(units.percent(found.dropped, 1), drawing=bar(found.dropped))
        rows.append((Cell("none", "dropped"), *cells(*(units.DASH,) * 6), share, *cells(*(units.DASH,) * 2)))
    return Table(
        f"Parts on the same {units.count(found.images)} test images of {found.data}",
        (
            Column("part"),
            *text_columns("its rule"),
            *number_columns("MACs", "MACs up to here", "ran", "stopped here", "requested", "answered"),
            *number_columns("right, of those", "right alone, of all"),
        ),
        tuple(rows),
    )


def bar(share: float) -> str:
    """Return a bar as long as a share."""
    width, height = _BAR
    track = svg.tag("rect", {"class": "track", "width": width, "height": height})
    filled = svg.tag("rect", {"class": "bar", "width": width * share, "height": height})
    return svg.drawing(width, height, units.percent(share, 1), track, filled, kind="share")


def _part_row(part: PartFigures, images: int) -> tuple[Cell, ...]:
    rule = f"{part.action}s" if part.action == "answer" else part.action
    limit = "" if part.threshold is None else f"at {units.significant(part.threshold, 4)}"
    answers = part.alone is not None
    return cells(
        part.name,
        Cell(rule or units.DASH, limit),
        units.count(part.macs),
        units.count(part.path_macs),
        units.percent(part.ran, 1),
        units.percent(part.stopped, 1),
        units.DASH if part.requested is None else units.percent(part.requested, 1),
        Cell(units.percent(part.answered, 1), drawing=bar(part.answered)) if answers else units.DASH,
        accuracy_cell(part.accuracy, round(part.answered * images)),
        accuracy_cell(part.alone, images),
    )


def accuracy_cell(accuracy: float | None, images: int) -> Cell:
    """Return an accuracy with one standard error."""
    if accuracy is None:
        return Cell(units.DASH)
    error = standard_error(accuracy, images)
    return Cell(units.percent(accuracy), "" if error is None else f"± {100 * error:.2f}")


def beside_table(found: DynamicRecord) -> Table:
    """Return this bundle, what each part would do alone, and networks that were put beside it, by their MACs."""
    own = [("this bundle", found.macs, found.accuracy)]
    alone = [(f"up to {part.name}, alone", float(part.path_macs), part.alone) for part in found.parts]
    known = [(name, macs, accuracy) for name, macs, accuracy in alone if accuracy is not None]
    known += [(single.name, float(single.macs), single.accuracy) for single in found.singles]
    rows = sorted([*own, *known], key=lambda row: row[1])
    return Table(
        "Against networks without rules, on the same images",
        (Column("network"), *number_columns("MACs, mean", "top-1", "points to this bundle")),
        tuple(_beside_row(name, macs, accuracy, found) for name, macs, accuracy in rows),
    )


def _beside_row(name: str, macs: float, accuracy: float, found: DynamicRecord) -> tuple[Cell, ...]:
    change = units.DASH if name == "this bundle" else units.points(accuracy - found.accuracy)
    return cells(name, units.count(round(macs)), accuracy_cell(accuracy, found.images), change)


def costs_table(found: DynamicRecord) -> Table:
    """Return expected costs of an input, from what parts cost alone and how often they ran, beside measured ones."""
    columns = (
        *text_columns("board"),
        *number_columns("expected, all images", "inputs", "expected of these", "measured", "difference"),
        Column("source", wide=True),
    )
    caption = "Costs of one input: parts alone times how often they ran, beside whole inputs that really ran"
    return Table(caption, columns, tuple(_cost_row(costs, found) for costs in found.costs))


def _cost_row(costs: BoardCosts, found: DynamicRecord) -> tuple[Cell, ...]:
    everywhere = expected_cost(costs, [part.ran for part in found.parts])
    here = expected_cost(costs, costs.ran) if costs.stops else None
    mean = mean_cost(costs)
    inputs = str(sum(stop.inputs for stop in costs.stops)) if costs.stops else "parts only"
    change = units.percent(mean / here - 1, 1) if here and mean is not None else units.DASH
    shown = [cost_text(value, costs.metric) for value in (everywhere, here, mean)]
    counted = "" if costs.metric in ("seconds", "joules") else costs.metric  # their texts have no unit
    return cells(Cell(costs.board, counted), shown[0], inputs, shown[1], shown[2], change, Cell(costs.source))


def stops_table(costs: BoardCosts) -> Table:
    """Return what inputs cost by the part after which nothing ran."""
    rows = tuple(
        cells(stop.part, str(stop.inputs), *(cost_text(v, costs.metric) for v in (stop.mean, stop.least, stop.most)))
        for stop in costs.stops
    )
    columns = (Column("stopped after"), *number_columns("inputs", "mean", "least", "most"))
    return Table(f"{costs.metric.capitalize()} by where an input stops, {costs.board}", columns, rows)


def cost_text(value: float | None, metric: str) -> str:
    """Return a cost with its unit."""
    if value is None:
        return units.DASH
    if metric == "seconds":
        return units.seconds(value)
    return units.joules(value) if metric == "joules" else short_count(value).replace(" ", "\u202f") or "0"


def memory_table(found: DynamicRecord) -> Table | None:
    """Return what a memory of past inputs did; None where there was none."""
    memory = found.memory
    if memory is None:
        return None
    hits = Cell(units.percent(memory.hit_rate, 1), drawing=bar(memory.hit_rate))
    row = cells(
        memory.hash,
        units.count(memory.limit),
        units.count(memory.inputs),
        hits,
        units.percent(memory.false_hit_rate, 2),
        accuracy_cell(memory.accuracy, memory.inputs),
    )
    columns = (Column("remembers by"), *number_columns("entries", "inputs", "hits", "false hits, of all", "top-1"))
    return Table("A memory of past inputs before the network", columns, (row,))
