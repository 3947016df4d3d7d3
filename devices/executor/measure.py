"""Measure one job on the board that it names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from devices.errors import DeviceError
from devices.executor.job import Job
from devices.inventory import RemoteBoard, find_any
from devices.measurement import Measurement
from devices.plan import plans
from devices.runner import profile_all
from devices.scenario import find_scenario
from export.bundle_read import read_bundle


def measure(job: Job, say: Callable[[str], None]) -> tuple[Measurement, ...]:
    """Read the job's bundle and profile every part of it.

    Raises:
        DeviceError: the bundle is not the one that was asked for, or see `devices.runner.profile`.
        ExportError: there is no bundle, or it is damaged.
    """
    bundle = read_bundle(Path(job.bundle))
    if bundle.digest != job.digest:
        raise DeviceError(
            f"{job.bundle} holds the bundle {bundle.digest[:12]}, not {job.digest[:12]} that was asked for; it was "
            "written anew meanwhile. Start again."
        )
    found = find_any(job.board, None if job.inventory is None else Path(job.inventory))
    chosen = plans(
        bundle,
        found.board if isinstance(found, RemoteBoard) else found,
        windows=job.windows,
        window_s=job.window_s,
        warmup_s=job.warmup_s,
        images=job.images,
        scenario=find_scenario(job.scenario),
        complete=job.complete,
    )
    measured = []
    for result in profile_all([(plan, found) for plan in chosen], say):
        if isinstance(result, DeviceError):
            raise result
        measured.append(result)
    return tuple(measured)
