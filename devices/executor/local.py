"""The local executor: one asyncio loop, as many jobs at once as slots allow.

A job that computes here has a process of its own; one on a board that SSH reaches only takes a connection.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from devices.executor.executor import Keep, Say
from devices.executor.job import Job, Outcome, outcome_from_json
from devices.executor.needs import capacity, needs, startable
from devices.executor.work import WORK, execute_far, line_of, read_answer

#: The transport of boards that this process only waits for.
FAR = "ssh"
#: Seconds that a job gets to leave its board in order when it is stopped.
PATIENCE_S = 10.0
#: The longest line of JSON that a job's process writes.
LINE_BYTES = 256 << 20


@dataclass(frozen=True, slots=True)
class LocalExecutor:
    """Executes jobs on this machine.

    Attributes:
        machine: jobs that use this machine's processor run at most so many at once, and one that measures its latency
            runs alone.
        command: starts the process of a job.
    """

    machine: int
    command: tuple[str, ...] = WORK

    def run(self, jobs: Sequence[Job], slots: Mapping[str, int], keep: Keep, say: Say) -> None:
        """Run every job; see `devices.executor.executor.Executor`."""
        asyncio.run(self._run(jobs, slots, keep, say))

    async def _run(self, jobs: Sequence[Job], slots: Mapping[str, int], keep: Keep, say: Say) -> None:
        waiting, free = list(jobs), capacity(slots, self.machine)
        running: dict[asyncio.Task[Outcome], Job] = {}
        try:
            while waiting or running:
                while (job := startable(waiting, free, self.machine)) is not None:
                    waiting.remove(job)
                    _take(free, job, self.machine, -1)
                    running[asyncio.create_task(self._execute(job, say))] = job
                if not running:
                    for job in waiting:
                        keep(job, Outcome(reason=f"board '{job.board}' has no slot; give it one under [slots]."))
                    return
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    job = running.pop(task)
                    _take(free, job, self.machine, 1)
                    keep(job, task.result())
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _execute(self, job: Job, say: Say) -> Outcome:
        if job.transport == FAR:
            return await execute_far(job, lambda text: say(f"{job.label}: {text}"))
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                start_new_session=True,
                limit=LINE_BYTES,
            )
        except OSError as error:
            return Outcome(reason=f"{self.command[0]} cannot be started: {error.strerror}.")
        try:
            return await _converse(process, job, say)
        finally:
            await _stop(process)


def _take(free: dict[str, int], job: Job, machine: int, sign: int) -> None:
    for key, amount in needs(job, machine).items():
        free[key] = free.get(key, 0) + sign * amount


async def _converse(process: asyncio.subprocess.Process, job: Job, say: Say) -> Outcome:
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None
    with suppress(ConnectionError):  # it died at once; its exit code and stderr say why
        process.stdin.write(line_of(job))
        await process.stdin.drain()
    answer, last = await asyncio.gather(process.stdout.read(), _listen(process.stderr, job, say))
    code = await process.wait()
    return outcome_from_json(read_answer(code, answer, last), f"outcome of {job.label}")


async def _listen(stream: asyncio.StreamReader, job: Job, say: Say) -> bytes:
    last = b""
    async for line in stream:
        if line.strip():
            last = line
            say(f"{job.label}: {line.decode(errors='replace').strip()}")
    return last


async def _stop(process: asyncio.subprocess.Process) -> None:
    """Close the process's stdin, which makes it clear up and end; kill it when it takes too long."""
    if process.returncode is not None:
        return
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), PATIENCE_S)
    except TimeoutError:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
