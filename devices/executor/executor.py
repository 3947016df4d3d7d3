"""What executes jobs: on this machine, or on the workers of a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from devices.errors import DeviceError
from devices.executor.job import Job, Outcome

#: Called with every job that has ended, in whatever order they end, in the thread that called `run`.
Keep = Callable[[Job, Outcome], None]
Say = Callable[[str], None]

#: How Dask's address is written: plain, or encrypted with the certificates of Dask's own configuration.
SCHEMES = {"dask": "tcp", "tcp": "tcp", "tls": "tls"}


class Executor(Protocol):
    """Runs jobs."""

    def run(self, jobs: Sequence[Job], slots: Mapping[str, int], keep: Keep, say: Say) -> None:
        """Run every job once and hand what became of it to `keep`.

        Args:
            jobs: with different ids.
            slots: of every board, by name: so many of its jobs run at once.
            keep: stores an outcome.
            say: told what is being done.

        Raises:
            DeviceError: the executor itself cannot work; jobs that failed are outcomes.
            KeyboardInterrupt: the user stopped it; nothing it started is left running.
        """
        ...


def find_executor(text: str) -> Executor:
    """Return the executor that `local` or an address such as `dask://HOST:8786` names.

    Raises:
        DeviceError: it is neither.
    """
    if text == "local":
        from devices.executor.local import LocalExecutor

        return LocalExecutor(os.cpu_count() or 1)
    scheme, _, place = text.partition("://")
    if scheme not in SCHEMES or not place:
        raise DeviceError(f"no executor '{text}'; write local, dask://HOST:8786, or tls://HOST:8786.")
    from devices.executor.cluster import DaskExecutor

    return DaskExecutor(f"{SCHEMES[scheme]}://{place}")
