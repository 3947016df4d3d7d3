"""`results/gating.md` from the record of `benchmarks.gating`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

Rows = Sequence[Mapping[str, Any]]
HEAD = (
    "| r | masks | accuracy | against dense | against dense, tuned alike | estimated MACs | achieved MACs "
    "| estimate off by | with predictors | saved, predictors paid | mask accuracy | of constant masks |",
    "|---|---|---|---|---|---|---|---|---|---|---|---|",
)


def markdown(record: Mapping[str, Any]) -> str:
    """Return the page."""
    plain, goals = record["plain"], record["settings"]["goals"]
    lines = [
        "# Channel gating on Fashion-MNIST",
        "",
        *_setting(record),
        "",
        f"Dense: {_spread([row['dense'] for row in plain])}" + _tuned(plain) + ".",
        "",
        *HEAD,
    ]
    for share, rows in record["gated"].items():
        lines.append(_row(share, "predicted", rows, plain))
    lines.append(_row(str(record["chosen_r"]), "predicted, at logit > 0", record["at_zero"], plain))
    for name, what in (("joint", "predicted, trained jointly"), ("constant", "the same for all images")):
        if record[name]:
            lines.append(_row(str(record["settings"]["middle"]), what, record[name], plain))
    lines += [
        "",
        "Estimates come from the dense network of the same seed. Predicted masks are at the offset that keeps the "
        "estimated share of channels on training images; the joint training has none, its masks are logit > 0.",
    ]
    lines += ["", "The knob before any fine-tune: the dense network and its predictors, nothing else.", "", *HEAD]
    lines += [
        _row(share, "predicted, backbone as it was", rows, plain) for share, rows in record["fitted"].items() if rows
    ]
    lines += [
        "",
        *_missing(record),
        *_verdicts(record, goals),
        "",
        *_kept(record),
        "",
        *_time(record),
        "",
        *_elsewhere(record),
    ]
    return "\n".join([*lines, ""])


def _setting(record: Mapping[str, Any]) -> list[str]:
    units = ", ".join(
        f"{channels}{' stride 2' if stride == 2 else ''}{'' if gated else ' (not gated)'}"
        for channels, stride, gated in record["settings"]["units"]
    )
    settings = record["settings"]
    first = next(iter(record["gated"].values()))[0]
    return [
        f"3x3 convolutions with batch norm and Relu: {units}; mean, linear; {first['dense_macs']:,} MACs. "
        f"{settings['train']:,} training images, {settings['held_out']:,} held out to choose r,",
        f"all 10,000 test images, {len(record['plain'])} seeds: mean, and lowest to highest. "
        f"{settings['dense_epochs']} epochs dense; then {settings['rounds']} rounds of predictors and one epoch under "
        "their masks, and the predictors again.",
        "Ten settings were tried before (two networks, r, rate of the fine-tune, predictors frozen or learning in it), "
        "each once, with 12,000 training images and the held-out ones; none on test images.",
    ]


def _tuned(plain: Rows) -> str:
    if not all("tuned" in row for row in plain):
        return ""
    return f"; with the fine-tunes of the gated ones {_spread([row['tuned'] for row in plain])}"


def _spread(values: Sequence[float], digits: int = 2) -> str:
    percent = 100 * np.array(values)
    return f"{percent.mean():.{digits}f} % ({percent.min():.{digits}f} to {percent.max():.{digits}f})"


def _points(rows: Rows, plain: Rows, key: str) -> float | None:
    """Return the mean change of accuracy in points, seed by seed."""
    if not all(key in row for row in plain):
        return None
    before = {row["seed"]: row[key] for row in plain}
    return float(np.mean([100 * (row["accuracy"] - before[row["seed"]]) for row in rows]))


def _row(share: str, what: str, rows: Rows, plain: Rows) -> str:
    mean = {key: np.mean([row[key] for row in rows]) for key, value in rows[0].items() if isinstance(value, float)}
    against = [_points(rows, plain, key) for key in ("dense", "tuned")]
    changes = " | ".join("-" if change is None else f"{change:+.2f}" for change in against)
    errors = [100 * row["relative_error"] for row in rows]
    few = "" if len(rows) == len(plain) else f", {len(rows)} of {len(plain)} seeds"
    return (
        f"| {share} | {what}{few} | {_spread([row['accuracy'] for row in rows])} | {changes} | "
        f"{mean['estimated_macs']:,.0f} | "
        f"{mean['achieved_macs']:,.0f} | {np.mean(errors):+.1f} % ({min(errors):+.1f} to {max(errors):+.1f}) | "
        f"{mean['achieved_macs'] + mean['achieved_predictor_macs']:,.0f} | "
        f"{_spread([row['saving'] for row in rows], 1)} | {_spread([row['mask_accuracy'] for row in rows], 1)} | "
        f"{100 * mean['mask_accuracy_of_constant_masks']:.1f} % |"
    )


def _missing(record: Mapping[str, Any]) -> list[str]:
    names = [f"r = {share}" for share in record["untrained"]]
    names += [name for name in ("joint", "constant") if not record[name]]
    return [f"Not trained, so left out: {', '.join(names)}.", ""] if names else []


def _verdicts(record: Mapping[str, Any], goals: Mapping[str, float]) -> list[str]:
    rows, plain = record["gated"][str(record["chosen_r"])], record["plain"]
    worst = max(abs(row["relative_error"]) for row in rows)
    saving, accuracy = (float(np.mean([row[key] for row in rows])) for key in ("saving", "mask_accuracy"))
    lines = [
        f"Headline: r = {record['chosen_r']}, the best on held-out images of those that save {goals['saving']:.0%} "
        "there.",
        "",
        f"- estimate within 5 % of the achieved MACs: {_met(worst <= 0.05)}, at most {100 * worst:.1f} % off",
        f"- at least {goals['saving']:.0%} fewer MACs: {_met(saving >= goals['saving'])}, {100 * saving:.1f} %",
    ]
    for key, name in (("dense", "dense network"), ("tuned", "dense network with the same fine-tunes")):
        change = _points(rows, plain, key)
        if change is not None:
            over = "" if change >= -goals["points"] else f", {-change - goals['points']:.2f} too many"
            lines.append(
                f"- at most {goals['points']:g} point below the {name}: {_met(change >= -goals['points'])}, "
                f"{change:+.2f} points{over}"
            )
    lines += _against_constant(record)
    return [*lines, f"- predictor mask accuracy at least 85 %: {_met(accuracy >= 0.85)}, {100 * accuracy:.1f} %"]


def _against_constant(record: Mapping[str, Any]) -> list[str]:
    """Return whether choosing by image beats pruning as many channels for good."""
    share, constant = str(record["settings"]["middle"]), record["constant"]
    by_seed = {row["seed"]: row["accuracy"] for row in record["gated"].get(share, ())}
    changes = [100 * (by_seed[row["seed"]] - row["accuracy"]) for row in constant if row["seed"] in by_seed]
    if not changes:
        return []
    ends = f"{min(changes):+.2f} to {max(changes):+.2f}"
    wins = "better" if min(changes) > 0 else "**not better**" if np.mean(changes) <= 0 else "not better for every seed"
    return [f"- masks by image against as many channels pruned for good (r = {share}): {wins}, {ends} points"]


def _met(holds: bool) -> str:
    return "met" if holds else "**missed**"


def _kept(record: Mapping[str, Any]) -> list[str]:
    lines = ["Channels kept on test images (targets in brackets), layer by layer, means of the seeds:", ""]
    for share, rows in record["gated"].items():
        kept, targets = (np.mean([row[key] for row in rows], axis=0) for key in ("kept", "targets"))
        each = ", ".join(f"{100 * a:.0f} % ({100 * b:.0f} %)" for a, b in zip(kept, targets, strict=True))
        lines.append(f"- r = {share}: {each}; {rows[0]['distinct_masks']} different masks (seed {rows[0]['seed']})")
    return lines


def _time(record: Mapping[str, Any]) -> list[str]:
    lines = [
        "Batch 1 in numpy, one thread, CPU time: the runner that gathers the kept channels against the same runner "
        "computing all and asking no predictor; by turns, medians.",
        "Wider networks have random weights and keep as many channels. Gathering copies each kept weight once, "
        "whatever the number of pixels it serves.",
        "",
        "| layers | MACs, dense | MACs left, predictors paid | dense | skipping | time left |",
        "|---|---|---|---|---|---|",
    ]
    for row in record["time"]:
        pixels = row["side"] ** 2
        name = (
            "as trained"
            if row["width"] == 1
            else f"{row['width']} times as wide" + (f", {pixels} times the pixels" if pixels > 1 else "")
        )
        lines.append(
            f"| {name} | {row['dense_macs']:,} | {row['mac_ratio']:.1%} | {1e6 * row['dense_s']:.0f} us | "
            f"{1e6 * row['skipping_s']:.0f} us | {row['time_ratio']:.1%} |"
        )
    return lines


def _elsewhere(record: Mapping[str, Any]) -> list[str]:
    found = record["quantised"]
    ran = found.get("c_not_run")
    in_c = f"not run: {ran}" if ran else f"{found['c_codes_that_differ']} of {found['c_codes']:,} output codes differ"
    return [
        "The masked network elsewhere (all channels computed, then multiplied by the mask; seed 0):",
        "",
        f"- ONNX Runtime, {found['onnx_images']:,} test images: {found['onnx_labels_that_differ']} labels differ from "
        f"torch, logits by {found['onnx_largest_difference']:.1e}; the runner's logits by "
        f"{found['runner_largest_difference']:.1e}",
        f"- w8a8, first {found['images']:,} test images: {found['w8a8_accuracy']:.1%} against "
        f"{found['float_accuracy']:.1%} in float, {found['labels_as_in_float']:.1%} of the labels alike",
        f"- generated C against the integer reference, the same images: {in_c}",
    ]
