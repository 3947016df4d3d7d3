"""Many runs, each with something killed at a random moment: nothing lost, nothing doubled, nothing half written."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import pytest

from devices.errors import DeviceError
from devices.remote.archive import File
from devices.remote.job import Hands, Site
from tests import sshd
from tests.remote_jobs import STARTS, Host, content, counting, expected, over_ssh, running, scripted

RUNS = 200
LINES = 12
#: What is killed: every connection, the server as well, the work on the board, the work together with its boot.
KILLS = ("connection", "connection", "connection", "server", "job", "boot")
NOT_MET = "not met by the kill"


def kill(kind: str, server: sshd.Server, site: Path, boot: Path) -> None:
    """Kill something, as it is at this moment."""
    if kind == "server":
        server.stop()
        server.start()
        return
    if kind in ("job", "boot"):
        for pid in running(site):
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGKILL)
    if kind == "boot":
        boot.write_text(f"{random.getrandbits(32):08x}\n")
    server.drop()


def every(server: sshd.Server, site: Path, boot: Path, dice: random.Random) -> Counter[str]:
    """Run all jobs; return how often each end came.

    A kill is due within what a run takes here and now, and a little later: fixed seconds would miss the runs of a fast
    machine.
    """
    ends: Counter[str] = Counter()
    usual_s = 1.0
    for number in range(RUNS):
        end, took_s = one(server, site, boot, dice, number, 1.25 * usual_s)
        if end == NOT_MET:
            usual_s = took_s
        ends[end] += 1
    return ends


def one(
    server: sshd.Server, site: Path, boot: Path, dice: random.Random, number: int, within_s: float
) -> tuple[str, float]:
    """Run one job with a kill within so many seconds; return how it ended, and how long it took."""
    user = Host(over_ssh(server), Site(str(site), boot_id=str(boot)))
    # Every fourth bundle is new, so that kills meet it on its way.
    body = counting(0.02, LINES)
    job = body if number % 4 else scripted(_script(number), 60, File("filler.bin", dice.randbytes(200_000)))
    kind, delay = dice.choice(KILLS), dice.uniform(0.0, within_s)
    killer = threading.Timer(delay, kill, (kind, server, site, boot))
    killer.start()
    hands = Hands(sleep=lambda seconds: asyncio.sleep(min(seconds, 0.3)))
    begin = time.monotonic()
    try:
        ran = user.run(job, hands)
    except DeviceError as error:
        # A job that is killed with its watcher, on a board that goes on, has crashed: it must say so and leave nothing.
        assert kind == "job" and "was killed" in str(error), f"{kind}: {error}"
        return "crash, said so", time.monotonic() - begin
    finally:
        took_s = time.monotonic() - begin
        killer.join()
    assert ran.records == expected(LINES) == b"".join(user.lines), (number, kind, user.said)
    if user.reruns:
        assert any("run again" in note for note in ran.notes)
        return "run again, said so", took_s
    return ("followed to the end" if ran.notes else NOT_MET), took_s


def _script(number: int) -> str:
    loop = f'i=0; while [ $i -lt {LINES} ]; do echo "{{\\"seq\\": $i}}"; i=$((i + 1)); sleep 0.02; done'
    return f": {number}; echo start >> ../../{STARTS}; {loop}"


@pytest.mark.slow
def test_two_hundred_runs_with_random_kills(tmp_path):
    (tmp_path / "sshd").mkdir()
    site, boot, dice = tmp_path / "site", tmp_path / "boot_id", random.Random(6)
    boot.write_text("00000000\n")
    with sshd.running(tmp_path / "sshd") as server:
        ends = every(server, site, boot, dice)
        # What a killed host or push left is only ever under a name of its own, never under a bundle's.
        assert [name for name in content(site) if name.startswith("j/")] == []
        for bundle in (site / "b").glob("*"):
            if bundle.name.isalnum():
                assert {"SHA256SUMS", "manifest.json", "runner.sh"} <= {path.name for path in bundle.iterdir()}
    print(dict(ends))
    assert sum(ends.values()) == RUNS
    assert ends["followed to the end"] > RUNS / 4
    assert ends["run again, said so"] > 0
