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
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from devices import tools
from devices.errors import DeviceError
from devices.found import Found
from devices.measurement import Warmup
from devices.plan import Plan, to_json
from devices.protocol import PROTOCOL, decode

_ROOT = str(Path(__file__).resolve().parent.parent)
#: `python -m devices.worker`, but from this very installation, whatever lies in the working directory.
WORKER = (
    sys.executable,
    "-P",
    "-c",
    f"import sys; root = {_ROOT!r}; root in sys.path or sys.path.insert(0, root); "
    "from devices.worker import main; sys.exit(main())",
)


@dataclass(slots=True)
class Log:
    """The records of one worker as they arrive."""

    records: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the fields of every record of one type."""
        return [record for found, record in self.records if found == kind]


def run_worker(plan: Plan, source: str, argv: tuple[str, ...] = WORKER) -> Found:
    """Start a worker with a plan and collect its records.

    Args:
        plan: what to run.
        source: in words, where the figures come from.
        argv: the worker's command line.

    Raises:
        DeviceError: the worker reports an error, dies (the message ends with the last line of its stderr), takes
            longer than `plan.limit_s`, or writes a record that is not right.
    """
    with tempfile.TemporaryFile() as stderr, _started(argv, stderr) as process:
        with _limited(process, plan) as expired:
            log = _converse(process, plan)
            code = process.wait()
        if expired.is_set():
            raise DeviceError(f"the worker on {plan.board} did not end within {plan.limit_s:g} s and was stopped.")
        if code != 0 or not log.of("end"):
            raise DeviceError(f"the worker on {plan.board} {tools.ending(code)}: {_last_line(stderr)}")
    return _found(plan, log, source)


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
        kind, record = decode(line, len(log.records))
        if kind == "error":
            raise DeviceError(f"{plan.board}: {record['message']}")
        _check_order(log, kind, record)
        log.records.append((kind, record))
    return log


def _check_order(log: Log, kind: str, record: dict[str, Any]) -> None:
    last = log.records[-1][0] if log.records else None
    allowed = {None: ("hello",), "hello": ("caps",), "caps": ("warm",), "warm": ("window",)}
    if kind not in allowed.get(last, ("window", "end") if last == "window" else ()):
        raise DeviceError(f"the worker sent '{kind}' after '{last}'.")
    windows = len(log.of("window"))
    if kind == "hello" and record["protocol"] != PROTOCOL:
        raise DeviceError(f"the worker speaks protocol {record['protocol']}; this version speaks {PROTOCOL}.")
    if (kind == "window" and record["i"] != windows) or (kind == "end" and record["windows"] != windows):
        raise DeviceError(f"the worker's '{kind}' record does not fit the {windows} windows it sent before.")
    if kind == "window" and not record["samples_ns"]:
        raise DeviceError(f"window {windows} of the worker holds no samples.")


def _found(plan: Plan, log: Log, source: str) -> Found:
    windows = log.of("window")
    if len(windows) != plan.windows:
        raise DeviceError(f"the worker ran {len(windows)} windows; the plan asks for {plan.windows}.")
    warm = log.of("warm")[0]
    return Found(
        source=source,
        versions=log.of("caps")[0]["versions"],
        warmup=Warmup(warm["open_ns"] / 1e9, warm["first_ns"] / 1e9, warm["total_ns"] / 1e9, warm["runs"]),
        latency_s=tuple(tuple(ns / 1e9 for ns in window["samples_ns"]) for window in windows),
    )


def _last_line(stderr: IO[bytes]) -> str:
    stderr.seek(0)
    lines = [line for line in stderr.read().decode(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip() if lines else "it wrote nothing to stderr."
