"""A link runs small POSIX sh scripts on a board. What it loses is told apart from what will never work."""

from __future__ import annotations

import asyncio
import re
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

from devices.errors import DeviceError

#: A command that takes longer has lost its link.
COMMAND_LIMIT_S = 60.0
#: Slowest rate that a push is given time for, in bytes per second.
SLOWEST_RATE = 50_000
#: What an argument of a script may be made of. Everything is quoted as well; this keeps surprises out of paths.
_ARGUMENT = re.compile(r"[A-Za-z0-9_./:=,@%+*-]+")

Say = Callable[[str], None]
Sleep = Callable[[float], Awaitable[None]]


class LinkLost(DeviceError):
    """The link broke, or a command ended without saying how: try again. Any other DeviceError is final."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script that ran to its end left behind."""

    code: int
    out: bytes
    err: bytes


class Link(Protocol):
    """One open way to a board."""

    async def run(self, script: str, arguments: tuple[str, ...], stdin: bytes, limit_s: float) -> Answer:
        """Run a script with `sh` and return what came of it; LinkLost when that is not known."""

    async def close(self) -> None:
        """Close it; what runs detached on the board goes on."""


#: Opens a link. Raises LinkLost when another attempt may succeed, DeviceError when none will.
Connect = Callable[[], Awaitable[Link]]


def argv(script: str, arguments: tuple[str, ...]) -> tuple[str, ...]:
    """Return the command line of a script.

    Raises:
        DeviceError: an argument holds a character that no argument of ours has.
    """
    for argument in arguments:
        if not _ARGUMENT.fullmatch(argument):
            raise DeviceError(f"'{argument}' cannot be passed to a board: only letters, digits and _./:=,@%+*- can.")
    return ("sh", "-c", script, "edgemill", *arguments)


def command_line(script: str, arguments: tuple[str, ...]) -> str:
    """Return the same as one line for a board's own shell, whichever that is."""
    return " ".join(shlex.quote(word) for word in argv(script, arguments))


def back_off_s(attempt: int) -> float:
    """Return how long to wait before another attempt: 0.2 s, doubled each time, 10 s at most."""
    return min(0.2 * 2.0**attempt, 10.0)


@dataclass(slots=True)
class Steady:
    """A link that is opened when it is needed and again when it is lost.

    Every script that it runs must be one that may run twice: a lost answer does not tell whether it ran.

    Attributes:
        name: of the board, for messages.
        connect: opens the link.
        say: told of every loss.
        attempts: how many in a row may fail.
        sleep: waits between them.
        losses: how often the link was lost so far.
    """

    name: str
    connect: Connect
    say: Say
    attempts: int = 6
    sleep: Sleep = asyncio.sleep
    losses: int = 0
    _link: Link | None = field(default=None)

    async def run(self, script: str, arguments: tuple[str, ...] = (), stdin: bytes = b"") -> Answer:
        """Run a script, on a new link where the old one broke.

        Raises:
            DeviceError: the board refuses us, or could not be reached with `attempts` attempts.
        """
        limit_s = COMMAND_LIMIT_S + len(stdin) / SLOWEST_RATE
        last = ""
        for attempt in range(self.attempts):
            try:
                if self._link is None:
                    self._link = await self.connect()
                return await self._link.run(script, arguments, stdin, limit_s)
            except LinkLost as error:
                last = str(error)
                await self.close()
                self.losses += 1
                self.say(f"{self.name}: {last} Trying again.")
                await self.sleep(back_off_s(attempt))
        raise DeviceError(
            f"{self.name} cannot be reached after {self.attempts} attempts: {last} Is it on, and its address right?"
        )

    async def close(self) -> None:
        """Close the link, if there is one."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()
