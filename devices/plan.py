"""What is to be run: one part of a bundle on one board, how long and how often; plain data to print first."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

from devices import strict
from devices.board import Board
from devices.boards import BOARDS, boards_for, find_board
from devices.errors import DeviceError
from devices.scenario import SINGLE_STREAM, Scenario, find_scenario
from export.bundle_read import Bundle, BundlePart
from export.runtimes.c_joint import bundle_stem, joint_arena_bytes

SCHEMA = 2
#: Room for opening a part and for whatever else is not the timed work, in seconds.
SPARE_S = 300.0
#: Room for reaching the scenario's number of samples, however slow the part is, in seconds.
COMPLETE_S = 3600.0


#: Between the names of parts that run as one program; no name of a part holds it.
JOINED = "+"
#: Transports of boards on which the parts of a bundle with rules run as one program, too.
JOINING = ("qemu-user", "qemu-system")
#: Transports of boards on which queries are put and timed.
TIMING = ("local", "null", "ssh", "shell", "trtexec")


@dataclass(frozen=True, slots=True)
class NotedLayer:
    """An instance in a core, the step of the network that it computes, and its clocks for one inference, or None."""

    instance: str
    step: str
    cycles: int | None


@dataclass(frozen=True, slots=True)
class Versus:
    """The part that takes turns with a plan's own: digest of its bundle, folder, and what its files begin with."""

    bundle: str
    folder: Path
    files: str


@dataclass(frozen=True, slots=True)
class Plan:
    """One run.

    Attributes:
        bundle: digest of the bundle.
        part: name of the part.
        folder: the part's folder, with its graph and test vectors.
        target, board: by name.
        windows, window_s: how many windows of latencies, and how long each is (shorter for very fast parts).
        warmup_s: inferences for at least this long are thrown away first.
        images: test vectors whose instructions or cycles are counted, one inference each.
        limit_s: the run is stopped when it takes longer.
        arena_bytes: what the exporter noted about the part's memory, or None.
        cycles, interval_cycles: what the exporter noted of clocks, of one inference and between two, or None.
        layers: which steps the instances of a core are, as the exporter noted them.
        stem: what the names of the part's files begin with, where that is not the part's name.
        scenario: one of `devices.scenario.SCENARIOS`, by name.
        complete: windows are added until the scenario's least number of samples is reached.
        loadgen: MLPerf LoadGen puts the queries; `windows` times `window_s` is then its least duration.
        versus: another part that takes turns with this one, window by window in the order A B B A, or None. `windows`
            is then the number of windows of each.
        power_mode: number of the vendor's power mode to set for the run (nvpmodel), or None to leave it.
        max_clocks: clocks are held at their highest during the run (jetson_clocks).
    """

    bundle: str
    part: str
    folder: Path
    target: str
    board: str
    windows: int = 10
    window_s: float = 0.2
    warmup_s: float = 0.3
    images: int = 2
    limit_s: float = SPARE_S
    arena_bytes: int | None = None
    cycles: int | None = None
    interval_cycles: int | None = None
    layers: tuple[NotedLayer, ...] = ()
    stem: str = ""
    scenario: str = SINGLE_STREAM.name
    complete: bool = False
    loadgen: bool = False
    versus: Versus | None = None
    power_mode: int | None = None
    max_clocks: bool = False

    def __post_init__(self) -> None:
        """Refuse lengths and counts that measure nothing."""
        for name in ("windows", "window_s", "images", "limit_s"):
            if not getattr(self, name) > 0:
                raise DeviceError(f"plan: {name} is {getattr(self, name)}; it must be above 0.")
        if not self.warmup_s >= 0:
            raise DeviceError(f"plan: warmup_s is {self.warmup_s}; it must be 0 or more.")
        find_scenario(self.scenario)
        if self.versus is not None and (self.loadgen or self.complete):
            raise DeviceError("plan: two parts take turns in a fixed number of windows, not with loadgen or complete.")

    @property
    def files(self) -> str:
        """What the names of the part's files begin with."""
        return self.stem or self.part

    @property
    def is_joined(self) -> bool:
        """Whether all parts of a bundle with rules run as one program: whole inputs; `folder` is then the bundle's."""
        return JOINED in self.part


