"""The table of `benchmarks.split_link`."""

from __future__ import annotations

from textwrap import fill
from typing import Any

from edge.link.model import WAYS, Costs, Link, best_way, break_even

WIDTH = 140
#: Must hold for links with a round trip of at least 20 ms.
BOUND = 0.15

_NO_BUCKET = " Frames here are smaller than a packet of the token bucket, which would let them through at once."
_BUCKET = (
    " The token bucket is the kernel's (tbf), both ways, between two network namespaces with packets of 600 bytes: "
    "TCP's headers take 12 % more, and the bucket lets the first 620 bytes of a pause through at once; the model knows "
    "neither. This kernel has no netem, so the delay there is the relay's, and TCP's slow start over a long way is in "
    "none of these figures."
)

Key = tuple[str, float, float]


def table(record: dict[str, Any]) -> str:
    """Return the whole page."""
    costs, rows = Costs(**record["costs"]), record["results"]
    cells = by_cell(rows)
    worst = max(rows, key=lambda row: abs(row["error"]))
    over = [row for row in rows if abs(row["error"]) > BOUND]
    alone = max(rows, key=lambda row: abs(row["link_error"]))
    over_alone = [row for row in rows if abs(row["link_error"]) > BOUND]
    lines = [
        "# Local, split and remote over emulated links, against the model",
        "",
        fill(_about(record, costs), WIDTH),
        "",
    ]
    for emulator in dict.fromkeys(row["emulator"] for row in rows):
        lines += [f"## {emulator}", "", *_grid(emulator, cells, costs), "", *_intervals(emulator, cells, costs), ""]
    if record["no_token_bucket"]:
        lines += [f"No token bucket here: {record['no_token_bucket']}.", ""]
    lines += [
        f"{len(rows)} cells, {len(over)} more than {BOUND:.0%} from the model. The largest error is "
        f"{_cell(worst, 'error')}.",
        f"Without the device's wait, which is exact by itself, {len(over_alone)} are, and the largest error is "
        f"{_cell(alone, 'link_error')}.",
        "",
        "    python -m benchmarks.split_link --data DATA --priority --write",
        "",
    ]
    return "\n".join(lines)


def _cell(row: dict[str, Any], key: str) -> str:
    place = f"{row['emulator']}, {row['way']}, {row['rate_bit_s'] / 1e6:g} Mbit/s, {row['round_trip_s'] * 1e3:g} ms"
    return f"{row[key]:+.1%} ({place})"


def by_cell(rows: list[dict[str, Any]]) -> dict[Key, dict[str, dict[str, Any]]]:
    """Return the rows by emulator, rate and round trip, then way."""
    found: dict[Key, dict[str, dict[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["emulator"], row["rate_bit_s"], row["round_trip_s"]), {})[row["way"]] = row
    return found


def measured_best(cell: dict[str, dict[str, Any]], costs: Costs) -> str:
    """Return the fastest way as measured; local takes what the device does."""
    times = {"local": costs.device_s, **{way: row["measured_s"] for way, row in cell.items()}}
    return min(WAYS, key=lambda way: times[way])


def _grid(emulator: str, cells: dict[Key, dict[str, dict[str, Any]]], costs: Costs) -> list[str]:
    lines = [
        "| round trip | rate | split ms | model | error | without the device | remote ms | model | error "
        "| local ms (modelled) | best | by the model |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for (name, rate, trip), cell in cells.items():
        if name != emulator:
            continue
        figures = " | ".join(
            f"{cell[way]['measured_s'] * 1e3:.1f} | {cell[way]['model_s'] * 1e3:.1f} | {cell[way]['error']:+.1%}{more}"
            for way, more in (("split", f" | {cell['split']['link_error']:+.1%}"), ("remote", ""))
        )
        best, wanted = measured_best(cell, costs), best_way(costs, Link(rate, trip))
        lines.append(
            f"| {trip * 1e3:.0f} ms | {rate / 1e6:g} Mbit/s | {figures} | {costs.device_s * 1e3:.0f} "
            f"| {best} | {wanted} |"
        )
    return lines


def _intervals(emulator: str, cells: dict[Key, dict[str, dict[str, Any]]], costs: Costs) -> list[str]:
    lines = []
    for trip in sorted({key[2] for key in cells if key[0] == emulator}):
        rates = [
            key[1]
            for key, cell in cells.items()
            if key[::2] == (emulator, trip) and measured_best(cell, costs) == "split"
        ]
        found = break_even(costs, trip)
        shown = f"{min(rates) / 1e6:g} to {max(rates) / 1e6:g} Mbit/s" if rates else "none"
        model = "nowhere"
        if found.split_from is not None and found.split_to is not None:
            model = f"from {found.split_from / 1e6:.3f} to {found.split_to / 1e6:.3f} Mbit/s"
        lines.append(
            f"- Round trip {trip * 1e3:.0f} ms: split is best at the measured rates {shown}; by the model {model}."
        )
    return lines


def _about(record: dict[str, Any], costs: Costs) -> str:
    head, tail = record["instructions"]
    raised = "a real-time priority" if record["priority"] else "no raised priority"
    return (
        f"{record['about']}, cut where {record['mac_share']:.0%} of the multiply-accumulates are done: "
        f"{costs.cut_bytes} bytes cross, {costs.input_bytes} are the input, {costs.answer_bytes} come back. "
        "**The device is modelled:** it waits for as long as "
        f"{head:,} (head) and {head + tail:,} (all) instructions take, which the emulated {record['board']} counts, "
        f"one a cycle at {record['clock_hz'] / 1e6:g} MHz: {costs.head_s * 1e3:.1f} and {costs.device_s * 1e3:.1f} ms. "
        f"Packets, links, server and tail are real and on one machine; client and server had {raised}, because it was "
        f"busy. Without a link the server took {costs.tail_s * 1e3:.1f} ms for the tail and "
        f"{costs.server_s * 1e3:.1f} ms for all, which the model takes as given. Every answer is "
        f"compared ({record['labels']} labels). Times are medians from the begin of the head to the answer. The relay "
        f"passes on bytes at the rate and delays them.{_BUCKET if 'token' in record['emulators'] else _NO_BUCKET}"
    )
