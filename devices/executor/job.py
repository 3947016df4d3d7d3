"""One job: a bundle on a board in a scenario, as plain data that travels as one line of JSON; and what became of it.

A job's id is a digest of what is asked for, so the same question has the same id on every machine and on every day: a
finished one is not asked again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, fields

from devices import strict
from devices.errors import DeviceError
from devices.measurement import Measurement
from devices.measurement_record import from_record, to_record

SCHEMA = 1
#: What a job's id is made of: not where the files lie, nor how many slots there are.
ASKED = ("digest", "board", "scenario", "windows", "window_s", "warmup_s", "images", "complete")


@dataclass(frozen=True, slots=True)
class Job:
    """What is asked for.

    Attributes:
        bundle: the bundle's folder, absolute: the machine that executes the job reads it there.
        digest: of the bundle; another one under that path is refused.
        name: of the bundle, for people.
        board: by name, built in or in the inventory.
        transport: of the board, which says what of this machine it needs.
        scenario: by name.
        windows, window_s, warmup_s, images, complete: see `devices.plan.Plan`.
        inventory: the file with a person's own boards, absolute; None takes the usual one.
    """

    bundle: str
    digest: str
    name: str
    board: str
    transport: str
    scenario: str
    windows: int
    window_s: float
    warmup_s: float
    images: int
    complete: bool
    inventory: str | None = None

    @property
    def id(self) -> str:
        """16 hex digits that say what is asked for."""
        asked = {key: getattr(self, key) for key in ASKED}
        text = json.dumps({"schema": SCHEMA, **asked}, sort_keys=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def label(self) -> str:
        """The job in a few words."""
        return f"{self.name} on {self.board}, {self.scenario}"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a job: a measurement of every part, or the reason why there is none."""

    measurements: tuple[Measurement, ...] = ()
    reason: str | None = None

    def __post_init__(self) -> None:
        """Refuse neither and both."""
        if bool(self.measurements) == bool(self.reason):
            raise DeviceError("a job has measurements or a reason why it has none, one of both.")

    @property
    def done(self) -> bool:
        """Whether there are measurements."""
        return self.reason is None


def to_json(job: Job) -> str:
    """Return a job as one line of JSON."""
    return json.dumps({"schema": SCHEMA, **asdict(job)}, sort_keys=True, allow_nan=False)


def job_from_record(record: object, where: str = "job") -> Job:
    """Read the object that `to_json` wrote.

    Raises:
        DeviceError: naming the key: another schema, a key missing, unknown or of a wrong type.
    """
    body = strict.fields(record, ("schema", *(f.name for f in fields(Job))), where)
    if body["schema"] != SCHEMA:
        raise DeviceError(f"{where}: schema {body['schema']!r}; this version reads {SCHEMA}.")

    def text(key: str) -> str:
        return strict.typed(body[key], str, f"{where}: {key}")

    return Job(
        bundle=text("bundle"),
        digest=text("digest"),
        name=text("name"),
        board=text("board"),
        transport=text("transport"),
        scenario=text("scenario"),
        windows=strict.count(body["windows"], f"{where}: windows"),
        window_s=strict.real(body["window_s"], f"{where}: window_s"),
        warmup_s=strict.real(body["warmup_s"], f"{where}: warmup_s"),
        images=strict.count(body["images"], f"{where}: images"),
        complete=strict.typed(body["complete"], bool, f"{where}: complete"),
        inventory=strict.optional(body["inventory"], str, f"{where}: inventory"),
    )


def job_from_json(text: str | bytes) -> Job:
    """Read what `to_json` wrote; see `job_from_record`."""
    return job_from_record(strict.parse_object(text, "job"))


def outcome_to_json(outcome: Outcome) -> str:
    """Return an outcome as one line of JSON."""
    record = {"measurements": [to_record(item) for item in outcome.measurements], "reason": outcome.reason}
    return json.dumps(record, sort_keys=True, allow_nan=False)


def outcome_from_json(text: str | bytes, where: str = "outcome") -> Outcome:
    """Read what `outcome_to_json` wrote; DeviceError when it is something else."""
    return outcome_from_record(strict.parse_object(text, where), where)


def outcome_from_record(record: object, where: str) -> Outcome:
    """Read the object that `outcome_to_json` wrote."""
    body = strict.fields(record, ("measurements", "reason"), where)
    items = strict.typed(body["measurements"], list, f"{where}: measurements")
    return Outcome(
        tuple(from_record(item, f"{where}: measurements") for item in items),
        strict.optional(body["reason"], str, f"{where}: reason"),
    )
