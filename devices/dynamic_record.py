"""What a bundle with rules did on data: who answered how often and how well, and its cost. `dynamic.json`, schema 1.

The values that `edgemill report` draws. Shares and accuracies are fractions of the inputs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from devices import strict
from devices.errors import DeviceError
from devices.stops import StopCost

SCHEMA = 1
FILE = "dynamic.json"
#: What a cost is one of.
METRICS = ("instructions", "seconds", "joules")


@dataclass(frozen=True, slots=True)
class PartFigures:
    """One part.

    Attributes:
        name: of the part.
        macs: of one inference of it.
        path_macs: of it and of all that it reads: what a network that ends here costs.
        action: of its rule, `answer` or `drop`; empty where nothing is decided after it.
        threshold: of its rule, None without one.
        ran: share of inputs for which it ran.
        stopped: share of inputs after which nothing else ran.
        answered: share that it answered.
        requested: share that it was to answer, None where nobody said.
        accuracy: of those it answered, None where it answered none.
        alone: accuracy of its labels on all inputs, None where it cannot answer.
    """

    name: str
    macs: int
    path_macs: int
    action: str
    threshold: float | None
    ran: float
    stopped: float
    answered: float
    requested: float | None
    accuracy: float | None
    alone: float | None


@dataclass(frozen=True, slots=True)
class Point:
    """A setting of thresholds: the one that moved (or the share that it lets leave), accuracy, mean MACs."""

    setting: float
    accuracy: float
    macs: float


@dataclass(frozen=True, slots=True)
class Sweep:
    """What other thresholds would do: of the rule of `part`, or of all rules at once (empty), by the share leaving."""

    part: str
    points: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Single:
    """A network without rules on the same inputs."""

    name: str
    macs: int
    accuracy: float


@dataclass(frozen=True, slots=True)
class MemoryResult:
    """A memory of past inputs before the network: what it remembers by, how many entries, and what it did."""

    hash: str
    limit: int
    inputs: int
    hit_rate: float
    false_hit_rate: float
    accuracy: float


@dataclass(frozen=True, slots=True)
class BoardCosts:
    """What inputs cost on one board.

    Attributes:
        board: by name.
        metric: one of METRICS, of one inference.
        source: in words, what gave the figures.
        alone: of each part on its own, in the order of the parts; None where it was not measured.
        stops: of whole inputs by the part after which nothing ran; empty where only parts were measured.
        ran: share of these inputs for which each part ran.
    """

    board: str
    metric: str
    source: str
    alone: tuple[float | None, ...]
    stops: tuple[StopCost, ...]
    ran: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class DynamicRecord:
    """A whole evaluation. `macs` is the mean of one input, `every_macs` what running all parts takes."""

    name: str
    bundle: str
    target: str
    data: str
    executed_by: str
    version: str
    finished_at: str
    images: int
    accuracy: float
    dropped: float
    macs: float
    every_macs: int
    parts: tuple[PartFigures, ...]
    sweeps: tuple[Sweep, ...] = ()
    singles: tuple[Single, ...] = ()
    memory: MemoryResult | None = None
    costs: tuple[BoardCosts, ...] = ()


def to_json(found: DynamicRecord) -> str:
    """Return the record as JSON."""
    return json.dumps({"schema": SCHEMA, **asdict(found)}, indent=1, sort_keys=True, allow_nan=False) + "\n"


def read_dynamic(path: Path) -> DynamicRecord:
    """Read the record in a folder (or its `dynamic.json`).

    Raises:
        DeviceError: there is none, it is damaged, of another schema, or has unknown or missing keys.
    """
    text, where = strict.read_record(path, FILE, "Make one first: edgemill dynamic BUNDLE")
    body = strict.fields(strict.parse_object(text, where), ("schema", *strict.names(DynamicRecord)), where)
    if body["schema"] != SCHEMA:
        raise DeviceError(f"{where}: schema {body['schema']!r}; this version reads {SCHEMA}.")
    values = {key: body[key] for key in strict.names(DynamicRecord)}
    for key, kind in (("parts", PartFigures), ("singles", Single)):
        values[key] = tuple(_flat(item, kind, f"{where}: {key}") for item in _listed(body[key], f"{where}: {key}"))
    values["sweeps"] = tuple(_sweep(item, f"{where}: sweeps") for item in _listed(body["sweeps"], f"{where}: sweeps"))
    values["costs"] = tuple(_costs(item, f"{where}: costs") for item in _listed(body["costs"], f"{where}: costs"))
    values["memory"] = None if body["memory"] is None else _flat(body["memory"], MemoryResult, f"{where}: memory")
    return _checked(DynamicRecord(**values), where)


def _checked(found: DynamicRecord, where: str) -> DynamicRecord:
    """Refuse a record whose words and numbers are of another kind than they say."""
    for item in fields(DynamicRecord):
        value, kind = getattr(found, item.name), {"str": str, "int": int, "float": float}.get(str(item.type))
        if kind is not None:
            strict.typed(value, kind, f"{where}: {item.name}")
    if not found.parts or any(len(costs.alone) != len(found.parts) for costs in found.costs):
        raise DeviceError(f"{where}: each board needs a cost, or null, for each of the {len(found.parts)} parts.")
    return found


def _sweep(value: object, where: str) -> Sweep:
    body = strict.fields(value, strict.names(Sweep), where)
    points = tuple(_flat(item, Point, f"{where}: points") for item in _listed(body["points"], where))
    return Sweep(strict.typed(body["part"], str, f"{where}: part"), points)


def _costs(value: object, where: str) -> BoardCosts:
    body = strict.fields(value, strict.names(BoardCosts), where)
    stops = tuple(_flat(item, StopCost, f"{where}: stops") for item in _listed(body["stops"], where))
    if body["metric"] not in METRICS:
        raise DeviceError(f"{where}: metric {body['metric']!r} is unknown; known are {', '.join(METRICS)}.")
    alone = tuple(strict.optional(item, float, f"{where}: alone") for item in _listed(body["alone"], f"{where}: alone"))
    board, source = (strict.typed(body[key], str, f"{where}: {key}") for key in ("board", "source"))
    return BoardCosts(board, body["metric"], source, alone, stops, strict.reals(body["ran"], f"{where}: ran"))


def _flat(value: object, kind: Any, where: str) -> Any:
    """Read an object whose values are words and numbers, or null where that is allowed."""
    body = strict.fields(value, strict.names(kind), where)
    for item in fields(kind):
        plain = {"str": str, "int": int, "float": float}[str(item.type).removesuffix(" | None")]
        if body[item.name] is not None or "None" not in str(item.type):
            strict.typed(body[item.name], plain, f"{where}: {item.name}")
    return kind(**body)


def _listed(value: object, where: str) -> list[Any]:
    return strict.typed(value, list, where)


def expected_cost(costs: BoardCosts, ran: Sequence[float]) -> float | None:
    """Return what one input costs where each part runs for a share of them: the sum over parts; None where one lacks.

    Decisions between parts are in no part's cost.
    """
    pairs = [(share, alone) for share, alone in zip(ran, costs.alone, strict=True) if share > 0]
    known = [(share, alone) for share, alone in pairs if alone is not None]
    return sum(share * alone for share, alone in known) if len(known) == len(pairs) else None


def mean_cost(costs: BoardCosts) -> float | None:
    """Return the mean cost of the whole inputs that ran; None where only parts did."""
    total = sum(stop.inputs for stop in costs.stops)
    return sum(stop.inputs * stop.mean for stop in costs.stops) / total if total else None
