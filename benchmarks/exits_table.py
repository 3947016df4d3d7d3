"""The figures of early exits as a table to read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Row = dict[str, Any]
FIRST = "w8a8"
#: What must hold: points lost at half the MACs, and points between wanted and achieved shares.
LOSS_POINTS, SHARE_POINTS, HALF = 0.5, 3.0, 0.5


def table(record: Row) -> str:
    """Return the text of `exits.md`."""
    rows, settings = record["rows"], record["settings"]
    macs = rows[0]["quantised"][FIRST]["macs"]
    lines = [
        "# Early exits on Fashion-MNIST",
        "",
        f"Three stages and three exits (`edge.models.exit_net`, width {settings['width']}), {macs[-1]:,} MACs; "
        f"{settings['epochs']} epochs, batch {settings['batch']}, peak rate {settings['rate']},",
        f"{len(rows)} seeds, 55,000 training images. Temperatures and thresholds come from {settings['validation']:,} "
        "other training images and",
        "the quantised network's own logits; all figures below are of all 10,000 test images, as mean and (least to "
        "most) of the seeds.",
        "One setting of training was tried. Scores are the largest probability.",
        "",
        *_exits(rows, macs),
        *_holds(rows),
        *_curve(rows),
        *_shares(rows),
        *_device(rows),
        *_attention(record["attention"], rows),
    ]
    return "\n".join([*lines, ""])


def _spread(values: Sequence[float], form: Callable[[float], str]) -> str:
    return f"{form(float(np.mean(values)))} ({form(min(values))} to {form(max(values))})"


def _percent(value: float) -> str:
    return f"{100 * value:.2f}"


def _exits(rows: list[Row], macs: list[int]) -> list[str]:
    lines = ["| exit | MACs up to it | float | w8a8 | w4a4 |", "|---|---|---|---|---|"]
    for place, count in enumerate(macs):
        cells = [_spread([row["float"]["test"][place] for row in rows], _percent)]
        for scheme in (FIRST, "w4a4"):
            cells.append(_spread([row["quantised"][scheme]["accuracy"][place] for row in rows], _percent))
        lines.append(f"| {place + 1} | {count:,} ({count / macs[-1]:.0%}) | {' | '.join(cells)} |")
    return [*lines, "", "Accuracy in percent of every exit alone, asked about every image.", ""]


def _holds(rows: list[Row]) -> list[str]:
    lines = [
        "| w8a8, chosen on validation images | accuracy | against the last exit, points | MACs, share of all |",
        "|---|---|---|---|",
    ]
    for key, name in (("half", "most accurate at 48 % of the MACs"), ("near", "cheapest within 0.5 points")):
        points = [row["quantised"][FIRST][key]["test"] for row in rows]
        cells = [
            _spread([point["accuracy"] for point in points], _percent),
            _spread([_gain(row, key) for row in rows], lambda gain: f"{gain:+.2f}"),
            _spread([_cost(row, point) for row, point in zip(rows, points, strict=True)], lambda c: f"{c:.3f}"),
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    worst, most = min(_gain(row, "half") for row in rows), max(_half_cost(row) for row in rows)
    fine = worst >= -LOSS_POINTS and most <= HALF
    verdict = "holds" if fine else "does not hold"
    return [
        *lines,
        "",
        f"- the last exit's accuracy - {LOSS_POINTS} points at half the MACs, every seed: {verdict} "
        f"(worst {worst:+.2f} points, at most {most:.3f} of the MACs)",
        *_deeper(rows),
        "",
    ]


def _deeper(rows: list[Row]) -> list[str]:
    """Say where the last exit is hardly worth its stage."""
    gains = [100 * (row["float"]["test"][-1] - row["float"]["test"][-2]) for row in rows]
    return [
        "- what the last stage adds to exit 2 in float: " + ", ".join(f"{gain:+.2f}" for gain in gains) + " points by "
        "seed; where that is little, most of the saving is that of a smaller network"
    ]


def _gain(row: Row, key: str) -> float:
    found = row["quantised"][FIRST]
    return float(100 * (found[key]["test"]["accuracy"] - found["accuracy"][-1]))


def _cost(row: Row, point: Row) -> float:
    return float(point["macs"] / row["quantised"][FIRST]["macs"][-1])


def _half_cost(row: Row) -> float:
    return _cost(row, row["quantised"][FIRST]["half"]["test"])


def _curve(rows: list[Row]) -> list[str]:
    lines = [
        "## Accuracy over MACs, w8a8, 33 geometric settings of shares",
        "",
        "| wanted shares | achieved | MACs, share of all | accuracy |",
        "|---|---|---|---|",
    ]
    for place, point in enumerate(rows[0]["quantised"][FIRST]["curve"]):
        points = [row["quantised"][FIRST]["curve"][place]["test"] for row in rows]
        costs = [_cost(row, found) for row, found in zip(rows, points, strict=True)]
        achieved = np.mean([found["shares"] for found in points], axis=0)
        lines.append(
            f"| {_three(point['wanted'])} | {_three(achieved)} | {np.mean(costs):.3f} | "
            f"{_spread([found['accuracy'] for found in points], _percent)} |"
        )
    return [*lines, ""]


def _three(shares: Sequence[float]) -> str:
    return " / ".join(f"{100 * share:.1f}" for share in shares)


def _shares(rows: list[Row]) -> list[str]:
    lines = [
        "## Wanted and achieved shares on test images, all settings and exits",
        "",
        "| scheme | thresholds of | mean distance, points | largest, by seed |",
        "|---|---|---|---|",
    ]
    for scheme in rows[0]["quantised"]:
        for key, name in (("test", "the quantised network"), ("reused", "the float network, reused (ablation)")):
            away = [_away(row, scheme, key) for row in rows]
            largest = ", ".join(f"{one.max():.2f}" for one in away)
            lines.append(f"| {scheme} | {name} | {np.mean(away):.2f} | {largest} |")
    worst = max(_away(row, FIRST, "test").max() for row in rows)
    verdict = "holds" if worst <= SHARE_POINTS else f"does not hold, by {worst - SHARE_POINTS:.2f} points"
    return [*lines, "", f"- w8a8, every share within {SHARE_POINTS:g} points: {verdict} (largest {worst:.2f})", ""]


def _away(row: Row, scheme: str, key: str) -> Any:
    points = row["quantised"][scheme]["curve"]
    return np.array([np.abs(np.subtract(point["wanted"], point[key]["shares"])) * 100 for point in points])


def _device(rows: list[Row]) -> list[str]:
    lines = [
        "## Time and instructions at the setting of half the MACs, w8a8",
        "",
        "| seed | MACs | time on this machine | instructions, Cortex-M4 | C against the reference |",
        "|---|---|---|---|---|",
    ]
    for row in rows:
        host, m4, parity = (row["device"][key] for key in ("host", "m4", "parity"))
        instructions = m4.get("not_run") or f"{m4['ratio']:.3f} ({m4['mean']:,.0f} of {m4['plain']:,})"
        rounds = ", ".join(f"{ratio:.3f}" for ratio in host["ratio_by_round"])
        lines.append(
            f"| {row['seed']} | {_half_cost(row):.3f} | {host['ratio']:.3f} ({host['early_us']:.0f} of "
            f"{host['plain_us']:.0f} us; by round {rounds}) | {instructions} | {parity['differ']} of "
            f"{parity['images']:,} differ |"
        )
    host = rows[0]["device"]["host"]
    return [
        *lines,
        "",
        "All as a share of the same network without exits. Times: generated C, one thread, "
        f"{host['images']:,} test images, with and without exits in",
        f"turns, {host['rounds']} rounds, per image the best; the machine was loaded, so the rounds scatter.",
        "",
        *_by_exit(rows),
    ]


def _by_exit(rows: list[Row]) -> list[str]:
    lines = ["| who answers | us here | instructions, Cortex-M4 (least to most) |", "|---|---|---|"]
    host, m4 = rows[0]["device"]["host"]["by_exit"], rows[0]["device"]["m4"].get("by_exit", {})
    for exit_, place in enumerate(sorted(host), 1):
        found = m4.get(place)
        count = f"{found['mean']:,.0f} ({found['least']:,.0f} to {found['most']:,.0f})" if found else "not run"
        lines.append(f"| exit {exit_} | {host[place]['mean']:.0f} | {count} |")
    if m4:
        lines.append(
            f"| network without exits | {rows[0]['device']['host']['plain_us']:.0f} | "
            f"{rows[0]['device']['m4']['plain']:,} |"
        )
    return [*lines, "", f"Of seed {rows[0]['seed']}.", ""]


def _attention(found: Row | None, rows: list[Row]) -> list[str]:
    title = "## Ablation: the classification branch with attention, float"
    if found is None:
        return [
            title,
            "",
            "Not trained in this run: no figures. `python -m benchmarks.exits_attention_train` trains it.",
            "",
        ]
    epochs, trained = found["settings"]["epochs"], [row["training"]["train_cpu_s"] for row in rows]
    lines = [title, "", "| exit | MACs up to it | test accuracy |", "|---|---|---|"]
    for place, (count, accuracy) in enumerate(zip(found["macs"], found["test"], strict=True)):
        lines.append(f"| {place + 1} | {count:,} | {_percent(accuracy)} |")
    return [
        *lines,
        "",
        f"One seed, {epochs} epochs, AdamW at {found['settings']['rate']}, one setting tried, {found['parameters']:,} "
        "parameters; the same feature branch. It has no integer",
        f"form here. Training took {found['train_cpu_s']:.0f} s of CPU, that of the network above "
        f"{np.mean(trained):.0f} s.",
        "",
    ]
