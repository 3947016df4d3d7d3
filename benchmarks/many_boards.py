"""Fifty boards at once from one process: how long it takes, how much memory, and whether every record came.

The boards are folders on this machine behind an SSH server each, all in another process: see
`benchmarks.simulated_boards`. What runs there is the real static C runner.

python -m benchmarks.many_boards [--boards 50] [--write]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.results import environment, write_results
from devices.errors import DeviceError
from devices.inventory import RemoteBoard, remote_boards
from devices.plan import Plan, plans
from devices.runner import profile_all
from export.bundle import write_bundle
from export.bundle_read import Bundle
from export.targets import find_target
from tests.bundles import toy_spec

#: Every board runs so many windows of so many seconds.
WINDOWS, WINDOW_S, WARMUP_S = 10, 0.05, 0.1
START_LIMIT_S = 120.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boards", type=int, default=50)
    parser.add_argument("--write", action="store_true", help="Replace the committed results.")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, simulated(Path(folder) / "boards", asked.boards) as inventory:
        bundle = write_bundle(Path(folder) / "bundle", toy_spec(), find_target("arm-m"))
        row = measure(bundle, remote_boards(inventory))
    print(json.dumps(row))
    if asked.write:
        write_results("many_boards", {"environment": environment(), "results": [row]}, _table(row))


@contextmanager
def simulated(folder: Path, count: int) -> Iterator[Path]:
    """Run boards in a process of their own; yield their inventory."""
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.simulated_boards", str(folder), str(count)], stdin=subprocess.PIPE
    )
    try:
        end = time.monotonic() + START_LIMIT_S
        while not (folder / "boards.toml").exists():
            if process.poll() is not None or time.monotonic() > end:
                raise SystemExit("the simulated boards did not start")
            time.sleep(0.1)
        yield folder / "boards.toml"
    finally:
        process.kill()
        process.wait()


def peak_rss_bytes() -> int:
    """Return the peak of this process since its program began; getrusage would count the parent as well."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024


def measure(bundle: Bundle, boards: tuple[RemoteBoard, ...]) -> dict[str, Any]:
    """Run the bundle on every board at once."""
    work: list[tuple[Plan, RemoteBoard]] = [
        (plan, board)
        for board in boards
        for plan in plans(bundle, board.board, windows=WINDOWS, window_s=WINDOW_S, warmup_s=WARMUP_S)
    ]
    before = peak_rss_bytes()
    begin = time.monotonic()
    found = profile_all(work, lambda _: None)
    wall_s = time.monotonic() - begin
    whole = [f for f in found if not isinstance(f, DeviceError) and len(f.latency_s or ()) == WINDOWS]
    for failed in (f for f in found if isinstance(f, DeviceError)):
        print(failed, file=sys.stderr)
    return {
        "boards": len(boards),
        "whole": len(whole),
        "samples": sum(len(f.samples_s) for f in whole),
        "wall_s": wall_s,
        "work_s": len(boards) * (WARMUP_S + WINDOWS * WINDOW_S),
        "peak_rss_bytes": peak_rss_bytes(),
        "rss_before_bytes": before,
    }


def _table(row: dict[str, Any]) -> str:
    return f"""# Many boards at once from one process

{row["boards"]} simulated boards: folders on this machine, an SSH server each, in another process. The static C
runner on each, {WINDOWS} windows of at most {WINDOW_S:g} s after {WARMUP_S:g} s of warm-up. All boards share this
machine's processor, so that latencies mean nothing here; what counts is that every record comes, and the memory of one
process.

| boards | measurements whole | raw samples | wall s | peak RSS MB | RSS before MB |
|---|---|---|---|---|---|
| {row["boards"]} | {row["whole"]} | {row["samples"]} | {row["wall_s"]:.1f} | {row["peak_rss_bytes"] / 1e6:.0f} | \
{row["rss_before_bytes"] / 1e6:.0f} |

The wall time holds one call of the compiler, {row["boards"]} pushes of the bundle, and the runs.

    python -m benchmarks.many_boards --write
"""


if __name__ == "__main__":
    main()
