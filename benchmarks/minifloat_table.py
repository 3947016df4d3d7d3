"""The tables of `benchmarks.minifloat_fpga`: accuracy against look-up tables, fronts, minifloats against integers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.minifloat_cases import PAIRS, PASSES, Net, Pair, bits_right
from devices.report.front import Point, best_of
from devices.report.paired import LEVEL, mcnemar, standard_error
from quant.formats import Array, find_format

#: Kinds of modules that requantise: wide multipliers, shifts and rounding, which a DSP block would take.
REQUANTISE = ("finish_lane", "pipe_lane")
#: Kinds of modules that multiply and add up.
PRODUCTS = ("lanes", "lanes_lane")


@dataclass(frozen=True, eq=False)
class Row:
    """A network in one pair of formats: its accuracy record, and its circuit record where one was finished."""

    pair: Pair
    accuracy: dict[str, Any]
    circuit: dict[str, Any] | None

    @property
    def name(self) -> str:
        """The format, or weights x activations."""
        weight, activation = self.pair
        return weight if weight == activation else f"{weight} x {activation}"

    @property
    def kind(self) -> str:
        """`integers`, `minifloats` or `mixed`."""
        wide = [find_format(name).is_minifloat for name in self.pair]
        return "mixed" if wide[0] != wide[1] else "minifloats" if wide[0] else "integers"

    @property
    def alike(self) -> bool:
        """Whether weights and activations have one format."""
        return self.pair[0] == self.pair[1]

    @property
    def bits(self) -> int:
        """Bits of a weight."""
        return find_format(self.pair[0]).bits

    @property
    def share(self) -> float:
        """Share of the test images that are right."""
        return float(self.accuracy["accuracy"])

    def luts(self, without: Sequence[str] = ()) -> float:
        """Return the look-up tables, without those of some kinds of modules."""
        assert self.circuit is not None
        return float(sum(part["lut"] for kind, part in self.circuit["parts"].items() if kind not in without))

    def luts_of(self, kinds: Sequence[str]) -> float:
        """Return the look-up tables of some kinds of modules."""
        return self.luts() - self.luts(kinds)


#: What a front is over: a title, and the cost of a row.
COSTS: tuple[tuple[str, Callable[[Row], float]], ...] = (
    ("all look-up tables", lambda row: row.luts()),
    ("look-up tables without requantisation", lambda row: row.luts(REQUANTISE)),
)


def rows(work: Path, net: Net) -> tuple[Row, ...]:
    """Return what is finished of a network, in the order of the study."""
    return tuple(
        Row(pair, accuracy, _circuit(work, net, pair))
        for pair in PAIRS
        if (accuracy := read(work, "accuracy", net, pair)) is not None
    )


def read(work: Path, kind: str, net: Net, pair: Pair) -> dict[str, Any] | None:
    """Return a record, None where it is not finished."""
    path = work / f"{kind}-{net.name}-{'-'.join(pair)}.json"
    found: dict[str, Any] | None = json.loads(path.read_text()) if path.is_file() else None
    return found


def _circuit(work: Path, net: Net, pair: Pair) -> dict[str, Any] | None:
    found = read(work, "circuit", net, pair)
    return None if found is None or "refused" in found else found


def front(found: Sequence[Row], cost: Callable[[Row], float]) -> tuple[Row, ...]:
    """Return the rows that no other beats, cheapest first."""
    able = [row for row in found if row.circuit is not None]
    points = [Point(row.name, cost(row), row.share, None) for row in able]
    return tuple(sorted((row for row, best in zip(able, best_of(points), strict=True) if best), key=cost))


def sure_front(found: Sequence[Row], cost: Callable[[Row], float]) -> tuple[Row, ...]:
    """Return the rows that are right more often than every cheaper one by more than chance, cheapest first."""
    chosen: list[Row] = []
    for row in front(found, cost):
        steps = [difference(row, other) for other in chosen[-1:]]
        if all(mean > 0 and p < LEVEL for mean, _, p in steps):
            chosen.append(row)
    return tuple(chosen)


def beaten_by(row: Row, others: Sequence[Row], cost: Callable[[Row], float]) -> tuple[Row, ...]:
    """Return the rows that take no more and are right no less often, and are better in one of both."""
    return tuple(
        other
        for other in others
        if other.circuit is not None
        and cost(other) <= cost(row)
        and other.share >= row.share
        and (cost(other), other.share) != (cost(row), row.share)
    )


def difference(row: Row, other: Row) -> tuple[float, float, float]:
    """Return how much more often a row is right than another on the same images, the standard error, McNemar's p."""
    mine, theirs = bits_right(row.accuracy), bits_right(other.accuracy)
    gained, lost, images = int((mine & ~theirs).sum()), int((theirs & ~mine).sum()), len(mine)
    mean = (gained - lost) / images
    error = math.sqrt(max((gained + lost) / images - mean * mean, 0.0) / images)
    return mean, error, mcnemar(lost, gained)


