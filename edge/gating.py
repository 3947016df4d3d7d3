"""The gate over bundles: both are run on the boards that are asked for, in turns where the board can do that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from devices import runner
from devices.board import Board
from devices.gate_report import GateReport, Rule, gated
from devices.measurement import Measurement
from devices.plan import Plan, Versus, plans
from devices.protocol import SIDES
from devices.scenario import SINGLE_STREAM, Scenario
from devices.store import Kept
from edge.errors import EdgeError
from export.bundle_read import Bundle, read_bundle

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Lengths:
    """How much is run: windows of each side, their length and the warm-up in seconds, inferences to count."""

    pairs: int = 20
    window_s: float = 0.03
    warmup_s: float = 0.3
    images: int = 2
    scenario: Scenario = SINGLE_STREAM


def gate_bundles(
    candidate: Path, baseline: Path, boards: Sequence[Board], rule: Rule, lengths: Lengths, say: Say
) -> tuple[GateReport, tuple[Kept, ...]]:
    """Run two bundles on boards and judge them.

    Returns:
        The report, and every measurement with its side.

    Raises:
        EdgeError: the bundles have other targets or other parts.
        DeviceError: a board does not run them.
    """
    base, other = read_bundle(baseline), read_bundle(candidate)
    _check(base, other)
    names = (f"{baseline} ({base.digest[:12]})", f"{candidate} ({other.digest[:12]})")
    reports, kept = [], []
    for board in boards:
        sides, interleaved = _run(base, other, board, lengths, say)
        halves = [tuple(item for item in sides if item.side == side) for side in SIDES]
        reports.append(gated(halves[0], halves[1], rule, names=names, interleaved=interleaved))
        kept += sides
    entries = tuple(entry for report in reports for entry in report.entries)
    return GateReport(*names, entries, tuple(note for report in reports for note in report.notes)), tuple(kept)


def _check(base: Bundle, other: Bundle) -> None:
    if base.manifest.target != other.manifest.target:
        raise EdgeError(f"the baseline is for {base.manifest.target}, the candidate for {other.manifest.target}.")
    ours, theirs = ([part.name for part in bundle.parts] for bundle in (base, other))
    if ours != theirs:
        raise EdgeError(f"the baseline has the parts {', '.join(ours)}, the candidate {', '.join(theirs)}.")


def _run(base: Bundle, other: Bundle, board: Board, lengths: Lengths, say: Say) -> tuple[list[Kept], bool]:
    """Measure every part of both; return the measurements, and whether windows took turns."""
    interleaved = board.transport in runner.TAKING_TURNS
    kept: list[Kept] = []
    for ours, theirs in zip(_plans(base, board, lengths), _plans(other, board, lengths), strict=True):
        say(f"part '{ours.part}' on {board.name}{': windows take turns' if interleaved else ''}")
        pair = _taking_turns(ours, theirs) if interleaved else _one_by_one(ours, theirs, say)
        kept += [Kept(side, found) for side, found in zip(SIDES, pair, strict=True)]
    return kept, interleaved


def _plans(bundle: Bundle, board: Board, lengths: Lengths) -> tuple[Plan, ...]:
    return plans(
        bundle,
        board,
        windows=lengths.pairs,
        window_s=lengths.window_s,
        warmup_s=lengths.warmup_s,
        images=lengths.images,
        scenario=lengths.scenario,
    )


def _taking_turns(ours: Plan, theirs: Plan) -> tuple[Measurement, Measurement]:
    plan = replace(ours, versus=Versus(theirs.bundle, theirs.folder, theirs.files), arena_bytes=None)
    base, other = runner.profile_pairs(plan)
    return base, other


def _one_by_one(ours: Plan, theirs: Plan, say: Say) -> tuple[Measurement, Measurement]:
    return runner.profile(ours, say=say), runner.profile(theirs, say=say)
