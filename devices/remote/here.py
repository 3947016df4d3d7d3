"""The link to this machine itself: the same scripts in a local shell, for boards that run edgemill themselves."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from devices.errors import DeviceError
from devices.remote.link import Answer, LinkLost, argv


@dataclass(frozen=True, slots=True)
class HereLink:
    """Runs scripts in `folder`, or the user's home; `environment` None takes this process'."""

    folder: Path | None = None
    environment: Mapping[str, str] | None = None

    async def run(self, script: str, arguments: tuple[str, ...], stdin: bytes, limit_s: float) -> Answer:
        """Run a script; what it leaves running detached goes on."""
        process = await self._start(argv(script, arguments))
        try:
            out, err = await asyncio.wait_for(process.communicate(stdin), limit_s)
        except TimeoutError as error:
            raise LinkLost(f"a command did not end within {limit_s:g} s.") from error
        finally:
            await _reap(process)
        if process.returncode is None or process.returncode < 0:
            raise LinkLost("a command was killed.")
        return Answer(process.returncode, out, err)

    async def close(self) -> None:
        """Nothing to close."""

    async def _start(self, words: tuple[str, ...]) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        try:
            return await asyncio.create_subprocess_exec(
                *words,
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                cwd=self.folder or Path.home(),
                env=None if self.environment is None else dict(self.environment),
                start_new_session=True,
            )
        except OSError as error:
            raise DeviceError(f"no script can be run here: {error.strerror or error}.") from error


async def _reap(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