def page(nets: Sequence[tuple[Net, Sequence[Row]]], flat: Sequence[dict[str, Any]], tool: str) -> str:
    """Return the Markdown of all networks."""
    lines = [
        "# Accuracy against look-up tables: integers and minifloats of 3 to 8 bits",
        "",
        f"Streaming cores, {tool}, UltraScale+, no DSP blocks; synthesised module by module, never modelled.",
        f"Post-training quantisation, ranges by squared error, passes `{PASSES}`, the same for every format; logits",
        "have 8 bits (int8; e3m4 beside minifloats). Accuracies are the integer reference's, whose codes the cores",
        "give bit by bit. yosys packs no two functions into one table: use ratios. `requantisation` is the part of",
        "LUTs in lanes that scale sums to codes.",
        "",
        *_flat(flat),
    ]
    for net, found in nets:
        lines += [*_network(net, found), *_verdicts(found), *_missing(found)]
    return "\n".join(lines)


def _flat(flat: Sequence[dict[str, Any]]) -> list[str]:
    if not flat:
        return []
    head = ["| network | format | LUTs by module | LUTs of the flat core | difference |", "|---|---|---|---|---|"]
    cells = [
        f"| {one['net']} | {one['name']} | {one['kept']:,.0f} | {one['lut']:,.0f} "
        f"| {100 * (one['kept'] / one['lut'] - 1):+.1f} % |"
        for one in flat
    ]
    return ["## Module by module against one flat netlist", "", *head, *cells, ""]


def _network(net: Net, found: Sequence[Row]) -> list[str]:
    able = [row for row in found if row.circuit is not None]
    if not able:
        return []
    best = next(row for row in found if row.pair == ("int8", "int8"))
    fronts = [{id(row) for row in front(found, cost)} for _, cost in COSTS]
    circuit = able[0].circuit or {}
    images, base = best.accuracy["images"], best.accuracy["float_accuracy"]
    lines = [
        f"## {net.title}",
        "",
        f"{images:,} test images, float {100 * base:.2f} %; {circuit['products']} products at once and "
        f"{circuit['cycles']:,} clocks a frame in every format. `modelled`: the model of a MAC, times the products.",
        "",
        "| weights x activations | bits | top-1 ± SE | against int8, points ± SE (p) | LUTs | requantisation "
        "| products | modelled | FF | BRAM36 | front: all, without requantisation |",
        "|---" * 11 + "|",
    ]
    for row in sorted(able, key=lambda row: (-row.bits, not row.alike, row.kind, row.name)):
        made = row.circuit or {}
        error = standard_error(row.share, images) or 0.0
        marks = ", ".join("yes" if id(row) in members else "no" for members in fronts)
        cells = [row.name, str(row.bits), f"{100 * row.share:.2f} ± {100 * error:.2f}", _against(row, best)]
        cells += [f"{value:,.0f}" for value in (row.luts(), row.luts_of(REQUANTISE), row.luts_of(PRODUCTS))]
        cells += [f"{row.accuracy['luts_per_mac'] * made['products']:,.0f}", f"{made['ff']:,}", f"{made['bram']:g}"]
        lines.append(f"| {' | '.join([*cells, marks])} |")
    return [*lines, "", *_model(able), ""]


