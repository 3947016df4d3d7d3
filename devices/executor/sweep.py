"""A sweep: every board of a lab with every bundle that it takes, in every scenario; finished jobs are not run again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from devices.board import Board
from devices.errors import DeviceError
from devices.executor.executor import Executor, Say
from devices.executor.job import Job, Outcome
from devices.executor.journal import Failure, Journal
from devices.executor.lab import Lab
from devices.inventory import RemoteBoard, find_any
from devices.scenario import SINGLE_STREAM
from export.bundle_read import Bundle, read_bundle

#: Told how many of all jobs have ended.
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Sweep:
    """The jobs of a lab, why other pairs of bundle and board are none, and how many jobs a board runs at once."""

    jobs: tuple[Job, ...]
    left_out: tuple[str, ...]
    slots: Mapping[str, int]


@dataclass(slots=True)
class Swept:
    """What a run of a sweep did: jobs found finished, jobs finished now, and those that failed now."""

    before: list[Job] = field(default_factory=list)
    finished: list[Job] = field(default_factory=list)
    failed: list[Failure] = field(default_factory=list)


def plan_sweep(lab: Lab) -> Sweep:
    """Return the jobs of a lab, those of one bundle together.

    A board that measures no latency runs in one scenario only: the others would count the same.

    Raises:
        DeviceError: a board is unknown, no bundle fits any board, or two bundles are the same.
        ExportError: a bundle is damaged.
    """
    found = tuple(find_any(name, lab.inventory) for name in lab.boards)
    boards = tuple(board.board if isinstance(board, RemoteBoard) else board for board in found)
    own = {board.name: board.site.slots for board in found if isinstance(board, RemoteBoard)}
    jobs: dict[str, Job] = {}
    left_out = []
    for path in lab.bundles:
        bundle = read_bundle(path)
        for board in boards:
            if not board.takes(bundle.manifest.target):
                left_out.append(f"{path.name} is for {bundle.manifest.target}; {board.name} runs {board.target}")
                continue
            for job in (_job(lab, bundle, board, scenario) for scenario in _scenarios(lab, board)):
                if job.id in jobs:
                    raise DeviceError(f"{job.bundle} and {jobs[job.id].bundle} hold the same bundle; name one of them.")
                jobs[job.id] = job
    if not jobs:
        raise DeviceError(f"no board of '{lab.name}' runs any of its bundles: {'; '.join(left_out)}.")
    slots = {name: lab.slots.get(name, own.get(name, 1)) for name in lab.boards}
    return Sweep(tuple(jobs.values()), tuple(left_out), slots)


def _scenarios(lab: Lab, board: Board) -> tuple[str, ...]:
    if "latency" in board.metrics:
        return lab.scenarios
    return (SINGLE_STREAM.name,)


def _job(lab: Lab, bundle: Bundle, board: Board, scenario: str) -> Job:
    return Job(
        bundle=str(bundle.path.absolute()),
        digest=bundle.digest,
        name=bundle.path.name,
        board=board.name,
        transport=board.transport,
        scenario=scenario,
        windows=lab.plan["windows"],
        window_s=lab.plan["window_s"],
        warmup_s=lab.plan["warmup_s"],
        images=lab.plan["images"],
        complete=lab.plan["complete"],
        inventory=None if lab.inventory is None else str(lab.inventory),
    )


def run_sweep(
    sweep: Sweep, lab: Lab, executor: Executor, journal: Journal, say: Say, progress: Progress = lambda *_: None
) -> Swept:
    """Run the jobs of a sweep that are not finished, and store what becomes of each.

    Args:
        sweep: from `plan_sweep`.
        lab: its name.
        executor: runs the jobs.
        journal: where outcomes are stored; a job that is finished there is not run.
        say: told what is being done.
        progress: told how many of all jobs have ended.

    Raises:
        DeviceError: the executor cannot work, or an outcome cannot be stored.
    """
    swept = Swept([job for job in sweep.jobs if job.id in journal.runs])
    # Jobs that failed before come after those that were never tried.
    todo = sorted(
        (job for job in sweep.jobs if job.id not in journal.runs), key=lambda job: journal.failure(job) is not None
    )
    total = len(sweep.jobs)
    progress(len(swept.before), total)

    def keep(job: Job, outcome: Outcome) -> None:
        failure = journal.keep(job, outcome, lab.name)
        if failure is None:
            swept.finished.append(job)
        else:
            swept.failed.append(failure)
        say(f"{job.label}: {'done' if outcome.done else f'failed: {outcome.reason}'}")
        progress(total - len(todo) + len(swept.finished) + len(swept.failed), total)

    if todo:
        executor.run(todo, sweep.slots, keep, say)
    return swept
