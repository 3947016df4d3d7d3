"""Programs that hold something of a board are stopped politely: what they hold is put back before they end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

#: What ends a program by default without asking: kill, and the end of a terminal or an SSH session.
SIGNALS = (signal.SIGTERM, signal.SIGHUP)


def run_stoppable(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as `asyncio.run` does; SIGTERM and SIGHUP cancel it as ctrl-C does, and then end the program.

    `finally` blocks of the coroutine run in each case. Outside of the main thread signals are left as they are.
    """
    received: list[int] = []

    async def guarded() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def stop(number: int) -> None:
            received.append(number)
            task.cancel()

        for number in SIGNALS:
            with suppress(ValueError, RuntimeError):
                loop.add_signal_handler(number, stop, number)
        try:
            return await work
        finally:
            for number in SIGNALS:
                with suppress(ValueError, RuntimeError):
                    loop.remove_signal_handler(number)

    try:
        return asyncio.run(guarded())
    except asyncio.CancelledError:
        if received:
            signal.raise_signal(received[0])
        raise
