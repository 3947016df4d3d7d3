"""The page about two heads, from the record of `dual_head.py`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

Row = Mapping[str, Any]
#: Points that DHO must be above training on the labels alone.
LEAD = 2.0
#: What is called a collapse here, in points.
COLLAPSE = 1.0
FEW = "DHO, a and beta chosen on as few images as have labels"
RULES = ("arithmetic", "geometric")
#: How the settings were found.
TRIED = (
    "Tried on held-out images, seed 0: rates 0.001 and 0.01 for one head (75.8, 83.5 % after 2 epochs), 0.001, 0.003 "
    "and 0.01 for the labels alone (75.8, 80.0, 80.4 % after 3).\n"
    "DHO takes one head's. The trials of one head and DHO had a teacher of 2 epochs. There a mix chosen on 600 images "
    "lost 0.7 points to the teacher's head alone,\n"
    "so all held-out images choose: more labels than train the students, and the table has the mix of as few, too."
)


def table(record: Mapping[str, Any]) -> str:
    """Return the page in Markdown."""
    rows = record["dho"]
    lines = [*_head(record), *_semi_head(record)]
    for name in dict.fromkeys(row["teacher"] for row in rows):
        lines += _semi([row for row in rows if row["teacher"] == name], rows, f"The {name} teacher")
    return "\n".join([*lines, *_exports([row for row in rows if "export" in row]), *_full(record), ""])


def _head(record: Mapping[str, Any]) -> list[str]:
    knowing, weak = record["teachers"]["knowing"], record["teachers"]["weak"]
    return [
        "# A head for the labels and a head for the teacher, on Fashion-MNIST",
        "",
        "A teacher must know more than the few labels. In the paper it is a zero-shot model; here it is a strided CNN "
        f"of {knowing['parameters']:,} parameters",
        "that was trained with labels which the students do not get, so **what they gain from it goes back to those "
        "labels**:",
        "",
        f"- knowing: trained on {_trained_on(knowing)}",
        f"- weak: trained on {_trained_on(weak)}",
        "",
        "Logits are asked for once per image. The last 5,000 training images choose settings and mixes and train "
        "nothing; test accuracy is of all 10,000",
        "test images, in percent; spread is the largest less the smallest of the seeds.",
        "",
    ]


def _trained_on(about: Row) -> str:
    settings = about["settings"]
    return (
        f"{settings['images']:,} images with labels, {settings['epochs']} epochs; right on "
        f"{about['pool_accuracy']:.2%} of the images the students learn from, {about['held_accuracy']:.2%} of "
        f"those held out, {about['test_accuracy']:.2%} of the test images"
    )


def _semi_head(record: Mapping[str, Any]) -> list[str]:
    settings, steps = record["settings"], record["dho"][0]["steps"]
    dho, rates = settings["dho"], settings["dho_rates"]
    return [
        "## DHO: 1 % of the labels",
        "",
        f"{settings['labelled']} labelled images (other ones for each seed, as many of each class), the others without "
        f"labels. {steps:,} steps for every method, {dho['labelled']} labelled images a step",
        f"and, with a teacher, {dho['unlabelled']} others ({dho['epochs']} epochs of them); AdamW; mirrored and "
        "shifted by up to 2 pixels; same initial weights, images and order.",
        "`labels only` has the cross-entropy alone, `one head` both losses on one head, `DHO` a head for each. Peak "
        f"rates: {', '.join(f'{method} {rate:g}' for method, rate in rates.items())}.",
        TRIED,
        "",
    ]


def _semi(rows: list[Row], every: list[Row], title: str) -> list[str]:
    """Return the part about one teacher; the labels alone need none and are in the first part's rows only."""
    dho = [row for row in rows if row["method"] == "DHO"]
    of = {name: _points([row for row in every if row["method"] == name], "method", name) for name in ("labels only",)}
    of |= {name: _points(rows, "method", name) for name in ("one head", "DHO")}
    parts = {
        FEW: [row["few"]["accuracy"] for row in dho],
        "DHO, a = 0.5, beta = 1": [row["halves"] for row in dho],
        "DHO, label head alone (a = 1)": [row["first"] for row in dho],
        "DHO, teacher's head alone (a = 0)": [row["second"] for row in dho],
        "DHO, geometric: one linear layer": [row["geometric"]["accuracy"] for row in dho],
    }
    of |= {name: 100 * np.array(values) for name, values in parts.items()}
    chosen = [
        f"seed {row['seed']} "
        + ", ".join(f"{rule} a {row[rule]['share']:g} beta {row[rule]['beta']:g}" for rule in RULES)
        for row in dho
    ]
    lead, over, few = of["DHO"] - of["labels only"], of["DHO"] - of["one head"], of[FEW] - of["one head"]
    return [
        f"### {title}",
        "",
        _columns("method", dho),
        "|---|" + "---|" * (len(dho) + 2),
        *(_line(name, values) for name, values in of.items()),
        "",
        f"Chosen: {'; '.join(chosen)}.",
        "",
        f"- at least {LEAD:g} points above the labels alone: {_verdict(lead.mean() - LEAD)}, {lead.mean():+.2f} points "
        f"({_each(lead)})",
        f"- at least as good as one head with both losses: {_verdict(over.mean())}, {over.mean():+.2f} points "
        f"({_each(over)}){_noise(over, of['DHO'], of['one head'])}",
        f"- the same with a and beta chosen on as few images as have labels: {few.mean():+.2f} points ({_each(few)})",
        "",
    ]


