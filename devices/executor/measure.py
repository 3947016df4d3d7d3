"""Measure one job on the board that it names."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from devices.board import Board
from devices.errors import DeviceError
from devices.executor.job import Job
from devices.inventory import RemoteBoard, find_any
from devices.measurement import Measurement
from devices.plan import Plan, plans
from devices.runner import profile_all, profile_far
from devices.scenario import find_scenario
from export.bundle_read import read_bundle

Say = Callable[[str], None]


def measure(job: Job, say: Say) -> tuple[Measurement, ...]:
    """Read the job's bundle and profile every part of it.

    Raises:
        DeviceError: the bundle is not the one that was asked for, or see `devices.runner.profile`.
        ExportError: there is no bundle, or it is damaged.
    """
    return _all(profile_all(_work(job), say))


async def measure_far(job: Job, say: Say) -> tuple[Measurement, ...]:
    """Do the same on a board of the inventory, without holding up other boards; see `measure`."""
    work = await asyncio.to_thread(_work, job)
    far = [(plan, board) for plan, board in work if isinstance(board, RemoteBoard)]
    return _all(await profile_far(far, say))


def _work(job: Job) -> list[tuple[Plan, Board | RemoteBoard]]:
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
    return [(plan, found) for plan in chosen]


def _all(results: Sequence[Measurement | DeviceError]) -> tuple[Measurement, ...]:
    """Return every measurement, or raise the first error."""
    measured = []
    for result in results:
        if isinstance(result, DeviceError):
            raise result
        measured.append(result)
    return tuple(measured)