def _model(able: Sequence[Row]) -> list[str]:
    """Return how well the model of a MAC ranks and meets the synthesised products."""
    modelled = np.array([row.accuracy["luts_per_mac"] * (row.circuit or {})["products"] for row in able])
    made = np.array([row.luts_of(PRODUCTS) for row in able])
    if len(able) < 3 or not made.all():
        return []
    ratios = modelled / made
    return [
        f"Model against synthesis, {len(able)} circuits: rank correlation {rank_correlation(modelled, made):.2f}, "
        f"modelled over synthesised products {ratios.min():.2f} to {ratios.max():.2f}; the model counts the "
        "accumulator of a MAC, too, which stands elsewhere here."
    ]


def rank_correlation(x: Array, y: Array) -> float:
    """Return Spearman's rank correlation: the correlation of ranks, equal values sharing the mean of theirs."""
    ranks = [np.array([(v < value).sum() + (v == value).sum() / 2 for value in v]) for v in (x, y)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _against(row: Row, best: Row) -> str:
    if row is best:
        return "-"
    mean, error, p = difference(row, best)
    shown = f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
    return f"{100 * mean:+.2f} ± {100 * error:.2f} ({shown})"


def _verdicts(found: Sequence[Row]) -> list[str]:
    """Return the fronts, and every minifloat against the integer of as many bits."""
    lines: list[str] = []
    for title, cost in COSTS:
        every, sure = (", ".join(f"{row.name} ({row.kind})" for row in of(found, cost)) for of in (front, sure_front))
        if every:
            lines += [f"Front over {title}: {every}.", f"Of these each step up is more than chance: {sure}.", ""]
    alike = [row for row in found if row.alike and row.circuit is not None]
    integers = {row.bits: row for row in alike if row.kind == "integers"}
    lines += ["| bits | minifloat | LUTs against the integer's | points against the integer's (p) | verdict |"]
    lines += ["|---|---|---|---|---|"]
    for row in sorted(alike, key=lambda row: (-row.bits, row.name)):
        if row.kind == "minifloats" and row.bits in integers:
            lines.append(_versus(row, integers[row.bits], list(integers.values())))
    return [*lines, ""]


def _versus(row: Row, same: Row, integers: Sequence[Row]) -> str:
    mean, _, p = difference(row, same)
    shown = f"p = {p:.3f}" if p >= 0.001 else "p < 0.001"
    ratio = row.luts() / same.luts()
    winners = beaten_by(row, integers, COSTS[0][1])
    if winners:
        verdict = "beaten by " + ", ".join(winner.name for winner in winners)
    else:
        verdict = "no integer beats it" + ("" if p < LEVEL else " (its gain may be chance)" if mean > 0 else "")
    return f"| {row.bits} | {row.name} | {100 * (ratio - 1):+.0f} % | {100 * mean:+.2f} ({shown}) | {verdict} |"


def _missing(found: Sequence[Row]) -> list[str]:
    """Return the accuracies of what has no circuit, and why."""
    lines = []
    refused = [row for row in found if "refused" in row.accuracy]
    if refused:
        shown = ", ".join(f"{row.name} {100 * row.share:.2f} %" for row in refused)
        lines += [f"No hardware, as a sum of products is too long for 63 bits; emulated in float: {shown}.", ""]
    waiting = [row for row in found if row.circuit is None and "refused" not in row.accuracy]
    if waiting:
        shown = ", ".join(f"{row.name} {100 * row.share:.2f} %" for row in waiting)
        lines += [f"Not synthesised, so on no front; only their accuracy is known: {shown}.", ""]
    return lines
