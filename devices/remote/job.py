"""A job on a board: started once, detached from the link that started it, followed, and collected whole.

What can go wrong on the way has one of three ends. A lost link is opened again and the job is followed from where it
was. A board that restarted, or a job that vanished, runs again, and the result says so. Anything else is an error, and
nothing of the job is left on the board.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from devices import tools
from devices.errors import DeviceError
from devices.remote import scripts
from devices.remote.archive import Archive
from devices.remote.link import Answer, Say, Sleep, Steady

BOOT_ID = "/proc/sys/kernel/random/boot_id"
#: How often a job is run, and a bundle sent, before it is given up.
RUNS, PUSHES = 3, 3
#: Between two looks at a job, in seconds: at first, and at most.
FIRST_LOOK_S, LONGEST_LOOK_S = 0.25, 10.0
#: A job seen without a process so often in a row is dead. Looks are at least this long apart.
GONE_LOOKS, GONE_LOOK_S = 20, 0.5


@dataclass(frozen=True, slots=True)
class Site:
    """Where jobs run on a board.

    Attributes:
        folder: ours there.
        slots: how many jobs run at once.
        boot_id: the file with the boot id.
        root: what stands before /proc and /sys there; tests give a recorded tree.
    """

    folder: str = ".edgemill"
    slots: int = 1
    boot_id: str = BOOT_ID
    root: str = ""


@dataclass(frozen=True, eq=False)
class Job:
    """What is to run.

    Attributes:
        name: hexadecimal, the same for the same work: a job that is there already is followed, not started.
        archive: the files; the command runs in their folder.
        command: program and arguments; records go to stdout, one a line.
        limit_s: a job that takes longer hangs.
        expected_s: how long it should take. The board is left alone for so long, as every look costs it time.
        early_s: the part of that in which looks disturb nothing yet, such as the warm-up: an early crash shows early.
        wait_s: how long to wait for a slot that another job holds.
    """

    name: str
    archive: Archive
    command: tuple[str, ...]
    limit_s: float
    expected_s: float = 0.0
    early_s: float = 0.0
    wait_s: float = 600.0


@dataclass(frozen=True, eq=False)
class Ran:
    """What came back: the records, byte for byte as on the board, and what was unusual on the way."""

    records: bytes
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Hands:
    """Clock and sleep, which tests replace."""

    clock: Callable[[], float] = time.monotonic
    sleep: Sleep = asyncio.sleep


class _Again(DeviceError):
    """The job is lost through no fault of its own: run it again."""


@dataclass(frozen=True, slots=True)
class _State:
    boot: str
    state: str
    code: str
    born: str
    data: bytes


def new_name() -> str:
    """Return a name for work that nobody asked for before."""
    return uuid.uuid4().hex[:16]


async def run_job(
    steady: Steady,
    site: Site,
    job: Job,
    check: Callable[[bytes], None],
    say: Say,
    hands: Hands | None = None,
    again: Callable[[], Awaitable[None]] | None = None,
) -> Ran:
    """Run a job to its end and remove it from the board.

    Args:
        steady: the link.
        site: where on the board.
        job: what to run.
        check: called with every line of stdout, in order and once; a DeviceError from it ends the job.
        say: told what happens.
        hands: clock and sleep.
        again: called before the job is run again, whose lines then come anew.

    Raises:
        DeviceError: what is wrong with the board, the bundle or the job.
    """
    hands, notes = hands or Hands(), []
    for attempt in range(RUNS):
        runner = _Runner(steady, site, job, f"{job.name}-{attempt}", check, say, hands)
        losses = steady.losses
        try:
            records = await runner.run()
        except _Again as error:
            notes.append(f"{error} The job was run again.")
            say(f"{steady.name}: {notes[-1]}")
            await runner.remove()
            if again is not None:
                await again()
            continue
        except BaseException:
            await asyncio.shield(runner.give_up())
            raise
        if steady.losses > losses:
            notes.append(f"the link was lost {steady.losses - losses} times during the run, which went on")
        return Ran(records, tuple(notes))
    raise DeviceError(f"{steady.name}: the job was lost {RUNS} times. {notes[-1]}")


@dataclass(slots=True)
class _Runner:
    """One attempt."""

    steady: Steady
    site: Site
    job: Job
    name: str
    check: Callable[[bytes], None]
    say: Say
    hands: Hands
    records: bytearray = field(default_factory=bytearray)
    boot: str = ""
    starting: int = 0

    async def run(self) -> bytes:
        """Start, follow, collect, remove."""
        await self._start()
        code = await self._follow()
        await self._collect(code)
        await self.remove()
        return bytes(self.records)

    async def remove(self) -> None:
        """Kill what runs of the job and remove it."""
        await self._call(scripts.REMOVE, self.name)

    async def give_up(self) -> None:
        """Remove the job where the board can be reached at once; the error that led here is the one to tell."""
        self.steady.attempts = 1
        try:
            await self.remove()
        except DeviceError as error:
            self.say(f"{self.steady.name}: job {self.name} may be left there: {error}")

    async def _call(self, script: str, *arguments: str, stdin: bytes = b"") -> tuple[Answer, list[bytes]]:
        """Run a script and return its answer and the lines behind the boot id, which is kept."""
        answer = await self.steady.run(script, (self.site.boot_id, self.site.folder, *arguments), stdin)
        first, _, rest = answer.out.partition(b"\n")
        words = first.decode(errors="replace").split()
        if len(words) != 2 or words[0] != "boot":
            raise DeviceError(f"{self.steady.name} does not run scripts as sh does: it said '{_shown(first)}'.")
        if answer.code == scripts.NO_FOLDER:
            raise DeviceError(
                f"{self.steady.name}: the folder {self.site.folder} cannot be made there: {_last(answer.err)}"
            )
        self.boot = words[1]
        return Answer(answer.code, rest, answer.err), rest.splitlines()

    async def _start(self) -> None:
        began, gone, pushes, steal = self.hands.clock(), 0, 0, "-"
        job, archive = self.job, self.job.archive
        slots = str(self.site.slots)
        while True:
            fixed = (archive.id, archive.sums, self.name, slots, steal)
            _, lines = await self._call(scripts.START, *fixed, *job.command)
            said = lines[0].decode(errors="replace") if lines else ""
            if said in ("started", "exists"):
                return
            if said == "absent":
                pushes += 1
                if pushes > PUSHES:
                    raise DeviceError(
                        f"{self.steady.name}: the bundle arrived whole {PUSHES} times and was damaged there each time: "
                        "its disk fails, or something removes files from our folder."
                    )
                await self._push(pushes)
                continue
            holders = [line.decode(errors="replace").split() for line in lines]
            if not holders or any(len(words) != 3 or words[0] != "busy" for words in holders):
                raise DeviceError(f"{self.steady.name}: the job cannot be started: it said '{_shown(said.encode())}'.")
            dead = next((words[1] for words in holders if words[2] == "gone"), None)
            gone = gone + 1 if dead else 0
            steal = dead if dead and gone >= GONE_LOOKS else "-"
            if self.hands.clock() - began > job.wait_s:
                raise DeviceError(
                    f"{self.steady.name} is busy with job {holders[0][1]} for more than {job.wait_s:g} s. Wait, or "
                    "give the board another slot in the inventory if it can run two jobs at once."
                )
            if gone <= 1:
                self.say(f"{self.steady.name}: busy with job {holders[0][1]}; waiting.")
            await self.hands.sleep(GONE_LOOK_S)

    async def _push(self, count: int) -> None:
        archive = self.job.archive
        self.say(f"{self.steady.name}: sending {len(archive.data) / 1e6:.2f} MB.")
        answer, lines = await self._call(scripts.PUSH, archive.id, archive.sums, new_name(), stdin=archive.data)
        if lines[-1:] == [b"pushed"]:
            return
        why = _last(answer.err)
        if "space" in why.lower() or "quota" in why.lower():
            raise DeviceError(f"{self.steady.name}: no room for {len(archive.data)} bytes packed: {why}")
        if count >= PUSHES:
            kind = "was damaged on its way" if answer.code == scripts.NOT_WHOLE else "cannot be unpacked there"
            raise DeviceError(f"{self.steady.name}: the bundle {kind}, {count} times over. {why}")
        self.say(f"{self.steady.name}: the bundle did not arrive whole; sending it again.")

    async def _follow(self) -> str:
        """Look at the job until it has ended; returns its exit code as the board wrote it."""
        began = self.hands.clock()
        patient, self.steady.attempts = self.steady.attempts, max(self.steady.attempts, 24)
        pause = FIRST_LOOK_S
        try:
            while True:
                state = await self._look()
                if state.state == "ended" and not state.data:
                    return state.code
                spent = self.hands.clock() - began
                if state.state == "ended":
                    raise await self._crashed(state.code, "in the middle of a record")
                if spent > self.job.limit_s:
                    raise DeviceError(
                        f"{self.steady.name}: the job did not end within {self.job.limit_s:g} s and was stopped."
                    )
                rest = self.job.expected_s - spent if spent >= self.job.early_s else 0.0
                await self.hands.sleep(min(max(pause, rest), LONGEST_LOOK_S))
                pause = min(pause * 1.5, LONGEST_LOOK_S)
        finally:
            self.steady.attempts = patient

    async def _look(self) -> _State:
        """Take the whole lines that are new; what remains of the data is the beginning of another one."""
        answer, _ = await self._call(scripts.FOLLOW, self.name, str(len(self.records)))
        state = _state(self.steady.name, self.boot, answer.out)
        if state.born not in ("-", state.boot):
            raise _Again(f"the board restarted during the run (boot id {state.born[:8]}, then {state.boot[:8]}).")
        if state.state == "none":
            raise _Again("the job vanished from the board: somebody removed it.")
        self.starting = self.starting + 1 if state.state == "starting" else 0
        if self.starting > 20:
            raise _Again("the job was never started: what should have done it was stopped.")
        whole = state.data.rfind(b"\n") + 1
        for line in state.data[:whole].splitlines(keepends=True):
            self.check(line)
        self.records += state.data[:whole]
        if state.state == "dead":
            raise await self._crashed("-", "together with the shell that watched it")
        return _State(state.boot, state.state, state.code, state.born, state.data[whole:])

    async def _crashed(self, code: str, how: str) -> DeviceError:
        _, last = await self._sum()
        return DeviceError(f"{self.steady.name}: the runner {_ending(code)} {how}: {last}")

    async def _sum(self) -> tuple[str, str]:
        _, lines = await self._call(scripts.SUM, self.name)
        words = lines[0].decode(errors="replace").split() if lines else []
        return (words[0] if words else "-"), _last(b"\n".join(lines[1:]))

    async def _collect(self, code: str) -> None:
        """Compare what came with what is there."""
        there, last = await self._sum()
        if code == "-":
            raise DeviceError(f"{self.steady.name}: the board could not write how the runner ended; is its disk full?")
        if code != "0":
            raise DeviceError(f"{self.steady.name}: the runner {_ending(code)}: {last}")
        here = hashlib.sha256(self.records).hexdigest()
        if there != here:
            raise DeviceError(
                f"{self.steady.name}: the records on the board have SHA-256 {there[:16]}, those that came {here[:16]}: "
                "something else wrote there, or its disk is damaged."
            )


def _state(name: str, boot: str, out: bytes) -> _State:
    head, _, rest = out.partition(b"\n")
    born, _, data = rest.partition(b"\n")
    words, born_words = head.decode(errors="replace").split(), born.decode(errors="replace").split()
    if len(words) < 2 or words[0] != "state" or len(born_words) != 2 or born_words[0] != "born":
        raise DeviceError(f"{name}: the job cannot be followed: the board said '{_shown(head)}'.")
    return _State(boot, words[1], words[2] if len(words) > 2 else "-", born_words[1], data)


def _ending(code: str) -> str:
    """Say how a process ended; a shell adds 128 to the number of the signal that killed it."""
    if not code.isdigit():
        return "was killed"
    number = int(code)
    return tools.ending(128 - number if number > 128 else number)


def _last(err: bytes) -> str:
    lines = [line.strip() for line in err.decode(errors="replace").splitlines() if line.strip()]
    return _shown(lines[-1].encode()) if lines else "it wrote nothing to stderr."


def _shown(text: bytes) -> str:
    return text.decode(errors="replace")[:200]
