"""How a board of the inventory is reached: which link, which folder; and what can be read of it at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from devices import snapshot
from devices.errors import DeviceError
from devices.inventory import RemoteBoard
from devices.remote import scripts, ssh
from devices.remote.build import Triple
from devices.remote.here import HereLink
from devices.remote.job import Hands
from devices.remote.link import Link, Say, Steady

#: Opens a link to a board; tests put another one in its place.
Opener = Callable[[RemoteBoard], Awaitable[Link]]


async def open_link(remote: RemoteBoard) -> Link:
    """Open the link that the board's address asks for; see `remote.ssh.connect`."""
    return HereLink() if remote.address is None else await ssh.connect(remote.address)


def steady_link(remote: RemoteBoard, say: Say, hands: Hands, opener: Opener = open_link) -> Steady:
    """Return a link that is opened when it is needed, and again when it is lost."""
    return Steady(remote.name, lambda: opener(remote), say, sleep=hands.sleep)


async def fetch(steady: Steady, remote: RemoteBoard, patterns: tuple[str, ...], folder: Path) -> Path:
    """Copy small files of a board, such as those of /proc and /sys, below a folder here.

    Args:
        steady: the link.
        remote: the board.
        patterns: shell patterns relative to the root, for example `proc/loadavg`.
        folder: where they go.

    Returns:
        The root of the copy.
    """
    names = tuple(f"{remote.site.root}/{pattern}" for pattern in patterns)
    answer = await steady.run(scripts.READ, (remote.site.boot_id, remote.site.folder, *names))
    _check_entered(remote, answer.code, answer.err)
    denied = snapshot.unpack(answer.out.partition(b"\n")[2], folder)
    root = folder / remote.site.root.lstrip("/")
    for name in denied:
        # Whoever reads the copy is to see that the file is there and says nothing.
        path = folder / name.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("permission denied\n")
    return root


@dataclass(frozen=True, slots=True)
class Board:
    """What a board says of itself: its machine as `uname -m` has it or `unknown`, and the commands that it lacks."""

    machine: str
    lacks: tuple[str, ...]

    def could_be(self, triple: Triple | None) -> bool:
        """Whether the C runner for a triple could run there."""
        return triple is None or self.machine == "unknown" or self.machine in triple.machines


async def ask(steady: Steady, remote: RemoteBoard) -> Board:
    """Ask a board what it is.

    Raises:
        DeviceError: it cannot be reached, or does not run scripts.
    """
    answer = await steady.run(scripts.ASK, (remote.site.boot_id, remote.site.folder))
    _check_entered(remote, answer.code, answer.err)
    lines = answer.out.decode(errors="replace").splitlines()
    if len(lines) < 2 or not lines[0].startswith("boot "):
        raise DeviceError(f"{remote.name} does not run scripts as sh does.")
    return Board(lines[1].strip(), tuple(line.split()[1] for line in lines[2:] if line.startswith("lacks ")))


def _check_entered(remote: RemoteBoard, code: int, err: bytes) -> None:
    if code == scripts.NO_FOLDER:
        last = (err.decode(errors="replace").strip().splitlines() or ["no reason given"])[-1]
        raise DeviceError(f"{remote.name}: the folder {remote.site.folder} cannot be made there: {last[:200]}")
    if code != 0:
        raise DeviceError(f"{remote.name}: a script ended with {code}: {err.decode(errors='replace')[:200]}")
