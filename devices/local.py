"""The local transport: a worker process on this machine, its records checked one by one as they come."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from devices import tools
from devices.conversation import Log, found
from devices.errors import DeviceError
from devices.found import Found
from devices.plan import Plan, to_json
from devices.protocol import SIDES

_ROOT = str(Path(__file__).resolve().parent.parent)
#: `python -m devices.worker`, but from this very installation, whatever lies in the working directory.
WORKER = (
    sys.executable,
    "-P",
    "-c",
    f"import sys; root = {_ROOT!r}; root in sys.path or sys.path.insert(0, root); "
    "from devices.worker import main; sys.exit(main())",
)


def run_worker(plan: Plan, source: str, argv: tuple[str, ...] = WORKER) -> Found:
    """Start a worker with a plan and return what it found; see `run_pairs`."""
    return found(plan, _run(plan, argv), source)


def run_pairs(plan: Plan, source: str, argv: tuple[str, ...] = WORKER) -> tuple[Found, Found]:
    """Start a worker with a plan whose two parts take turns; return what it found for each, the plan's own first.

    Args:
        plan: what to run.
        source: in words, where the figures come from.
        argv: the worker's command line.

    Raises:
        DeviceError: the worker reports an error, dies (the message ends with the last line of its stderr), takes
            longer than `plan.limit_s`, or writes a record that is not right.
    """
    log = _run(plan, argv)
    return found(plan, log, source, SIDES[0]), found(plan, log, source, SIDES[1])


def _run(plan: Plan, argv: tuple[str, ...]) -> Log:
    with tempfile.TemporaryFile() as stderr, _started(argv, stderr) as process:
        with _limited(process, plan) as expired:
            log = _converse(process, plan)
            code = process.wait()
        if expired.is_set():
            raise DeviceError(f"the worker on {plan.board} did not end within {plan.limit_s:g} s and was stopped.")
        if code != 0 or not log.of("end"):
            raise DeviceError(f"the worker on {plan.board} {tools.ending(code)}: {_last_line(stderr)}")
    return log


@contextmanager
def _started(argv: tuple[str, ...], stderr: IO[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    try:
        process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, start_new_session=True
        )
    except OSError as error:
        raise DeviceError(f"the worker {argv[0]} cannot be started: {error.strerror}.") from error
    try:
        yield process
    finally:
        tools.kill_group(process)


@contextmanager
def _limited(process: subprocess.Popen[bytes], plan: Plan) -> Iterator[threading.Event]:
    """Kill the worker when its time is over; reading from it then ends."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)

    timer = threading.Timer(plan.limit_s, expire)
    timer.start()
    try:
        yield expired
    finally:
        timer.cancel()
        timer.join()


def _converse(process: subprocess.Popen[bytes], plan: Plan) -> Log:
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(to_json(plan).encode())
        process.stdin.close()
    except BrokenPipeError:
        pass  # it died at once; its exit code and stderr say why
    log = Log()
    for line in process.stdout:
        if not line.endswith(b"\n"):
            break  # cut off in the middle: it died
        log.add(line, plan.board)
    return log


def _last_line(stderr: IO[bytes]) -> str:
    stderr.seek(0)
    lines = [line for line in stderr.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it wrote nothing to stderr."
