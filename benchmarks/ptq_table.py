"""The table of `benchmarks.ptq`: each network and scheme, every tool, and a verdict."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.ptq_plan import BREVITAS, ORT, PLANS, TOOLS, Plan, refusal

Row = dict[str, Any]
PEERS = (*ORT, "nncf", *BREVITAS)
CHOICE = "edgemill default"


def table(rows: list[Row]) -> str:
    """Return the page, from the records of cases."""
    lines = [
        "# Post-training quantisation beside ONNX Runtime, NNCF and Brevitas",
        "",
        "Same float network, calibration and test images for every tool. Ours is run by the integer reference, peers "
        "by their own executor.",
        "",
        "- Drop: points below float on the same images, mean over the seeds (of EfficientNet: folds, so all images).",
        "- Flips: labels that differ from float's, of all images of all seeds.",
        "- Time of quantising, median. The machine was shared: CPU seconds compare, wall times do not; `ptq_speed.md` "
        "has those.",
        "- Memory: peak of the process, inputs and imported packages included.",
        "- `edgemill minmax` is plain rounding.",
        "",
        *_verdicts(rows),
    ]
    for plan in PLANS:
        mine = [row for row in rows if row["network"] == plan.network]
        if mine:
            lines += [
                "",
                f"## {plan.network}",
                "",
                f"{plan.note[0].upper()}{plan.note[1:]}.",
                "",
                *_network(plan, mine),
            ]
    lines += ["", "## Not run", "", *_refusals(), *_failures(rows), *_absent(rows), ""]
    return "\n".join(lines)


def _verdicts(rows: list[Row]) -> list[str]:
    """Return our default beside its limit and the best peer, over the seeds both have."""
    lines = [
        "| network | scheme | default: drop | limit | best peer | its drop | default: flips | fewest flips of a peer |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for plan in PLANS:
        for scheme, limit in plan.limits:
            group = {tool: _measured(rows, plan.network, scheme, tool) for tool in TOOLS}
            ours = group[CHOICE]
            if not ours:
                continue
            seeds = {row["seed"] for row in ours}
            peers = {tool: group[tool] for tool in PEERS if {row["seed"] for row in group[tool]} >= seeds}
            peers = {tool: [row for row in found if row["seed"] in seeds] for tool, found in peers.items()}
            best = min(peers, key=lambda tool: _drop(peers[tool]), default=None)
            steady = min(peers, key=lambda tool: _flips(peers[tool]), default=None)
            lines.append(
                f"| {plan.network} | {scheme} | {_drop(ours):+.2f} | {limit} | {best or 'none ran'} | "
                f"{'' if best is None else f'{_drop(peers[best]):+.2f}'} | {_flips(ours)} | "
                f"{'' if steady is None else f'{_flips(peers[steady])} ({steady})'} |"
            )
    return lines


def _network(plan: Plan, rows: list[Row]) -> list[str]:
    lines = [
        "| scheme | tool | float | mean drop | drop by seed | flips | agreement | lost / gained | CPU | wall | "
        "memory |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for scheme, _ in plan.limits:
        for tool in TOOLS:
            found = _measured(rows, plan.network, scheme, tool)
            if found:
                lines.append(_line(scheme, tool, found))
    return lines


def _line(scheme: str, tool: str, found: list[Row]) -> str:
    by_seed = " ".join(f"{_drop([row]):+.2f}" for row in found)
    images = sum(row["images"] for row in found)
    agreement = 1 - _flips(found) / images
    lost, gained = (sum(row[key] for row in found) for key in ("lost", "gained"))
    cpu, wall = (np.median([row[key] for row in found]) for key in ("cpu_s", "wall_s"))
    memory = max(row["peak_bytes"] for row in found) / 1e9
    exact = np.mean([row["float_accuracy"] for row in found])
    return (
        f"| {scheme} | {tool} | {exact:.2%} | {_drop(found):+.2f} | {by_seed} | {_flips(found)} of {images} | "
        f"{agreement:.1%} | {lost} / {gained} | {cpu:.1f} s | {wall:.1f} s | {memory:.2f} GB |"
    )


def _refusals() -> list[str]:
    """Return why tools have no figure for a scheme, each reason once."""
    schemes = dict.fromkeys(scheme for plan in PLANS for scheme, _ in plan.limits)
    why: dict[tuple[str, str], list[str]] = {}
    for tool in PEERS:
        for scheme in schemes:
            if reason := refusal(tool, scheme):
                why.setdefault((tool, reason), []).append(scheme)
    return [f"- {tool}, {', '.join(names)}: {reason}." for (tool, reason), names in why.items()]


def _failures(rows: list[Row]) -> list[str]:
    """Return what failed, and what was not run for another reason than those of `_refusals`."""
    lines = []
    for row in rows:
        where = f"- {row['tool']}, {row['network']} {row['scheme']} seed {row['seed']}"
        if "failed" in row:
            lines.append(f"{where}: failed: {row['failed']}.")
        elif "not_run" in row and not refusal(row["tool"], row["scheme"]):
            lines.append(f"{where}: not run: {row['not_run']}.")
    return lines


def _absent(rows: list[Row]) -> list[str]:
    """Return which figures this table lacks because nobody has run them yet, seeds in brackets."""
    known = {(row["network"], row["scheme"], row["tool"], row["seed"]) for row in rows}
    lines = []
    for plan in PLANS:
        for tool in TOOLS:
            schemes = [scheme for scheme, _ in plan.limits if not refusal(tool, scheme)]
            lacks = {s: [k for k in range(plan.seeds) if (plan.network, s, tool, k) not in known] for s in schemes}
            parts = [f"{scheme} ({', '.join(map(str, seeds))})" for scheme, seeds in lacks.items() if seeds]
            if parts:
                lines.append(f"- {tool}, {plan.network}: not measured yet: {', '.join(parts)}.")
    return lines


def _measured(rows: list[Row], network: str, scheme: str, tool: str) -> list[Row]:
    wanted = (network, scheme, tool)
    return [row for row in rows if (row["network"], row["scheme"], row["tool"]) == wanted and "images" in row]


def _drop(rows: list[Row]) -> float:
    """Return the mean drop in points; all seeds of a network have the same number of images."""
    return float(np.mean([100 * (row["float_accuracy"] - row["quantised_accuracy"]) for row in rows]))


def _flips(rows: list[Row]) -> int:
    return sum(round((1 - row["agreement"]) * row["images"]) for row in rows)
