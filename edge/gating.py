"""The gate over bundles: both are run on the boards that are asked for, in turns where the board can do that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from devices import runner
from devices.board import Board
from devices.errors import DeviceError
from devices.gate_report import Entry, GateReport, Rule, gated
from devices.inventory import RemoteBoard
from devices.plan import Plan, Versus, plans
from devices.protocol import SIDES
from devices.scenario import SINGLE_STREAM, Scenario
from devices.store import Kept
from edge.errors import EdgeError
from export.bundle_read import Bundle, read_bundle

Say = Callable[[str], None]
AnyBoard = Board | RemoteBoard

#: Boards on which every run is a program of its own: so many runs of each bundle take turns.
BLOCKS = 4
_WHOLE_RUNS = ("ssh", "shell", "trtexec")


@dataclass(frozen=True, slots=True)
class Lengths:
    """How much is run: windows of each side, their length and the warm-up in seconds, inferences to count."""

    pairs: int = 20
    window_s: float = 0.03
    warmup_s: float = 0.3
    images: int = 2
    scenario: Scenario = SINGLE_STREAM


def gate_bundles(
    candidate: Path, baseline: Path, boards: Sequence[AnyBoard], rule: Rule, lengths: Lengths, say: Say
) -> tuple[GateReport, tuple[Kept, ...]]:
    """Run two bundles on boards and judge them.

    Returns:
        The report, and every measurement with its side.

    Raises:
        EdgeError: the bundles have other targets or other parts.
        DeviceError: a board does not run them, or a run failed.
    """
    base, other = read_bundle(baseline), read_bundle(candidate)
    _check(base, other)
    names = (f"{baseline} ({base.digest[:12]})", f"{candidate} ({other.digest[:12]})")
    entries: list[Entry] = []
    kept: list[Kept] = []
    for board in boards:
        sides = _run(base, other, board, lengths, say)
        ours, theirs = ([("", item.measurement) for item in sides if item.side == side] for side in SIDES)
        entries += gated(ours, theirs, rule, names=names, interleaved=True).entries
        kept += sides
    return GateReport(*names, tuple(entries), ()), tuple(kept)


def _check(base: Bundle, other: Bundle) -> None:
    if base.manifest.target != other.manifest.target:
        raise EdgeError(f"the baseline is for {base.manifest.target}, the candidate for {other.manifest.target}.")
    ours, theirs = ([part.name for part in bundle.parts] for bundle in (base, other))
    if ours != theirs:
        raise EdgeError(f"the baseline has the parts {', '.join(ours)}, the candidate {', '.join(theirs)}.")


def _run(base: Bundle, other: Bundle, board: AnyBoard, lengths: Lengths, say: Say) -> list[Kept]:
    """Measure every part of both bundles on one board."""
    kept: list[Kept] = []
    data = board.board if isinstance(board, RemoteBoard) else board
    for ours, theirs in zip(_plans(base, data, lengths), _plans(other, data, lengths), strict=True):
        if data.transport in runner.TAKING_TURNS:
            say(f"part '{ours.part}' on {board.name}: windows take turns")
            pair = runner.profile_pairs(_together(ours, theirs))
            kept += [Kept(side, found) for side, found in zip(SIDES, pair, strict=True)]
        else:
            kept += _in_turns(ours, theirs, board, BLOCKS if data.transport in _WHOLE_RUNS else 1, say)
    return kept


def _in_turns(ours: Plan, theirs: Plan, board: AnyBoard, blocks: int, say: Say) -> list[Kept]:
    """Run both in whole runs, A B B A where there are several of each, and windows are shared out among these."""
    windows = -(-ours.windows // blocks)
    plans = [replace(plan, windows=windows) for plan in (ours, theirs)]
    order = [side for block in range(blocks) for side in ((0, 1) if block % 2 == 0 else (1, 0))]
    found = runner.profile_all([(plans[side], board) for side in order], say)
    failed = next((item for item in found if isinstance(item, DeviceError)), None)
    if failed is not None:
        raise failed
    done = [item for item in found if not isinstance(item, DeviceError)]
    return [Kept(SIDES[side], item) for side, item in zip(order, done, strict=True)]


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


def _together(ours: Plan, theirs: Plan) -> Plan:
    return replace(ours, versus=Versus(theirs.bundle, theirs.folder, theirs.files), arena_bytes=None)
