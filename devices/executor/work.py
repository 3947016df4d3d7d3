"""Execute one job: in a process of its own that ends with whoever started it.

`main` reads a job on stdin and writes its outcome on stdout, each one line of JSON; what is being done goes to stderr.
Stdin stays open meanwhile: when it closes, the starter is gone, and the job stops and leaves the board free.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from devices import tools
from devices.errors import DeviceError
from devices.executor.job import Job, Outcome, job_from_json, outcome_to_json, to_json
from export.errors import ExportError
from quant.errors import QuantError

_ROOT = str(Path(__file__).resolve().parents[2])
#: `python -m devices.executor.work`, but from this very installation, whatever lies in the working directory.
WORK = (
    sys.executable,
    "-P",
    "-c",
    f"import sys; root = {_ROOT!r}; root in sys.path or sys.path.insert(0, root); "
    "from devices.executor.work import main; sys.exit(main())",
)
EXIT_INTERRUPTED = 130
Say = Callable[[str], None]


def execute(job: Job, say: Say) -> Outcome:
    """Run a job here and return its outcome; what can be said of a failure is its reason."""
    from devices.executor.measure import measure

    try:
        return Outcome(measure(job, say))
    except (DeviceError, ExportError, QuantError) as error:
        return _failed(error)


async def execute_far(job: Job, say: Say) -> Outcome:
    """Run a job on a board that is reached by SSH; this process only waits, so one can drive hundreds of boards."""
    from devices.executor.measure import measure_far

    try:
        return Outcome(await measure_far(job, say))
    except (DeviceError, ExportError, QuantError) as error:
        return _failed(error)


def _failed(error: Exception) -> Outcome:
    return Outcome(reason=f"{' '.join(str(error).split())} (on {socket.gethostname()})")


def execute_apart(text: str, command: tuple[str, ...] = WORK) -> str:
    """Run a job, given as JSON, in a process of its own and return its outcome as JSON.

    This is what a Dask worker is asked to do: text in, text out, and a worker that is killed takes the job with it.
    """
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    stdin, stdout, stderr = process.stdin, process.stdout, process.stderr
    assert stdin is not None and stdout is not None and stderr is not None
    said: list[bytes] = []
    reader = threading.Thread(target=lambda: said.extend(stderr.readlines()[-1:]), daemon=True)
    reader.start()
    try:
        with suppress(BrokenPipeError):  # it died at once; its exit code and stderr say why
            stdin.write(text.encode() + b"\n")
            stdin.flush()
        answer, code = stdout.read(), process.wait()
        reader.join()
    finally:
        tools.kill_group(process)
    return read_answer(code, answer, b"".join(said))


def read_answer(code: int, answer: bytes, stderr: bytes) -> str:
    """Return the outcome that a job's process wrote, or that it died."""
    if code == 0 and answer.endswith(b"\n"):
        return answer.decode().strip()
    said = stderr.decode(errors="replace").strip().splitlines()
    reason = f"the job's process {tools.ending(code)}: {said[-1] if said else 'it wrote nothing to stderr.'}"
    return outcome_to_json(Outcome(reason=reason))


def main() -> int:
    """Serve the job on stdin; returns the exit code.

    Runtimes write to file descriptor 1 as they like, so it is pointed at stderr and the outcome keeps the original.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    text = sys.stdin.buffer.readline()
    threading.Thread(target=_end_with_starter, daemon=True).start()
    try:
        outcome = execute(job_from_json(text), lambda line: print(line, file=sys.stderr, flush=True))
        answers.write(outcome_to_json(outcome) + "\n")
        answers.flush()
    except BrokenPipeError:
        return 1
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


def _end_with_starter() -> None:
    """Interrupt this process when its stdin closes, so that what it started is cleared away by the usual path."""
    # The file descriptor, not `sys.stdin`: its lock would keep a process that is done from ending.
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGINT)


def line_of(job: Job) -> bytes:
    """Return what the job's process reads."""
    return to_json(job).encode() + b"\n"


if __name__ == "__main__":
    sys.exit(main())
