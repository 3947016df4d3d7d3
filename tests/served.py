"""`edgemill serve` as a process of its own, with what it logs."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(slots=True)
class Served:
    """A server process; its log is read by a thread, so that a full pipe never stops it."""

    process: subprocess.Popen[str]
    port: int = 0
    lines: list[str] = field(default_factory=list)
    reader: threading.Thread | None = None

    def events(self, name: str) -> list[dict[str, Any]]:
        return [event for event in map(json.loads, list(self.lines)) if event["event"] == name]

    def stop(self) -> dict[str, Any]:
        """End it with SIGTERM; return its last event."""
        self.process.terminate()
        assert self.process.wait(30) == 0
        assert self.reader is not None
        self.reader.join(10)
        last: dict[str, Any] = json.loads(self.lines[-1])
        return last


@contextmanager
def served(bundle: Path, *options: str, prefix: tuple[str, ...] = ()) -> Iterator[Served]:
    """Serve a bundle on a port of the system's choice; the process is killed when the block ends."""
    command = [*prefix, sys.executable, "-m", "edge.cli", "serve", str(bundle), "--listen", "127.0.0.1:0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        found = Served(process)
        try:
            assert process.stdout is not None
            found.lines.append(process.stdout.readline().rstrip())
            found.port = json.loads(found.lines[0])["port"]
            found.reader = threading.Thread(target=_read, args=(found,), daemon=True)
            found.reader.start()
            yield found
        finally:
            process.kill()
            if found.reader is not None:
                found.reader.join(10)


def _read(found: Served) -> None:
    assert found.process.stdout is not None
    found.lines.extend(line.rstrip() for line in found.process.stdout)


def wait_until(true: Callable[[], object], limit_s: float = 10.0) -> None:
    """Wait until a condition holds.

    Raises:
        AssertionError: it never did.
    """
    until = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < until, "what was waited for did not come"
        time.sleep(0.01)
