"""Jobs of a few lines of shell, and links that misbehave, for tests of how jobs get to a board and back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from devices.remote import ssh
from devices.remote.archive import File, pack
from devices.remote.here import HereLink
from devices.remote.job import Hands, Job, Ran, Site, new_name, run_job
from devices.remote.link import Answer, Connect, Link, Steady
from tests.sshd import Server

#: Every run of a job adds a line to this file in the board's folder.
STARTS = "starts"
LINES = 40


def expected(lines: int = LINES) -> bytes:
    """What `counting` writes."""
    return b"".join(b'{"seq": %d}\n' % number for number in range(lines))


def counting(pause_s: float = 0.03, lines: int = LINES, before: str = "", after: str = "") -> Job:
    """A job that writes numbered lines with pauses; shell may come before and after."""
    body = f'i=0; while [ $i -lt {lines} ]; do echo "{{\\"seq\\": $i}}"; i=$((i + 1)); sleep {pause_s}; done'
    return scripted("\n".join([f"echo start >> ../../{STARTS}", before, body, after]))


def scripted(text: str, limit_s: float = 60.0, *more: File) -> Job:
    """A job that is a shell script."""
    program = File("runner.sh", f"#!/bin/sh\n{text}\n".encode(), program=True)
    return Job(new_name(), pack((program, *more)), ("./runner.sh",), limit_s)


def over_ssh(server: Server) -> Connect:
    """Open SSH links to a server."""
    return lambda: ssh.connect(server.address())


def here(folder: Path | None = None, environment: dict[str, str] | None = None) -> Connect:
    """Open links to this machine."""

    async def connect() -> Link:
        return HereLink(folder, environment)

    return connect


@dataclass
class Host:
    """Somebody who runs a job: what was said, and what came line by line."""

    connect: Connect
    site: Site
    said: list[str] = field(default_factory=list)
    lines: list[bytes] = field(default_factory=list)
    at: dict[int, Callable[[], object]] = field(default_factory=dict)
    reruns: int = 0

    def take(self, line: bytes) -> None:
        """Keep a line, and do what is due at that many lines, once."""
        self.lines.append(line)
        due = self.at.pop(len(self.lines), None)
        if due is not None:
            due()

    async def again(self) -> None:
        """Forget what came."""
        self.lines.clear()
        self.reruns += 1

    async def run_async(self, job: Job, hands: Hands | None = None) -> Ran:
        """Run a job."""
        steady = Steady("board", self.connect, self.said.append)
        try:
            return await run_job(steady, self.site, job, self.take, self.said.append, hands, self.again)
        finally:
            await steady.close()

    def run(self, job: Job, hands: Hands | None = None) -> Ran:
        """Run a job and wait for it."""
        return asyncio.run(self.run_async(job, hands))


@dataclass
class Damaging:
    """A link that changes one byte of what it carries, `times` times in all."""

    inner: Link
    left: list[int]

    async def run(self, script: str, arguments: tuple[str, ...], stdin: bytes, limit_s: float) -> Answer:
        """Pass on, with a byte changed in the middle of stdin."""
        if stdin and self.left[0] > 0:
            self.left[0] -= 1
            middle = len(stdin) // 2
            stdin = stdin[:middle] + bytes([stdin[middle] ^ 0x10]) + stdin[middle + 1 :]
        return await self.inner.run(script, arguments, stdin, limit_s)

    async def close(self) -> None:
        """Close the link behind."""
        await self.inner.close()


def damaging(connect: Connect, times: int) -> Connect:
    """Open links that damage the first `times` archives."""
    left = [times]

    async def open_it() -> Link:
        return Damaging(await connect(), left)

    return open_it


def content(folder: Path) -> list[str]:
    """What lies in a board's folder: bundles, jobs, slots."""
    return sorted(path.relative_to(folder).as_posix() for kind in "bjs" for path in (folder / kind).glob("*"))


def running(folder: Path) -> list[int]:
    """Return the processes that lead jobs in a board's folder."""
    return [int(path.read_text().split()[0]) for path in folder.glob("j/*/pid")]
