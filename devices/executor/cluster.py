"""The Dask executor: one worker per lab host, which offers the slots of its boards as resources.

Text goes out and text comes back. Scheduler, workers and this process exchange Dask's own messages, which execute what
they hold: run them inside one network whose members trust each other, or with TLS.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from devices.errors import DeviceError
from devices.executor.executor import Keep, Say
from devices.executor.job import Job, Outcome, outcome_from_json, to_json
from devices.executor.needs import ELSEWHERE, MACHINE, board_key
from devices.executor.work import execute_apart

#: Those of Dask that have a level of their own.
LOGGERS = ("distributed", "distributed.client")
#: How often the cluster is looked at while no job ends.
LOOK_S = 1.0
#: How long the cluster may take to answer a question, and to be left.
ANSWER_S = 30.0
LEAVE_S = 5.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DaskExecutor:
    """Executes jobs on the workers of a Dask cluster.

    Attributes:
        address: of the scheduler, such as tcp://head:8786.
        patience_s: a job fails when for so long no worker offers a slot of its board.
        command: starts the process of a job on a worker's host; None takes that host's own edgemill.
        connect_s: how long the scheduler may take to answer.
    """

    address: str
    patience_s: float = 60.0
    command: tuple[str, ...] | None = None
    connect_s: float = 10.0

    def run(self, jobs: Sequence[Job], slots: Mapping[str, int], keep: Keep, say: Say) -> None:
        """Run every job; see `devices.executor.executor.Executor`. The workers say how many slots a board has."""
        try:
            import distributed
        except ImportError:
            raise DeviceError("the Dask executor needs distributed: pip install 'edgemill[scale]'") from None
        # What goes wrong is said in this project's words; Dask's loggers would add their tracebacks.
        for name in LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        try:
            client = distributed.Client(self.address, timeout=self.connect_s, set_as_default=False)
        except (OSError, ValueError) as error:
            raise DeviceError(
                f"no Dask scheduler answers at {self.address}: {error}. Start one with: dask scheduler"
            ) from error
        futures: dict[Any, Job] = {}
        try:
            with client.as_current():
                futures |= {self._submit(client, job): job for job in jobs}
                self._collect(client, futures, keep, say)
        finally:
            with suppress(TimeoutError, CancelledError, OSError):
                if client.status == "running":
                    _within(LEAVE_S, lambda: client.cancel(list(futures)))
                _within(LEAVE_S, client.close)

    def _submit(self, client: Any, job: Job) -> Any:
        """Submit a job under its id: asked for twice it runs once, and again when its worker is lost."""
        return client.submit(
            execute_apart,
            to_json(job),
            *((self.command,) if self.command else ()),
            key=f"edgemill-{job.id}",
            resources=worker_needs(job),
            pure=False,
        )

    def _collect(self, client: Any, futures: dict[Any, Job], keep: Keep, say: Say) -> None:
        missed: dict[str, float] = {}
        while futures:
            done = _finished(list(futures))
            if client.status != "running":
                raise self._gone()
            for future in done:
                job = futures.pop(future)
                keep(job, self._outcome(future, job))
            for future, reason in self._unserved(client, futures, missed, say):
                future.cancel()
                keep(futures.pop(future), Outcome(reason=reason))

    def _outcome(self, future: Any, job: Job) -> Outcome:
        if future.status == "finished":
            try:
                text = _within(ANSWER_S, future.result)
            except (TimeoutError, CancelledError, OSError) as error:
                raise self._gone() from error
            return outcome_from_json(text, f"outcome of {job.label}")
        if future.status == "error":
            wrong = future.exception()
            return Outcome(reason=f"{type(wrong).__name__}: {' '.join(str(wrong).split())}")
        return Outcome(reason=f"Dask lost the job ({future.status}).")

    def _gone(self) -> DeviceError:
        return DeviceError(f"the Dask scheduler at {self.address} is gone; what was finished is kept.")

    def _unserved(
        self, client: Any, futures: Mapping[Any, Job], missed: dict[str, float], say: Say
    ) -> list[tuple[Any, str]]:
        """Return the futures that nobody could run for longer than `patience_s`, each with the reason."""
        try:
            workers = _within(ANSWER_S, lambda: client.scheduler_info(n_workers=-1))["workers"].values()
        except (TimeoutError, CancelledError, OSError) as error:
            raise self._gone() from error
        offered = [{key for key, amount in worker["resources"].items() if amount >= 1} for worker in workers]
        now, found = time.monotonic(), []
        for future, job in futures.items():
            if any(keys.issuperset(worker_needs(job)) for keys in offered):
                missed.pop(job.board, None)
                continue
            if job.board not in missed:
                say(f"no worker offers a slot of board '{job.board}'; waiting {self.patience_s:g} s for one")
            if now - missed.setdefault(job.board, now) >= self.patience_s:
                option = f'--resources "{worker_resources({job.board: 1})}"'
                found.append((future, f"no Dask worker offers a slot of board '{job.board}'; start one with {option}."))
        return found


def _finished(futures: list[Any]) -> list[Any]:
    import distributed

    try:
        return list(distributed.wait(futures, timeout=LOOK_S, return_when="FIRST_COMPLETED").done)
    except TimeoutError:
        return []
    except CancelledError:  # by another client, or the scheduler is gone
        return [future for future in futures if future.done()]


def _within(limit_s: float, call: Callable[[], T]) -> T:
    """Return what a call to the cluster gives; one whose scheduler dies meanwhile may never return.

    Raises:
        TimeoutError: it did not return in time, and goes on in a thread that nobody waits for.
    """
    answer: Future[T] = Future()

    def run() -> None:
        try:
            answer.set_result(call())
        except BaseException as error:
            answer.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return answer.result(limit_s)


def worker_needs(job: Job) -> dict[str, int]:
    """Return what a job occupies of a worker: a slot of its board, and the worker's machine where it computes there."""
    return {board_key(job.board): 1, **({} if job.transport in ELSEWHERE else {MACHINE: 1})}


def worker_resources(slots: Mapping[str, int]) -> str:
    """Return what `--resources` of a Dask worker says when its host serves these boards."""
    offered = {board_key(board): count for board, count in slots.items()} | {MACHINE: 1}
    return " ".join(f"{key}={count}" for key, count in offered.items())
