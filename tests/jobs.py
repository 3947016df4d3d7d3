"""Jobs, bundles and executors for tests of sweeps."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from devices.executor.executor import Executor
from devices.executor.job import Job, Outcome, outcome_to_json
from tests.house import ROOT
from tests.measurements import measurement


def job(name: str = "b", board: str = "null", transport: str = "null", **changes: object) -> Job:
    """A job whose bundle is not there."""
    values: dict[str, object] = {
        "bundle": f"/nowhere/{name}",
        "digest": (name.encode().hex() * 64)[:64],
        "name": name,
        "board": board,
        "transport": transport,
        "scenario": "single-stream",
        "windows": 3,
        "window_s": 0.01,
        "warmup_s": 0.0,
        "images": 1,
        "complete": False,
    }
    return Job(**{**values, **changes})  # type: ignore[arg-type]


def fake(folder: Path) -> tuple[str, ...]:
    """The command of a made-up job process that leaves its traces in a folder and measures what is written there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "outcome.json").write_text(outcome_to_json(Outcome((measurement(),))))
    return (sys.executable, "-S", "-E", str(ROOT / "tests" / "fake_job.py"), str(folder))


def collected(executor: Executor, jobs: Sequence[Job], slots: dict[str, int]) -> list[tuple[str, Outcome]]:
    """Run jobs and return the name of each with its outcome, in the order in which they ended."""
    found: list[tuple[str, Outcome]] = []
    executor.run(jobs, slots, lambda job, outcome: found.append((job.name, outcome)), lambda _: None)
    return found


def started(folder: Path) -> list[str]:
    """The made-up processes that were started: NAME.BOARD.PID."""
    return sorted(path.name for path in (folder / "started").iterdir()) if (folder / "started").is_dir() else []
