"""The tables of `benchmarks.split_recipes`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

METHODS = ("naive", "kd", "hnd", "ghnd", "ghnd-ft", "ghnd-kd")
#: Points that an 8-bit link may cost.
MOST_LOST = 0.3
Record = dict[str, Any]


def table(record: Record) -> str:
    """Return the whole page."""
    sections = (_head(record), _methods(record), _links(record), _latency(record), _socket(record), _checks(record))
    return "\n".join([line for section in sections for line in (*section, "")])


def spread(values: Iterable[float]) -> str:
    """Return mean and, in brackets, lowest and highest, in percent."""
    found = [100 * value for value in values]
    return f"{np.mean(found):.2f} ({min(found):.2f} to {max(found):.2f})"


def _head(record: Record) -> list[str]:
    s, sizes = record["settings"], record["image_bytes"]
    macs = record["counts"][str(s["compared_channels"])]["macs"]
    seeds = [row["seed"] for row in record["teachers"]]
    return [
        "# Bottlenecks on Fashion-MNIST",
        "",
        f"Teacher: `staged` ({macs['teacher']:,} MACs), {s['teacher_epochs']} epochs, test accuracy "
        f"{spread(r['accuracy'] for r in record['teachers'])} %. The student",
        f"replaces stem, layer1 and layer2: a head of {macs['head']:,} MACs to c x 6 x 6 values, a decoder, the "
        "teacher's layer3, layer4 and classifier.",
        f"60,000 training and 10,000 test images, seeds {', '.join(map(str, seeds))}: mean (lowest to highest), "
        f"accuracies in percent. Adam {s['rate']:g} under a cosine, batch {s['batch']};",
        "two rates were tried, on held-out training images.",
        "",
        f"An image has {sizes['raw']:.0f} bytes, as PNG {sizes['png']:.0f}, as JPEG of quality 95 "
        f"{sizes['jpeg95']:.0f} with its own Huffman tables and {sizes['jpeg95_plain']:.0f} with the standard ones",
        "(means over all test images). JPEG files of so small an image are mostly tables.",
    ]


def _methods(record: Record) -> list[str]:
    s = record["settings"]
    lines = [
        f"## Methods, c = {s['compared_channels']}, float, {s['epochs']} epochs each",
        "",
        "`ghnd-ft` and `ghnd-kd` spend half of them on GHND, the others on decoder and tail (cross-entropy, "
        "distillation; the encoder is frozen).",
        "In the others the tail is the teacher's, frozen.",
        "",
        "| method | test accuracy |",
        "|---|---|",
    ]
    lines += [f"| {method} | {spread(_accuracies(record, method))} |" for method in METHODS]
    return [*lines, "", _order(_means(record)), *_longer(record)]


def _longer(record: Record) -> list[str]:
    """Return the same for longer trainings, where there are some."""
    if not record["longer"]:
        return []
    chosen = dict.fromkeys(row["method"] for row in record["longer"])
    found = {method: _accuracies(record, method, "longer") for method in METHODS if method in chosen}
    lines = [
        "",
        f"With {record['settings']['longer_epochs']} epochs each:",
        "",
        "| method | test accuracy |",
        "|---|---|",
    ]
    lines += [f"| {method} | {spread(accuracies)} |" for method, accuracies in found.items()]
    return [*lines, "", _order(_means(record, "longer"))]


def _accuracies(record: Record, method: str, where: str = "methods") -> list[float]:
    compared = record["settings"]["compared_channels"]
    return [r["accuracy"] for r in record[where] if r["method"] == method and r["channels"] == compared]


def _means(record: Record, where: str = "methods") -> dict[str, float]:
    chosen = [method for method in METHODS if _accuracies(record, method, where)]
    return {method: 100 * float(np.mean(_accuracies(record, method, where))) for method in chosen}


def _order(means: dict[str, float]) -> str:
    pairs = (("ghnd", "hnd"), ("hnd", "naive"), ("ghnd", "naive"), ("ghnd-ft", "naive"))
    said = [
        f"{a} {'is at least as good as' if means[a] >= means[b] else 'is worse than'} {b} ({means[a] - means[b]:+.2f})"
        for a, b in pairs
    ]
    return f"GHND >= HND >= naive: {'holds' if _ordered(means) else 'does not hold'}. " + ", ".join(said) + "."


def _ordered(means: dict[str, float]) -> bool:
    return means["ghnd"] >= means["hnd"] >= means["naive"]


def _links(record: Record) -> list[str]:
    lines = [
        "## Channels and formats of the link (ghnd-ft; networks w8a8, head and tail through packets)",
        "",
        "`float` is the float network. Wire bytes are payload, 40 bytes of header and 4 of checksum; `zstd` compresses "
        "a payload where that is shorter,",
        "mean over the test images. GHND alone is the float accuracy before decoder and tail were fine-tuned.",
        "",
        "| c | GHND alone | link | test accuracy | against float | payload, bytes | wire | wire with zstd |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for channels in record["settings"]["channels"]:
        students = [r for r in record["methods"] if r["method"] == "ghnd-ft" and r["channels"] == channels]
        count = int(np.prod(_rows(record, channels, "int8")[0]["shape"]))
        alone = spread(r["first_stage_accuracy"] for r in students)
        accuracy = spread(r["accuracy"] for r in students)
        lines.append(f"| {channels} | {alone} | float | {accuracy} | | {4 * count} | {4 * count + 44} | |")
        for link in dict.fromkeys(row["link"] for row in record["links"]):
            lines.append(_link_row(channels, _rows(record, channels, link)))
    return lines


def _rows(record: Record, channels: int, link: str) -> list[Record]:
    return [row for row in record["links"] if row["channels"] == channels and row["link"] == link]


def _link_row(channels: int, rows: list[Record]) -> str:
    first, zstd = rows[0], np.mean([row["zstd_wire_bytes_mean"] for row in rows])
    return (
        f"| {channels} | | {first['link']} | {spread(row['accuracy'] for row in rows)} | {_change(rows):+.2f} | "
        f"{first['payload_bytes']} | {first['wire_bytes']} | {zstd:.1f} |"
    )


def _change(rows: list[Record]) -> float:
    return 100 * float(np.mean([row["accuracy"] - row["float_accuracy"] for row in rows]))


def _latency(record: Record) -> list[str]:
    compared = record["settings"]["compared_channels"]
    chosen = [row for row in record["latency"] if row["channels"] == compared]
    rates = list(chosen[0]["seconds"])
    lines = [
        f"## Latency, c = {compared}, int8 link, round trip 20 ms",
        "",
        "Milliseconds of one frame, local / split / remote, the least in bold. Counted instructions of the generated C "
        "at one a cycle (QEMU; no cache misses, no",
        "waiting for flash), the server a Cortex-A72 at 1.5 GHz. Local runs the same student, so that local and split "
        "give the same answers; remote sends the PNG",
        f"({chosen[0]['input_bytes']} bytes with the packet), which costs the device nothing here: both assumptions "
        "favour the others. Remote runs the teacher, which is more accurate.",
        "",
        "| device | " + " | ".join(rate.replace("mbit", " Mbit/s") for rate in rates) + " | split is best |",
        "|---|" + "---|" * (len(rates) + 1),
    ]
    for row in chosen:
        cells = [_cell(row["seconds"][rate], row["best"][rate]) for rate in rates]
        lines.append(f"| {row['device']} | " + " | ".join(cells) + f" | {_interval(row)} |")
    lines += ["", "Break-even rates by channels:", ""]
    lines += [f"- {row['device']}, c = {row['channels']}: {_interval(row)}" for row in record["latency"]]
    return [*lines, "", *_why_empty(record)]


def _cell(found: dict[str, float], best: str) -> str:
    texts = {way: f"{1e3 * value:.1f}" for way, value in found.items()}
    return " / ".join(f"**{text}**" if way == best else text for way, text in texts.items())


def _interval(row: Record) -> str:
    if row["split_from_bit_s"] is None:
        return "nowhere"
    upper = row["split_to_bit_s"]
    top = "any rate" if not np.isfinite(upper) else f"{upper / 1e3:,.0f} kbit/s"
    return f"{row['split_from_bit_s'] / 1e3:,.0f} kbit/s to {top}"


def _why_empty(record: Record) -> list[str]:
    """Say why split is never best where that is so: the round trip alone takes as long as the device."""
    found = []
    for row in record["latency"]:
        local = next(iter(row["seconds"].values()))["local"]
        if row["split_from_bit_s"] is None and row["channels"] == record["settings"]["compared_channels"]:
            why = (
                "less than the round trip alone, so no rate helps" if local < 0.02 else "and the head takes most of it"
            )
            found.append(f"{row['device']}: the device alone takes {1e3 * local:.1f} ms, {why}.")
    return found


def _socket(record: Record) -> list[str]:
    s = record["socket"]
    return [
        "## Over a socket",
        "",
        f"Bundle `arm-m`, c = {s['channels']}, {s['link']}, seed {s['seed']}: {s['frames']:,} test images, head here, "
        f"tail behind a loopback socket, {s['answered_by_server']:,} answered by",
        f"the server, {s['request_bytes']} bytes each: {s['codes_that_differ']} with other codes and "
        f"{s['labels_that_differ']} with other labels than the unsplit network ({s['distinct_labels']} labels occur). "
        f"`edge.inferring.infer` over",
        f"{s['infer_frames']} of them: {s['infer_agreement']:.0%} the same codes.",
    ]


def _checks(record: Record) -> list[str]:
    sizes, channels = record["image_bytes"], record["settings"]["channels"]
    least = min(sizes["png"], sizes["jpeg95"], sizes["jpeg95_plain"])
    lost = {c: _change(_rows(record, c, "int8")) for c in channels}
    payloads = {(c, r["link"]): r["payload_bytes"] for c in channels for r in record["links"] if r["channels"] == c}
    larger = [f"c = {c} {link}, {size} bytes" for (c, link), size in payloads.items() if size >= least]
    where = sorted({row["device"] for row in record["latency"] if row["split_from_bit_s"] is not None})
    worst = min(lost, key=lambda c: lost[c])
    socket = record["socket"]
    means = _means(record)
    return [
        "## Must hold",
        "",
        f"- an 8-bit link costs at most {MOST_LOST} points against the float network, mean of seeds: "
        f"{_verdict(lost[worst] >= -MOST_LOST)} (worst {lost[worst]:+.2f} at c = {worst})",
        f"- payload smaller than PNG and JPEG q95 of the input: {_verdict(not larger)}"
        + (f" ({'; '.join(larger)})" if larger else f" (largest {max(payloads.values())} of {least:.0f} bytes)"),
        f"- GHND >= HND >= naive at equal epochs: {_verdict(_ordered(means))}",
        f"- an interval of rates where split is best: {_verdict(bool(where))} ({', '.join(where) or 'nowhere'})",
        f"- the same labels over a socket: {_verdict(socket['labels_that_differ'] == 0)}",
    ]


def _verdict(holds: bool) -> str:
    return "holds" if holds else "does not hold"