def plans(
    bundle: Bundle,
    board: Board,
    *,
    windows: int = 10,
    window_s: float = 0.2,
    warmup_s: float = 0.3,
    images: int = 2,
    scenario: Scenario = SINGLE_STREAM,
    complete: bool = False,
    loadgen: bool = False,
    power_mode: int | None = None,
    max_clocks: bool = False,
) -> tuple[Plan, ...]:
    """Return one plan for every part of a bundle, and one for whole inputs where rules decide what runs.

    Whole inputs run on emulated boards only, each test vector once.

    Raises:
        DeviceError: the board does not run bundles of this target (the message says which boards do), or a length
            makes no sense, or the board has no power modes.
    """
    if (power_mode is not None or max_clocks) and not board.runtime.startswith("trtexec"):
        raise DeviceError(
            f"board '{board.name}' has no power modes to set; --power-mode and --max-clocks are for Jetson."
        )
    target = bundle.manifest.target
    if not board.takes(target):
        able = ", ".join(b.name for b in (*boards_for(target), *(b for b in BOARDS if b.target is None)))
        raise DeviceError(f"board '{board.name}' runs bundles of target {board.target}, not {target}; {able} would do.")
    if board.transport not in TIMING and (scenario is not SINGLE_STREAM or complete or loadgen):
        gives = ", ".join(board.metrics)
        raise DeviceError(
            f"board '{board.name}' times no queries, it gives {gives}: no scenario, --complete or --loadgen."
        )
    alone = tuple(
        Plan(
            bundle=bundle.digest,
            part=part.name,
            folder=part.folder.resolve(),
            target=target,
            board=board.name,
            windows=windows,
            window_s=window_s,
            warmup_s=warmup_s,
            images=min(images, len(part.inputs)),
            limit_s=SPARE_S + 4 * (warmup_s + windows * window_s) + (COMPLETE_S if complete or loadgen else 0.0),
            arena_bytes=_noted(part, "arena_bytes"),
            cycles=_noted(part, "cycles"),
            interval_cycles=_noted(part, "interval_cycles"),
            layers=_layers(part),
            stem=part.stem,
            scenario=scenario.name,
            complete=complete,
            loadgen=loadgen,
            power_mode=power_mode,
            max_clocks=max_clocks,
        )
        for part in bundle.parts
    )
    joins = bundle.manifest.is_dynamic and board.transport in JOINING
    return (*alone, _joined_plan(bundle, alone[0])) if joins else alone


def _joined_plan(bundle: Bundle, first: Plan) -> Plan:
    """Return the plan of whole inputs, which takes its settings from that of the first part."""
    stem = bundle_stem(bundle)
    return replace(
        first,
        part=JOINED.join(part.name for part in bundle.parts),
        folder=bundle.path.resolve(),
        images=len(bundle.parts[0].inputs),
        arena_bytes=joint_arena_bytes(bundle.path, stem),
        stem=stem,
    )


def _noted(part: BundlePart, fact: str) -> int | None:
    noted = part.facts.get(fact)
    return noted if type(noted) is int else None


def _layers(part: BundlePart) -> tuple[NotedLayer, ...]:
    """Return which step of the network an instance of a core is; empty where the exporter noted none."""
    noted = part.facts.get("layers")
    records = [record for record in noted if isinstance(record, dict)] if isinstance(noted, list) else []
    return tuple(
        NotedLayer(record["instance"], record["step"], cycles if type(cycles) is int else None)
        for record in records
        if isinstance(record.get("instance"), str) and isinstance(record.get("step"), str)
        for cycles in (record.get("cycles"),)
    )


