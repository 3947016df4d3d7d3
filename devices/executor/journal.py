"""What became of every job: a run of the store for each that is finished, a file for each that failed.

A finished job is one run of `devices.store`, complete or not there, whose label ends in the job's id; so the commands
`runs` and `compare` know it. A failure is `failed/ID.json`: the job, the reason of its last failure and how often it
failed. The next run of the lab tries it again, and a job that is finished is no failure any more.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devices import store, strict
from devices.errors import DeviceError
from devices.executor import job as jobs
from devices.executor.job import Job, Outcome
from devices.measurement import Measurement
from export.atomic import write_text
from export.errors import ExportError
from export.manifest import VERSION

SCHEMA = 1
FOLDER = "failed"
COMMAND = "lab"
_LABEL = re.compile(r".*\bjob ([0-9a-f]{16})")


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that failed: why, the last time, and how often."""

    job: Job
    reason: str
    tries: int


@dataclass(frozen=True, slots=True)
class Journal:
    """The jobs in one store. `runs` are the folders of finished ones by their ids."""

    folder: Path
    runs: dict[str, Path]

    def measurements(self, job: Job) -> tuple[Measurement, ...]:
        """Return what a finished job measured; DeviceError when its run is damaged."""
        return tuple(kept.measurement for kept in store.read_stored(self.runs[job.id]).kept)

    def keep(self, job: Job, outcome: Outcome, lab: str) -> Failure | None:
        """Store what became of a job; a finished job is never stored again. Returns the failure where it is one.

        Raises:
            DeviceError: the store cannot be written.
        """
        if job.id in self.runs:
            return None
        if outcome.reason is not None:
            return self._keep_failure(job, outcome.reason)
        writer = store.begin(self.folder, COMMAND, VERSION, f"{lab} job {job.id}")
        for measurement in outcome.measurements:
            writer.measurement(measurement)
        self.runs[job.id] = writer.finish()
        self._path(job.id).unlink(missing_ok=True)
        return None

    def failure(self, job: Job) -> Failure | None:
        """Return how a job failed, or None when it did not or is finished.

        Raises:
            DeviceError: the file is damaged; it is named.
        """
        path = self._path(job.id)
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DeviceError(f"{path} cannot be read: {error.strerror}.") from error
        found = _from_json(text, str(path))
        if found.job.id != job.id:
            raise DeviceError(f"{path} holds the job {found.job.id}; it was renamed or changed. Remove it.")
        return None if job.id in self.runs else found

    def _keep_failure(self, job: Job, reason: str) -> Failure:
        before = self.failure(job)
        failure = Failure(job, reason, (before.tries if before else 0) + 1)
        record: dict[str, Any] = {"schema": SCHEMA, "job": json.loads(jobs.to_json(job)), "reason": reason}
        text = json.dumps({**record, "tries": failure.tries}, sort_keys=True, allow_nan=False) + "\n"
        try:
            self._path(job.id).parent.mkdir(parents=True, exist_ok=True)
            write_text(self._path(job.id), text)
        except (OSError, ExportError) as error:
            raise DeviceError(f"that {job.label} failed cannot be stored: {error}") from error
        return failure

    def _path(self, job_id: str) -> Path:
        return self.folder / FOLDER / f"{job_id}.json"


def open_journal(folder: Path, *, tidy: bool = False) -> Journal:
    """Return the jobs of a store; an empty one where there is no store.

    Args:
        folder: the store.
        tidy: remove runs of jobs that a killed process left unfinished; only for one who works alone in the store.

    Raises:
        DeviceError: a run is damaged; it is named.
    """
    runs = {}
    for path in store.run_folders(folder):
        job_id = _job_of(path)
        if job_id is not None:
            runs[job_id] = path
    for path in folder.glob(f"*{store.PART}") if tidy else ():
        if (path / store.FILE).is_file() and _job_of(path) is not None:
            shutil.rmtree(path, ignore_errors=True)
    return Journal(folder, runs)


def _job_of(run: Path) -> str | None:
    """Return the id of the job that a run holds, or None when it is another command's or has no first line yet."""
    try:
        with (run / store.FILE).open("rb") as stream:
            line = stream.readline()
    except OSError as error:
        raise DeviceError(f"{run / store.FILE} cannot be read: {error.strerror}.") from error
    if not line.endswith(b"\n"):
        return None
    head = strict.parse_object(line, f"{run / store.FILE}, line 1")
    label = _LABEL.fullmatch(head["label"]) if isinstance(head.get("label"), str) else None
    return label[1] if label and head.get("command") == COMMAND else None


def _from_json(text: bytes, where: str) -> Failure:
    body = strict.fields(strict.parse_object(text, where), ("schema", "job", "reason", "tries"), where)
    if body["schema"] != SCHEMA:
        raise DeviceError(f"{where}: schema {body['schema']!r}; this version reads {SCHEMA}.")
    return Failure(
        jobs.job_from_record(body["job"], f"{where}: job"),
        strict.typed(body["reason"], str, f"{where}: reason"),
        strict.count(body["tries"], f"{where}: tries"),
    )
