"""Compute the cells of a sweep on all cores: processes that each keep what their cells share.

A worker that loses its parent ends at once, so that a sweep killed and started again never computes beside its ghost.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from devices.sweep_record import SweepCell
from edge.errors import EdgeError
from edge.sweep_cell import Task, compute_cell
from edge.sweep_plan import CellSpec, Groups, grouped, take
from quant.workshop import Workshop

#: Called with every finished cell, in whatever order they end.
Keep = Callable[[CellSpec, SweepCell], None]
#: Seconds a worker gets to finish its cell when the sweep is stopped.
PATIENCE_S = 20.0


@dataclass(eq=False)
class Worker:
    """A process, the pipe to it, and the cell it computes."""

    process: BaseProcess
    pipe: Connection
    spec: CellSpec | None = None


def compute_all(task: Task, specs: tuple[CellSpec, ...], jobs: int, keep: Keep) -> None:
    """Compute cells and hand each to `keep` in this process.

    Args:
        task: what the cells are computed from.
        specs: those to compute.
        jobs: processes; 1 computes in this one.
        keep: stores a cell.

    Raises:
        EdgeError: a worker process died.
        QuantError: the network cannot be calibrated.
    """
    if min(jobs, len(specs)) <= 1:
        _compute_here(task, specs, keep)
        return
    context = multiprocessing.get_context("spawn")
    workers: list[Worker] = []
    try:
        for _ in range(min(jobs, len(specs))):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, task), daemon=True)
            process.start()
            theirs.close()
            workers.append(Worker(process, ours))
        _share_out(workers, specs, keep)
    finally:
        _stop(workers)


def _compute_here(task: Task, specs: tuple[CellSpec, ...], keep: Keep) -> None:
    """Compute one by one, with one thread as the workers do, so that sums round alike."""
    import torch

    threads, workshop = torch.get_num_threads(), Workshop(task.graph, task.calibration)
    torch.set_num_threads(1)
    try:
        for spec in specs:
            keep(spec, compute_cell(workshop, task, spec))
    finally:
        torch.set_num_threads(threads)


def _share_out(workers: list[Worker], specs: tuple[CellSpec, ...], keep: Keep) -> None:
    """Give every worker a cell, and the next one when it is done, until none is left."""
    groups = grouped(specs)
    for worker in workers:
        _give(worker, workers, groups)
    while any(worker.spec for worker in workers):
        ready = wait([worker.pipe for worker in workers if worker.spec])
        for worker in workers:
            if worker.pipe in ready and worker.spec is not None:
                keep(worker.spec, _answer(worker, worker.spec))
                _give(worker, workers, groups)


def _give(worker: Worker, workers: list[Worker], groups: Groups) -> None:
    busy = frozenset(other.spec.group for other in workers if other.spec is not None and other is not worker)
    held = worker.spec.group if worker.spec else None
    worker.spec = take(groups, held, busy)
    if worker.spec is not None:
        # A worker that died is found when its answer is read.
        with suppress(OSError):
            worker.pipe.send(worker.spec)


def _answer(worker: Worker, spec: CellSpec) -> SweepCell:
    try:
        cell: SweepCell | str = worker.pipe.recv()
    except (EOFError, OSError) as error:
        worker.process.join(PATIENCE_S)
        raise EdgeError(
            f"a worker died computing {spec.name} (exit code {worker.process.exitcode}; -9 is most likely a lack of "
            "memory). What was computed is kept: start again, with fewer --jobs."
        ) from error
    if isinstance(cell, str):
        raise EdgeError(cell)
    return cell


def _stop(workers: list[Worker]) -> None:
    """Let every worker finish its cell and end; nothing it does is kept any more."""
    for worker in workers:
        worker.pipe.close()
    for worker in workers:
        worker.process.join(PATIENCE_S)
        if worker.process.is_alive():
            worker.process.terminate()


def _serve(pipe: Connection, task: Task) -> None:
    """Answer specs with cells until the pipe closes. Runs in a process of its own."""
    import torch

    from quant.errors import QuantError

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    workshop = Workshop(task.graph, task.calibration)
    try:
        while True:
            spec: CellSpec = pipe.recv()
            try:
                answer: SweepCell | str = compute_cell(workshop, task, spec)
            except (QuantError, EdgeError) as error:
                answer = str(error)
            pipe.send(answer)
    except (EOFError, OSError):
        return


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
