"""Power mode and clocks of a Jetson: set for a run when the user asks, and put back whatever happens to the run.

What was there before is kept on the board until it is back, so that a run whose host died is healed by the next one.
`nvpmodel` and `jetson_clocks` need root: they are called with `sudo -n` by anyone else.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from devices.errors import DeviceError
from devices.remote.link import Answer, Say, Steady

#: Exit codes of the scripts.
NO_TOOL, NO_STATE, NOT_SET, NOT_RESTORED = 76, 77, 78, 79

_ENTER = """umask 077
mkdir -p "$1/power" && cd "$1/power" || exit 77
as_root() {
  if test "$(id -u)" = 0; then "$@"; else sudo -n "$@"; fi
}
for name in nvpmodel jetson_clocks; do
  command -v $name > /dev/null 2>&1 || { echo "no $name on this device" >&2; exit 76; }
done
"""
#: Argument: our folder. Writes what nvpmodel answers.
QUERY = _ENTER + "nvpmodel -q 2>&1\n"
#: Arguments: our folder, mode or `-`, `max` or `-`. What was before is kept once: an interrupted run's is the true one.
SET = (
    _ENTER
    + """if ! test -f before; then
  nvpmodel -q > before.tmp 2>&1 && grep -q '^[0-9][0-9]*$' before.tmp || { cat before.tmp >&2; exit 77; }
  mv before.tmp before
fi
if test "$3" = max && ! test -f clocks; then
  rm -f clocks.tmp
  as_root jetson_clocks --store "$PWD/clocks.tmp" >&2 && test -f clocks.tmp || exit 77
  mv clocks.tmp clocks
fi
if test "$2" != -; then
  echo "$2" > mode
  as_root nvpmodel -m "$2" < /dev/null >&2 || exit 78
fi
if test "$3" = max; then as_root jetson_clocks >&2 || exit 78; fi
cat before
echo now
nvpmodel -q 2>&1
"""
)
#: Argument: our folder. Writes `nothing`, or what nvpmodel answers when all is back; what failed can be tried again.
RESTORE = (
    _ENTER
    + """test -f before || { echo nothing; exit 0; }
was=$(grep '^[0-9][0-9]*$' before | tail -n 1)
if test -f mode; then
  as_root nvpmodel -m "$was" < /dev/null >&2 || exit 79
  rm -f mode
fi
if test -f clocks; then as_root jetson_clocks --restore "$PWD/clocks" >&2 || exit 79; fi
nvpmodel -q > after 2>&1
test "$(grep '^[0-9][0-9]*$' after | tail -n 1)" = "$was" || { cat after >&2; exit 79; }
cat after
rm -f clocks before after
"""
)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asks for: a power mode by number, clocks at their highest; neither leaves the board as it is."""

    mode: int | None = None
    max_clocks: bool = False

    def __bool__(self) -> bool:
        """Whether anything is asked for."""
        return self.mode is not None or self.max_clocks


def read_mode(answer: str) -> str | None:
    """Return `MAXN (0)` for nvpmodel's answer, which gives the name and, on a line of its own, the number."""
    name = re.search(r"NV Power Mode: *(\S+)", answer)
    number = re.search(r"^(\d+)$", answer, re.MULTILINE)
    return f"{name[1]} ({number[1]})" if name and number else None


async def current_mode(steady: Steady, folder: str) -> tuple[str | None, str]:
    """Ask for the power mode; returns it, or None and the reason."""
    answer = await steady.run(QUERY, (folder,))
    found = read_mode(answer.out.decode(errors="replace")) if answer.code == 0 else None
    return found, "" if found else f"nvpmodel gave none: {_last(answer)}"


@asynccontextmanager
async def powered(steady: Steady, folder: str, wish: Wish, say: Say) -> AsyncIterator[tuple[tuple[str, str], ...]]:
    """Set what is asked for, give what to record of it, and put everything back at the end, also after an error.

    Args:
        steady: the link.
        folder: ours on the board.
        wish: what to set; nothing is touched when it is empty.
        say: told what is done.

    Raises:
        DeviceError: the board has no nvpmodel, refuses the mode, or could not be put back (the message says how to).
    """
    if not wish:
        yield ()
        return
    try:
        settings = await take(steady, folder, wish)
        say(f"{steady.name}: {'; '.join(f'{name}: {value}' for name, value in settings)}")
        yield settings
    finally:
        await asyncio.shield(restore(steady, folder, say))


async def restore(steady: Steady, folder: str, say: Say) -> None:
    """Put back what `powered` kept; nothing to do where there is nothing."""
    answer = await steady.run(RESTORE, (folder,))
    if answer.code == NO_TOOL:
        return
    if answer.code != 0:
        raise DeviceError(
            f"{steady.name}: power mode and clocks could not be put back: {_last(answer)} They are kept in "
            f"{folder}/power there; the next run with --power-mode or --max-clocks tries again, or restart the board."
        )
    mode = read_mode(answer.out.decode(errors="replace"))
    if mode:
        say(f"{steady.name}: power mode {mode} and clocks are as before.")


async def take(steady: Steady, folder: str, wish: Wish) -> tuple[tuple[str, str], ...]:
    """Set what is asked for and return what to record of it; what was before is kept on the board once."""
    if not wish:
        return ()
    number = "-" if wish.mode is None else str(wish.mode)
    answer = await steady.run(SET, (folder, number, "max" if wish.max_clocks else "-"))
    if answer.code == NO_TOOL:
        raise DeviceError(f"{steady.name}: {_last(answer)}; power modes and clocks can be set on Jetson boards only.")
    if answer.code == NO_STATE:
        raise DeviceError(
            f"{steady.name}: its power mode or clocks cannot be read, so nothing was set: {_last(answer)}"
        )
    before, _, now = answer.out.decode(errors="replace").partition("\nnow\n")
    old, new = read_mode(before), read_mode(now)
    if answer.code != 0 or old is None or new is None or (wish.mode is not None and not new.endswith(f"({number})")):
        raise DeviceError(
            f"{steady.name}: power mode {number} was not taken (now {new or 'unknown'}): {_last(answer)} Some changes "
            "need a restart: set it with 'sudo nvpmodel -m', restart, and run without --power-mode."
        )
    found = {"power mode": f"{new} for the run, {old} before and after"} if wish.mode is not None else {}
    if wish.max_clocks:
        found["clocks"] = "jetson_clocks for the run, as before afterwards"
    return tuple(sorted(found.items()))


def _last(answer: Answer) -> str:
    lines = [line.strip() for line in answer.err.decode(errors="replace").splitlines() if line.strip()]
    return lines[-1][:200] if lines else "it gave no reason."