def _exports(rows: list[Row]) -> list[str]:
    lines = [
        "### As files",
        "",
        "| rule | seed | file | parameters | float | w8a8 | C against the integer reference |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        made, seed, wide = row["export"], row["seed"], f"{row['arithmetic']['accuracy']:.2%}"
        joint, small = made["joint"], made["geometric"]
        onnx, starts = made["onnx"], f"| arithmetic | {seed} |"
        lines += [
            f"{starts} float ONNX with both softmaxes: torch's labels but for {onnx['labels_that_differ']} of 10,000, "
            f"largest difference {onnx['largest_difference']:.1e} | {joint['parameters']:,} | {wide} | refused | - |",
            f"{starts} both heads' logits, softmaxes and sum outside | {joint['parameters']:,} | {wide} | "
            f"{joint['w8a8_accuracy']:.2%} | {_parity(joint['c_host'])} |",
            f"| geometric | {seed} | one linear layer | {small['parameters']:,} | {row['geometric']['accuracy']:.2%} | "
            f"{small['w8a8_accuracy']:.2%} | {_parity(small['c_host'])} |",
        ]
    refusal = rows[0]["export"]["onnx"]["quantiser"]
    return [*lines, "", f'The quantiser about the file with both softmaxes: "{refusal}"', ""]


def _full(record: Mapping[str, Any]) -> list[str]:
    rows, settings = record["dhkd"], record["settings"]["dhkd"]
    variants = tuple(dict.fromkeys(row["variant"] for row in rows))
    of = {variant: _points(rows, "variant", variant) for variant in variants}
    lines = [
        "## DHKD: all labels, and the teacher's logits",
        "",
        f"A student of 8, 16 and 32 channels, {settings['epochs']} epochs, batch {settings['batch']}, SGD from "
        f"{settings['rate']}, no augmentation; the first head's accuracy.",
        "",
        _columns("loss", [row for row in rows if row["variant"] == "CE"]),
        "|---|" + "---|" * (len(of["CE"]) + 2),
    ]
    lines += [_line(variant, values) for variant, values in of.items()]
    return [*lines, "", *_collapse(of, rows), "", *_trials(record["trials"])]


def _collapse(of: Mapping[str, Any], rows: list[Row]) -> list[str]:
    single, dual, plain = (of[name] for name in ("CE + BinaryKL-Norm, one head", "DHKD", "CE"))
    conflicts = [row["conflicts"] for row in rows if row["variant"] == "DHKD, aligned"]
    loss = plain.mean() - single.mean()
    return [
        f"- both losses on one head collapse, {COLLAPSE:g} points or more below cross-entropy alone: "
        f"{_verdict(loss - COLLAPSE)}, it is {-loss:+.2f} points from it",
        f"- DHKD at least as good as both losses on one head: {_verdict((dual - single).mean())}, "
        f"{(dual - single).mean():+.2f} points ({_each(dual - single)}){_noise(dual - single, dual, single)}",
        f"- gradients in conflict: {min(conflicts):.0%} to {max(conflicts):.0%} of the steps",
    ]


def _trials(trials: list[Row]) -> list[str]:
    """Return what larger weights and another teacher did."""
    alone = next(row["held_accuracy"] for row in trials if row["alpha"] == 0)
    lines = [
        f"Looking for the collapse: one epoch, seed 0, accuracy on held-out images; cross-entropy alone {alone:.2%}. "
        "Where both columns fall, training diverges; a second head does not help there, since the body is shared.",
        "",
        "| teacher | alpha | one head | DHKD |",
        "|---|---|---|---|",
    ]
    for case in dict.fromkeys((row["teacher"], row["alpha"]) for row in trials if row["alpha"]):
        each = [row["held_accuracy"] for row in trials if (row["teacher"], row["alpha"]) == case]
        lines.append(f"| {case[0]} | {case[1]:g} | " + " | ".join(f"{value:.2%}" for value in each) + " |")
    return lines


def _points(rows: list[Row], key: str, name: str) -> Any:
    return 100 * np.array([row["accuracy"] for row in rows if row[key] == name])


def _columns(first: str, rows: list[Row]) -> str:
    seeds = " | ".join(f"seed {row['seed']}" for row in rows)
    return f"| {first} | {seeds} | mean | spread |"


def _line(name: str, values: Any) -> str:
    each = " | ".join(f"{value:.2f}" for value in values)
    return f"| {name} | {each} | {np.mean(values):.2f} | {np.ptp(values):.2f} |"


def _each(values: Any) -> str:
    return ", ".join(f"{value:+.2f}" for value in values)


def _verdict(margin: float) -> str:
    return "met" if margin >= 0 else f"missed by {-margin:.2f} points"


def _noise(gap: Any, one: Any, other: Any) -> str:
    """Return a warning where a difference is smaller than what the seed alone does."""
    return "; less than the spread of the seeds" if abs(gap.mean()) < max(np.ptp(one), np.ptp(other)) else ""


def _parity(found: Mapping[str, Any]) -> str:
    if found["status"] == "skipped":
        return f"skipped: {found['reason']}"
    outputs = f"{found['labels']} outputs are the largest of some image"
    return f"{found['status']}: {found['vectors']:,} images, {found['steps']} steps apart; {outputs}"
