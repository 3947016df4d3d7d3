"""What a job occupies while it runs: a slot of its board, and a share of the machine that executes it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from devices.executor.job import Job

#: Slots of the machine itself. Latency measured on it takes them all: nothing else may run beside it.
MACHINE = "machine"
#: Boards that lie elsewhere: this machine only waits for them.
ELSEWHERE = ("ssh", "serial")
#: Boards whose latency is this machine's own.
HERE = ("local", "shell")

Amounts = Mapping[str, int]


def board_key(board: str) -> str:
    """Name the resource that a board's slots are."""
    return f"board-{board}"


def needs(job: Job, machine: int) -> Amounts:
    """Return what a job occupies.

    Args:
        job: the job.
        machine: slots of the machine that executes it.
    """
    share = 0 if job.transport in ELSEWHERE else machine if job.transport in HERE else 1
    return {board_key(job.board): 1, **({MACHINE: share} if share else {})}


def capacity(slots: Mapping[str, int], machine: int) -> dict[str, int]:
    """Return what there is: every board's slots, and the machine's."""
    return {**{board_key(board): count for board, count in slots.items()}, MACHINE: machine}


def startable(waiting: Sequence[Job], free: Amounts, machine: int) -> Job | None:
    """Return the first waiting job whose needs are free, or None.

    A job that needs the whole machine holds back later ones that need a part of it, or it would wait for ever.
    """
    kept = dict(free)
    for job in waiting:
        wanted = needs(job, machine)
        if all(kept.get(key, 0) >= amount for key, amount in wanted.items()):
            return job
        if job.transport in HERE and free.get(board_key(job.board), 0) > 0:
            kept[MACHINE] = 0
    return None