def describe(plan: Plan, board: Board | None = None) -> str:
    """Say in one line what a plan would do, for --dry-run; `board` is given where it is not built in."""
    board = board or find_board(plan.board)
    how = f"part '{plan.part}' of {plan.bundle[:12]} with {board.runtime} on {board.name}"
    if board.transport == "synthesis":
        return f"part '{plan.part}' of {plan.bundle[:12]} on {board.name}: {board.summary}"
    if "latency" in board.metrics:
        how += "" if plan.scenario == SINGLE_STREAM.name else f", {plan.scenario}"
        how += " by LoadGen" if plan.loadgen else ""
        return f"{how}: warm-up {plan.warmup_s:g} s, then {plan.windows} windows of {plan.window_s:g} s"
    return f"{how}: {', '.join(board.metrics)} of {plan.images} inferences"


def to_record(plan: Plan) -> dict[str, object]:
    """Turn a plan into an object that JSON can hold."""
    versus = None if plan.versus is None else {**asdict(plan.versus), "folder": str(plan.versus.folder)}
    return {"schema": SCHEMA, **asdict(plan), "folder": str(plan.folder), "versus": versus}


def to_json(plan: Plan) -> str:
    """Return a plan as one line of JSON."""
    return json.dumps(to_record(plan), sort_keys=True, allow_nan=False)


def from_json(text: str | bytes) -> Plan:
    """Read what `to_json` wrote.

    Raises:
        DeviceError: naming the key: not JSON, another schema, a key missing, unknown or of a wrong type.
    """
    names = tuple(f.name for f in fields(Plan))
    body = strict.fields(strict.parse_object(text, "plan"), ("schema", *names), "plan")
    if strict.typed(body["schema"], int, "plan: schema") != SCHEMA:
        raise DeviceError(f"plan schema {body['schema']}; this version reads {SCHEMA}.")
    return Plan(
        **_texts(body),
        folder=Path(strict.typed(body["folder"], str, "plan: folder")),
        windows=strict.count(body["windows"], "plan: windows"),
        window_s=strict.real(body["window_s"], "plan: window_s"),
        warmup_s=strict.real(body["warmup_s"], "plan: warmup_s"),
        images=strict.count(body["images"], "plan: images"),
        limit_s=strict.real(body["limit_s"], "plan: limit_s"),
        arena_bytes=strict.optional(body["arena_bytes"], int, "plan: arena_bytes"),
        cycles=strict.optional(body["cycles"], int, "plan: cycles"),
        interval_cycles=strict.optional(body["interval_cycles"], int, "plan: interval_cycles"),
        layers=tuple(_noted_layer(item, "plan: layers") for item in strict.typed(body["layers"], list, "plan: layers")),
        complete=strict.typed(body["complete"], bool, "plan: complete"),
        loadgen=strict.typed(body["loadgen"], bool, "plan: loadgen"),
        versus=None if body["versus"] is None else _versus(body["versus"], "plan: versus"),
        power_mode=None if body["power_mode"] is None else strict.count(body["power_mode"], "plan: power_mode"),
        max_clocks=strict.typed(body["max_clocks"], bool, "plan: max_clocks"),
    )


def _versus(value: object, where: str) -> Versus:
    body = strict.fields(value, tuple(f.name for f in fields(Versus)), where)
    texts = {key: strict.typed(body[key], str, f"{where}.{key}") for key in ("bundle", "folder", "files")}
    return Versus(texts["bundle"], Path(texts["folder"]), texts["files"])


def _noted_layer(value: object, where: str) -> NotedLayer:
    body = strict.fields(value, tuple(f.name for f in fields(NotedLayer)), where)
    return NotedLayer(
        instance=strict.typed(body["instance"], str, f"{where}.instance"),
        step=strict.typed(body["step"], str, f"{where}.step"),
        cycles=strict.optional(body["cycles"], int, f"{where}.cycles"),
    )


_TEXTS = ("bundle", "part", "target", "board", "stem", "scenario")


def _texts(body: Mapping[str, object]) -> dict[str, str]:
    return {key: strict.typed(body[key], str, f"plan: {key}") for key in _TEXTS}
