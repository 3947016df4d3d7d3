"""Ask every board of the inventory whether it could run something now, all at once."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from devices import conditions
from devices.errors import DeviceError
from devices.inventory import RemoteBoard
from devices.jetson import identity, probe
from devices.remote import scripts
from devices.remote.job import Hands
from devices.remote.link import Say, Steady
from devices.remote.reach import Opener, ask, fetch, open_link, steady_link
from export.jetson_profiles import find_profile

#: A probe gives up early: somebody waits for it.
ATTEMPTS = 2


@dataclass(frozen=True, slots=True)
class Probed:
    """Whether a board can be used, and what it is or why not."""

    name: str
    usable: bool
    detail: str


def probe_boards(
    remotes: Sequence[RemoteBoard], say: Say, hands: Hands | None = None, opener: Opener = open_link
) -> tuple[Probed, ...]:
    """Ask boards what they are; those that cannot be used have the reason."""

    async def every() -> list[Probed]:
        return await asyncio.gather(*(_asked(remote, say, hands or Hands(), opener, _describe) for remote in remotes))

    return tuple(asyncio.run(every()))


def clean_boards(
    remotes: Sequence[RemoteBoard], say: Say, hands: Hands | None = None, opener: Opener = open_link
) -> tuple[Probed, ...]:
    """Remove bundles, and jobs whose host is gone, from boards on which no job runs."""

    async def every() -> list[Probed]:
        return await asyncio.gather(*(_asked(remote, say, hands or Hands(), opener, _clean) for remote in remotes))

    return tuple(asyncio.run(every()))


async def _clean(steady: Steady, remote: RemoteBoard) -> str:
    answer = await steady.run(scripts.CLEAN, (remote.site.boot_id, remote.site.folder))
    lines = answer.out.decode(errors="replace").splitlines()[1:]
    busy = [line.split()[1] for line in lines if line.startswith("busy ")]
    if busy or not lines:
        raise DeviceError(f"job {busy[0]} runs there; nothing was removed" if busy else "it did not answer")
    return f"{lines[-1]} bundles and jobs"


async def _asked(
    remote: RemoteBoard,
    say: Say,
    hands: Hands,
    opener: Opener,
    question: Callable[[Steady, RemoteBoard], Awaitable[str]],
) -> Probed:
    steady = steady_link(remote, say, hands, opener)
    steady.attempts = ATTEMPTS
    try:
        return Probed(remote.name, True, await question(steady, remote))
    except DeviceError as error:
        return Probed(remote.name, False, str(error))
    finally:
        await steady.close()


async def _describe(steady: Steady, remote: RemoteBoard) -> str:
    said = await ask(steady, remote)
    if said.lacks:
        raise DeviceError(f"lacks {', '.join(said.lacks)}")
    if remote.triple is not None and not said.could_be(remote.triple):
        raise DeviceError(f"is a machine of kind '{said.machine}'; the inventory says {remote.triple.name}")
    with tempfile.TemporaryDirectory(prefix="edgemill-") as scratch:
        await fetch(steady, remote, ("proc/cpuinfo", *identity.GLOBS), Path(scratch))
        model, jetson = conditions.cpu_model(Path(scratch)), identity.identify(Path(scratch))
    runtime = await _runtime(steady, remote, jetson)
    return f"{said.machine}, {model}, {runtime}"


async def _runtime(steady: Steady, remote: RemoteBoard, jetson: identity.Identity) -> str:
    if remote.kind.runner == "c":
        return "the static C runner"
    if remote.kind.runner == "trtexec":
        profile = find_profile(remote.kind.name)
        return await probe.describe(steady, remote.site, profile, jetson, remote.trtexec)
    site = (remote.site.boot_id, remote.site.folder)
    answer = await steady.run(scripts.PYTHON, (*site, remote.python, remote.kind.runtime))
    lines = answer.out.decode(errors="replace").splitlines()[1:]
    if answer.code != 0 or not lines:
        why = (answer.err.decode(errors="replace").strip().splitlines() or ["no answer"])[-1]
        raise DeviceError(f"{remote.python} there does not run {remote.kind.runtime}: {why[:200]}")
    return lines[-1]
