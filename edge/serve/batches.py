"""Frames of all clients in one queue, run together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from devices.errors import DeviceError
from edge.errors import EdgeError
from edge.serve.limits import Limits
from export.errors import ExportError
from quant.errors import QuantError
from quant.formats import Array

Run = Callable[[Array], Array]
#: What a runtime raises when it cannot run some codes: it belongs to the frames that were asked for.
FAILURES = (EdgeError, DeviceError, ExportError, QuantError, RuntimeError, ValueError, OSError)


@dataclass(slots=True)
class Batches:
    """A bounded queue and the task that empties it. `sizes` counts batches by their number of frames."""

    run: Run
    limits: Limits
    queue: asyncio.Queue[tuple[Array, asyncio.Future[Array]]] = field(init=False)
    sizes: dict[int, int] = field(default_factory=dict)
    task: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        """Make the queue."""
        self.queue = asyncio.Queue(self.limits.queue)

    def start(self) -> None:
        """Begin to run what comes."""
        self.task = asyncio.get_running_loop().create_task(self._work())

    async def ask(self, codes: Array) -> Array:
        """Return the output codes of one frame; waits for room in the queue first."""
        future: asyncio.Future[Array] = asyncio.get_running_loop().create_future()
        await self.queue.put((codes, future))
        return await future

    async def stop(self) -> None:
        """Run what waits, then end."""
        await self.queue.join()
        if self.task is not None:
            self.task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self.task

    async def _work(self) -> None:
        while True:
            items = await self._collect()
            self.sizes[len(items)] = self.sizes.get(len(items), 0) + 1
            try:
                await self._answer(items)
            finally:
                for _ in items:
                    self.queue.task_done()

    async def _collect(self) -> list[tuple[Array, asyncio.Future[Array]]]:
        """Return one frame, and those that come within `wait_s`."""
        items = [await self.queue.get()]
        deadline = asyncio.get_running_loop().time() + self.limits.wait_s
        while len(items) < self.limits.batch:
            if self.queue.empty():
                left = deadline - asyncio.get_running_loop().time()
                if left <= 0:
                    break
                try:
                    items.append(await asyncio.wait_for(self.queue.get(), left))
                except TimeoutError:
                    break
            else:
                items.append(self.queue.get_nowait())
        return items

    async def _answer(self, items: list[tuple[Array, asyncio.Future[Array]]]) -> None:
        """Run in a thread, so that packets are read meanwhile; a failure is every frame's failure, and said."""
        codes = np.stack([codes for codes, _ in items])
        results: Any
        try:
            results = await asyncio.to_thread(self.run, codes)
        except FAILURES as error:
            results = [error] * len(items)
        for (_, future), result in zip(items, results, strict=True):
            if future.done():
                continue
            if isinstance(result, Exception):
                future.set_exception(result)
            else:
                future.set_result(result)
