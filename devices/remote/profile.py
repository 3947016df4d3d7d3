"""Run a plan on a board of the inventory: push, measure there, fetch the records, and the board's state around it."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from devices import conditions
from devices.conversation import Log, found
from devices.errors import DeviceError
from devices.found import Found
from devices.inventory import RemoteBoard
from devices.jetson.run import run_part
from devices.meters.rails import sysfs_files
from devices.plan import Plan
from devices.remote.build import Runners
from devices.remote.energy import Wired, energy, wire
from devices.remote.job import Hands, Job, Ran, new_name, run_job
from devices.remote.link import Say, Steady
from devices.remote.pack import Packed, packed
from devices.remote.reach import Opener, ask, fetch, open_link, steady_link
from devices.state import Conditions

NO_METER = "the inventory names no meter for this board (key 'meters')"


@dataclass(frozen=True, slots=True)
class Profiled:
    """What a run on a remote board gave, and the board's state around it."""

    found: Found
    conditions: Conditions


def profile_remote(plan: Plan, remote: RemoteBoard, say: Say, hands: Hands | None = None) -> Profiled:
    """Run a plan on a remote board and wait for it; see `profile_board`."""
    return asyncio.run(profile_board(plan, remote, say, hands))


async def profile_board(
    plan: Plan,
    remote: RemoteBoard,
    say: Say,
    hands: Hands | None = None,
    opener: Opener = open_link,
    idle_s: float = 0.0,
    runners: Runners | None = None,
) -> Profiled:
    """Run a plan on a remote board.

    Args:
        plan: what to run.
        remote: where.
        say: told what happens.
        hands: clock and sleep.
        opener: opens the link.
        idle_s: how long the board rests before the warm-up where it has a meter; 0: no net energy.
        runners: what was compiled before.

    Raises:
        DeviceError: the board cannot be reached, is another machine than the inventory says, lacks a command, or
            computes other codes than the reference; or the run failed there.
    """
    hands = hands or Hands()
    steady = steady_link(remote, say, hands, opener)
    try:
        if remote.kind.runner == "trtexec":
            return await _by_trtexec(plan, remote, steady, say, hands)
        return await _Session(plan, remote, steady, say, hands, idle_s, runners).run()
    finally:
        await steady.close()


async def profile_many(
    work: Sequence[tuple[Plan, RemoteBoard]],
    say: Say,
    hands: Hands | None = None,
    opener: Opener = open_link,
    idle_s: float = 0.0,
) -> tuple[Profiled | DeviceError, ...]:
    """Run plans on remote boards, all boards at once and the plans of one board one after the other.

    Returns:
        For each plan, in order, what it gave or why it gave nothing.
    """
    runners = Runners()
    lines = {remote.name: asyncio.Lock() for _, remote in work}

    async def one(plan: Plan, remote: RemoteBoard) -> Profiled | DeviceError:
        async with lines[remote.name]:
            try:
                return await profile_board(plan, remote, say, hands, opener, idle_s, runners)
            except DeviceError as error:
                return error

    return tuple(await asyncio.gather(*(one(plan, remote) for plan, remote in work)))


async def _by_trtexec(plan: Plan, remote: RemoteBoard, steady: Steady, say: Say, hands: Hands) -> Profiled:
    """Run a plan on a Jetson, whose own trtexec takes the place of a runner."""
    ran, state = await run_part(steady, remote.site, plan, say, hands, remote.trtexec)
    cooling = f"; cooling: {remote.cooling}" if remote.cooling else ""
    return Profiled(replace(ran, source=f"{ran.source}; on {remote.name}{cooling}"), state)


