"""Stands for a job's process: FOLDER on the command line says what it leaves behind, what it waits for and answers.

It writes FOLDER/started/NAME.BOARD.PID with the boards of FOLDER/running, which run beside it, lasts 0.05 s or until
its stdin closes, answers with FOLDER/outcome.json. FOLDER/wait holds a number: jobs that start after so many others
last until FOLDER/go exists.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from pathlib import Path


def main(folder: Path) -> int:
    job = json.loads(os.read(0, 1 << 16))
    name = f"{job['name']}.{job['board']}.{os.getpid()}"
    running = folder / "running"
    (running / name).mkdir(parents=True)
    beside = [path.name.split(".")[1] for path in running.iterdir()]
    (folder / "started").mkdir(exist_ok=True)
    (folder / "started" / name).write_text(json.dumps(beside))
    wait, order = folder / "wait", len(list((folder / "started").iterdir()))
    until = None if wait.exists() and order > int(wait.read_text()) else time.monotonic() + 0.05
    try:
        while not (folder / "go").exists() and (until is None or time.monotonic() < until):
            if select.select([0], [], [], 0.01)[0] and not os.read(0, 1 << 16):
                return 130
    finally:
        (running / name).rmdir()
    if (folder / f"die.{job['name']}").exists():
        print("Segmentation fault, made up", file=sys.stderr)
        os.abort()
    print((folder / "outcome.json").read_text().strip(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