@dataclass(slots=True)
class _Session:
    """One plan on one board."""

    plan: Plan
    remote: RemoteBoard
    steady: Steady
    say: Say
    hands: Hands
    idle_s: float
    runners: Runners | None
    log: Log = field(default_factory=Log)
    wired: Wired | None = None
    unmetered: str = NO_METER

    async def run(self) -> Profiled:
        """Look at the board, run there, look again."""
        await self._check_board()
        with tempfile.TemporaryDirectory(prefix="edgemill-") as scratch:
            await self._wire(Path(scratch) / "meter")
            channels = self.wired.channels if self.wired else ()
            # A compiler runs for seconds; other boards go on meanwhile.
            packing = await asyncio.to_thread(packed, self.plan, self.remote, channels, self.idle_s, self.runners)
            attempts = [await self._before(Path(scratch) / "0")]

            async def again() -> None:
                self.log = Log()
                attempts.append(await self._before(Path(scratch) / str(len(attempts))))

            ran = await run_job(
                self.steady, self.remote.site, self._job(packing), self._take, self.say, self.hands, again
            )
            after = await fetch(self.steady, self.remote, conditions.GLOBS, Path(scratch) / "after")
            state = conditions.after(attempts[-1], after)
        return Profiled(self._found(ran), self._with_mode(state))

    async def _check_board(self) -> None:
        said = await ask(self.steady, self.remote)
        triple = self.remote.triple
        if said.lacks:
            raise DeviceError(f"{self.remote.name} lacks {', '.join(said.lacks)}, which every board needs.")
        if triple is not None and not said.could_be(triple):
            raise DeviceError(
                f"{self.remote.name} is a machine of kind '{said.machine}'; the inventory says {triple.name}. "
                "Mend 'triple' there."
            )

    async def _before(self, folder: Path) -> conditions.Before:
        return conditions.before(await fetch(self.steady, self.remote, conditions.GLOBS, folder))

    async def _wire(self, folder: Path) -> None:
        """Find the meter. One that does not answer spoils no latency: its reason stands where the energy would be."""
        if not self.remote.meters:
            return
        tree = await fetch(self.steady, self.remote, sysfs_files(), folder)
        text = self.remote.meters[0]
        try:
            self.wired = wire(text, tree, self.remote.site.root)
        except DeviceError as error:
            self.unmetered = f"meter {text} on {self.remote.name}: {error}"
            self.say(f"{self.remote.name}: no energy: {self.unmetered}")

    def _job(self, packing: Packed) -> Job:
        plan = self.plan
        return Job(
            name=new_name(),
            archive=packing.archive,
            command=packing.command,
            limit_s=plan.limit_s,
            early_s=plan.warmup_s,
            expected_s=plan.warmup_s + plan.windows * plan.window_s + (self.idle_s if self.wired else 0.0),
        )

    def _take(self, line: bytes) -> None:
        if self.log.add(line, self.remote.name) == "warm":
            self.say(f"{self.remote.name}: part '{self.plan.part}' is open and warm.")

    def _found(self, ran: Ran) -> Found:
        plan, remote = self.plan, self.remote
        runtime = self.log.of("caps")[0]["runtime"]
        if runtime != remote.kind.runtime:
            raise DeviceError(f"{remote.name}: the runner has runtime '{runtime}', not {remote.kind.runtime}.")
        words = [f"wall clock on {remote.name}, {runtime}, {plan.scenario}, batch 1", self._tested()]
        words += [f"cooling: {remote.cooling}"] if remote.cooling else []
        return self._with_energy(replace(found(plan, self.log, ""), source="; ".join([*words, *ran.notes])))

    def _with_energy(self, ran: Found) -> Found:
        if self.wired is not None:
            try:
                return replace(ran, energy=energy(self.wired, self.log, ran))
            except DeviceError as error:
                self.unmetered = f"meter {self.wired.meter} on {self.remote.name}: {error}"
        return replace(ran, absent=(*ran.absent, ("energy", self.unmetered)))

    def _tested(self) -> str:
        """Say how the self-test went; a runner that computes something else has nothing worth timing."""
        tests = self.log.of("self_test")
        if len(tests) != 1:
            raise DeviceError(f"{self.remote.name}: the runner wrote {len(tests)} self-tests instead of one.")
        count, equal, top1 = (tests[0][key] for key in ("vectors", "codes_equal", "top1_equal"))
        exact = self.remote.kind.runner == "c"
        if not count or (exact and equal < count) or not top1:
            raise DeviceError(
                f"{self.remote.name}: the part does not compute there what it should: codes of {equal} and top-1 of "
                f"{top1} of {count} test vectors are right."
            )
        off = "" if equal == count else f", at most {tests[0]['max_steps']} steps off"
        return f"self-test on the board: codes of {equal} and top-1 of {top1} of {count} vectors as expected{off}"

    def _with_mode(self, state: Conditions) -> Conditions:
        mode = self.remote.power_mode
        return conditions.with_power_mode(state, mode and f"{mode} (as the inventory says)", conditions.NO_MODE)
